"""How is a body read? Of the right type, within its limits, and JSON by one strict parser."""

from collections.abc import Callable, Coroutine
from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any, Final

import orjson
from fastapi import Request, Response
from fastapi.routing import APIRoute

from grab_service.ops.refusal import RefusalError
from grab_service.vocabulary.json_text import read_json

CSV: Final = "text/csv"
MULTIPART: Final = "multipart/form-data"


def media_type(request: Request) -> str:
    """The type of the body without its parameters, in lower case; '' if the header is missing."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


class _JsonRequest(Request):
    """A request whose JSON has been read."""

    async def json(self) -> Any:
        return read_json(await self.body())


class StrictRoute(APIRoute):
    """A route whose JSON body, if it takes one, must be said to be JSON, and be it."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle

        async def checked(request: Request) -> Response:
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
        RefusalError: unsupported-media-type, malformed, too-large or request-timeout.
    """
    kind = media_type(request)
    if kind not in {"", CSV, MULTIPART}:
        raise RefusalError("unsupported-media-type", expected=CSV)
    body = await request.body()
    return _only_file(request.headers["content-type"], body) if kind == MULTIPART else body


def _is_file(part: Message) -> bool:
    name = part.get_param("name", header="content-disposition")
    return part.get_filename() is not None or name == "file"


def _only_file(content_type: str, body: bytes) -> bytes:
    header = b"Content-Type: " + content_type.encode("latin-1") + b"\r\n\r\n"
    form: Message = BytesParser(policy=HTTP).parsebytes(header + body)
    parts = form.get_payload() if form.is_multipart() else []
    files = [part for part in parts if isinstance(part, Message) and _is_file(part)]
    if len(files) != 1:
        raise RefusalError("malformed")
    content = files[0].get_payload(decode=True)
    return content if isinstance(content, bytes) else b""
