"""How does a grab come in and its answer go out, without FastAPI in between?

An ASGI application in front of the ordinary one: it takes `POST /v1/campaigns/{campaign_id}/claims` and passes on all else. A
route declared in FastAPI for the sake of OpenAPI leads to the same `GrabPath`.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Final

import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from grab_service.grabpath.answers import Answer, of_problem, of_validation
from grab_service.grabpath.bodies import discard_body
from grab_service.grabpath.connections import Connections
from grab_service.grabpath.desk import Desk
from grab_service.grabpath.path import GrabPath
from grab_service.grabpath.reader import GrabReader, bearer_token
from grab_service.grabpath.turnstile import Turnstile
from grab_service.vocabulary.problems import Text, choose_language

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

BEFORE: Final = "/v1/campaigns/"
AFTER: Final = "/claims"
BODY_MAX_BYTES: Final = 4096
"""A grab needs no body; what is sent nevertheless must be small."""

BODY_TIMEOUT_S: Final = 5.0
NO_OBJECT: Final = Text("不需要内容，或空的 JSON 对象", "a grab takes no body, or an empty JSON object")
NO_FIELDS: Final = Text("没有这个字段", "a grab takes no fields")


class GrabLane:
    """ASGI: grabs are answered here, everything else by `app`."""

    def __init__(
        self, app: ASGIApp, path: GrabPath, now_ms: Callable[[float], int], connections: Connections, desk: Desk
    ) -> None:
        self.path = path
        self.now_ms = now_ms
        self.connections = connections
        self.clock = connections.clock
        self.desk = desk
        self.reader = GrabReader()
        self.turnstile = Turnstile(connections.clock, _call_soon)
        self._app = app
        self._starts: dict[int, bytes] = {}
        self._starts_with: Sequence[tuple[bytes, bytes]] | None = None

    def sealed(self, answer: Answer, now_ms: int, defaults: Sequence[tuple[bytes, bytes]], ends: bytes = b"") -> bytes:
        """The bytes of an answer, as the ordinary way sends them; `defaults` are the headers that uvicorn adds."""
        if defaults is not self._starts_with:
            self._starts_with, self._starts = defaults, {}
        start = self._starts.get(answer.status)
        if start is None:
            lines = (b"%b: %b\r\n" % header for header in defaults)
            start = self._starts[answer.status] = b"".join((STATUS_LINE[answer.status], *lines))
        return b"%b%bx-server-time-ms: %d\r\n%b\r\n%b" % (start, answer.head, now_ms, ends, answer.body)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            path: str = scope["path"]
            if path.startswith(BEFORE) and path.endswith(AFTER):
                campaign_id = path[len(BEFORE) : -len(AFTER)]
                if campaign_id and "/" not in campaign_id:
                    await self._grab(campaign_id, scope["headers"], receive, send)
                    return
        await self._app(scope, receive, send)

    async def at_desk(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI: a call that has a place, which is given back when it ends."""
        try:
            await self(scope, receive, send)
        finally:
            self.desk.leave()

    async def turn_away(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 -- ASGI: nothing is read
        """ASGI: a call for which there is no place now."""
        headers = dict(scope["headers"])
        answer = of_problem("overloaded", choose_language(headers.get(b"accept-language")))
        has_body = b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"
        await self._send(_closing(answer) if has_body else answer, send)

    async def _grab(self, campaign_id: str, headers: list[tuple[bytes, bytes]], receive: Receive, send: Send) -> None:
        authorization = idempotency_key = content_type = b""
        accept_language = None
        length: bytes | None = None
        chunked = False
        for name, value in headers:
            if name == b"authorization":
                authorization = value
            elif name == b"content-length":
                length = value
            elif name == b"idempotency-key":
                idempotency_key = value
            elif name == b"accept-language":
                accept_language = value
            elif name == b"content-type":
                content_type = value
            elif name == b"transfer-encoding":
                chunked = True
        language = choose_language(accept_language)
        refused = None
        if chunked or (length is not None and length != b"0"):
            refused = await refusal_of_body(receive, length, content_type, language)
        if refused is not None:
            await self._send(refused, send)
            return
        await self._send(await self.path.answer(campaign_id, bearer_token(authorization), idempotency_key, language), send)

    async def _send(self, answer: Answer, send: Send) -> None:
        headers = [*answer.headers, (b"x-server-time-ms", b"%d" % self.now_ms(self.clock()))]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})


def _call_soon(turn: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_soon(turn)


async def refusal_of_body(receive: Receive, length: bytes | None, content_type: bytes, language: str) -> Answer | None:
    """Read the body and say what is wrong with it; None for nothing at all or an empty JSON object.

    Nothing beyond the limit is kept, whatever length was announced.
    """
    if length is not None and length.isdigit() and int(length[:20]) > BODY_MAX_BYTES:
        return await _too_large(receive, language)
    body = b""
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    return _closing(of_problem("malformed", language))
                body += message.get("body", b"")
                more = message.get("more_body", False)
                if len(body) > BODY_MAX_BYTES or not more:
                    break
    except TimeoutError:
        return _closing(of_problem("request-timeout", language))
    if len(body) > BODY_MAX_BYTES:
        return await _too_large(receive, language) if more else of_problem("too-large", language, limit_bytes=BODY_MAX_BYTES)
    if not body:
        return None
    if content_type and content_type.split(b";", 1)[0].strip().lower() != b"application/json":
        return of_problem("unsupported-media-type", language)
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        return of_problem("malformed", language)
    if not isinstance(content, dict):
        return of_validation(language, [{"field": "", "reason": NO_OBJECT.in_language(language)}])
    errors = [{"field": str(name), "reason": NO_FIELDS.in_language(language)} for name in list(content)[:10]]
    return of_validation(language, errors) if errors else None


async def _too_large(receive: Receive, language: str) -> Answer:
    answer = of_problem("too-large", language, limit_bytes=BODY_MAX_BYTES)
    return answer if await discard_body(receive) else _closing(answer)


def _closing(answer: Answer) -> Answer:
    """The same answer, after which the connection ends: the rest of the body is not waited for."""
    return Answer(answer.status, answer.head + b"connection: close\r\n", answer.body, ends=True)
