"""Reading of requests: no parameter is ignored; a body has the right type and size; one parser reads JSON."""

import asyncio
from collections.abc import Callable, Coroutine
from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any, Final

import orjson
from fastapi import Request, Response
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Query
from fastapi.routing import APIRoute

from grab_service.refusal import RefusalError
from grab_service.vocabulary.json_text import read_json
from grab_service.vocabulary.queries import query_errors

CSV: Final = "text/csv"
MULTIPART: Final = "multipart/form-data"

PARTS_MAX: Final = 16
PART_HEAD_MAX_BYTES: Final = 4096
BOUNDARY_MAX: Final = 70
"""As RFC 2046 has it."""


def media_type(request: Request) -> str:
    """The type of the body without its parameters, in lower case; '' if the header is missing."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


class _JsonRequest(Request):
    """A request whose JSON has been read."""

    async def json(self) -> Any:
        return read_json(await self.body())


class StrictRoute(APIRoute):
    """A route that refuses parameters it does not know; its JSON body, if it takes one, must be said to be JSON, and be it."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        known = frozenset(field.alias for field in get_flat_params(self.dependant) if isinstance(field.field_info, Query))
        reads = "GET" in (self.methods or ())
        takes_json = self.body_field is not None

        async def checked(request: Request) -> Response:
            query: bytes = request.scope["query_string"]
            if query and (errors := query_errors(query, known, reads=reads)):
                raise RefusalError("validation", errors=[{"field": name, "reason": reason} for name, reason in errors])
            if not takes_json:
                return await handle(request)
            body = await request.body()
            if body:
                kind = media_type(request)
                if kind not in {"", "application/json"} and not (kind.startswith("application/") and kind.endswith("+json")):
                    raise RefusalError("unsupported-media-type", expected="application/json")
                try:
                    read_json(body)
                except orjson.JSONDecodeError as error:
                    raise RefusalError("malformed") from error
            again = _JsonRequest(request.scope, request.receive)
            again._body = body  # noqa: SLF001 - the body is read once; this is where Starlette keeps it
            return await handle(again)

        return checked


async def read_csv(request: Request) -> bytes:
    """The bytes of a CSV, sent as the body itself or as the one file of a form.

    Raises:
        RefusalError: unsupported-media-type, malformed.
    """
    kind = media_type(request)
    if kind not in {"", CSV, MULTIPART}:
        raise RefusalError("unsupported-media-type", expected=CSV)
    body = await request.body()
    return await asyncio.to_thread(only_file, request.headers["content-type"], body) if kind == MULTIPART else body


def only_file(content_type: str, form: bytes) -> bytes:
    """The content of the one file of a form, which is named `file` or has a file name.

    Raises:
        RefusalError: malformed: no form, more than `PARTS_MAX` parts, not exactly one file, or one that is encoded.
    """
    head = Message()
    head["content-type"] = content_type
    boundary = head.get_boundary()
    if not boundary or len(boundary) > BOUNDARY_MAX:
        raise RefusalError("malformed", reason="boundary")
    pieces = (b"\r\n" + form).split(b"\r\n--" + boundary.encode("latin-1", "replace"), PARTS_MAX + 2)
    if len(pieces) > PARTS_MAX + 2 or not pieces[-1].startswith(b"--"):
        raise RefusalError("malformed", reason="multipart/form-data")
    files = [content for piece in pieces[1:-1] if (content := _content_of_file(piece)) is not None]
    if len(files) != 1:
        raise RefusalError("malformed", reason="multipart/form-data")
    return files[0]


def _content_of_file(piece: bytes) -> bytes | None:
    head, end, content = piece.partition(b"\r\n\r\n")
    if not end or len(head) > PART_HEAD_MAX_BYTES:
        raise RefusalError("malformed", reason="multipart/form-data")
    part: Message = BytesParser(policy=HTTP).parsebytes(head.lstrip() + b"\r\n\r\n", headersonly=True)
    if part.get("content-transfer-encoding", "binary").lower() not in {"binary", "8bit", "7bit"}:
        raise RefusalError("malformed", reason="content-transfer-encoding")
    is_file = part.get_filename() is not None or part.get_param("name", header="content-disposition") == "file"
    return content if is_file else None
