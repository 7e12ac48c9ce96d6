"""The page at `/docs`: the calls in a viewer that is part of this package and contacts no other server."""

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

from fastapi import APIRouter, Response

from grab_service.refusal import RefusalError

router = APIRouter(include_in_schema=False)

VIEWER: Final = "viewer"
TYPES: Final = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript", "start.js": "text/javascript"}
"""The files that the page loads."""

# The viewer sets `style` attributes. Its scripts need no `eval`, and run from here alone.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE: Final = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1"><title>grab-service: the calls</title>
<link rel="icon" href="data:,"><link rel="stylesheet" href="{css}"></head>
<body><div id="calls"></div><noscript>The calls, as JSON: <a href="openapi.json">openapi.json</a></noscript>
<script src="{bundle}"></script><script src="{start}"></script></body></html>
"""


@dataclass(frozen=True, slots=True)
class File:
    """A file of the viewer, and where it is served: at an address that changes with what is in it."""

    content: bytes
    digest: str
    address: str


@cache
def file_of(name: str) -> File:
    """One of the files that the page loads; read once."""
    content = (files("grab_service.http") / VIEWER / name).read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:16]
    return File(content, digest, f"docs/{digest}/{name}")


# Not coroutines: what reads and hashes a large file does not belong on the event loop.
@router.get("/docs")
def page() -> Response:
    """The page; it finds all it needs beside itself, also under a prefix that a proxy takes away."""
    html = _PAGE.format(
        css=file_of("swagger-ui.css").address,
        bundle=file_of("swagger-ui-bundle.js").address,
        start=file_of("start.js").address,
    )
    headers = {"cache-control": "no-cache", "content-security-policy": _POLICY}
    return Response(html, headers=headers, media_type="text/html")


@router.get("/docs/{digest}/{name}")
def part(digest: str, name: str) -> Response:
    """A file of the viewer."""
    if name not in TYPES or file_of(name).digest != digest:
        raise RefusalError("not-found")
    headers = {"cache-control": "public, max-age=31536000, immutable"}
    return Response(file_of(name).content, headers=headers, media_type=TYPES[name])
