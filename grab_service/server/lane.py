"""The lane: grabs are taken and answered without FastAPI in between.

An ASGI application in front of the ordinary one: it takes `POST /v1/campaigns/{campaign_id}/claims` and passes on all else. A
route declared in FastAPI for the sake of OpenAPI leads to the same `GrabPath`.
"""

import asyncio
from collections import Counter as Tally
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from typing import Any, Final

import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from grab_service.grabpath.admission import Admission
from grab_service.grabpath.answers import Answer, of_problem, of_validation
from grab_service.grabpath.path import GrabPath
from grab_service.measures.durations import Labels
from grab_service.problems import Text, choose_language
from grab_service.server.bodies import Bodies
from grab_service.server.connections import Connections
from grab_service.server.cors import Cors
from grab_service.server.reader import GrabReader, bearer_token
from grab_service.server.scheduler import ReadScheduler
from grab_service.vocabulary.json_text import read_json
from grab_service.vocabulary.queries import query_errors
from grab_service.vocabulary.request_id import HEADER

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

BEFORE: Final = "/v1/campaigns/"
AFTER: Final = "/claims"
NO_OBJECT: Final = Text("不需要内容，或空的 JSON 对象", "a grab takes no body, or an empty JSON object")
NO_FIELDS: Final = Text("没有这个字段", "a grab takes no fields")


def campaign_of_grab(method: str, path: str) -> str | None:
    """The id in the address of a grab; None if the call is none."""
    if method == "POST" and path.startswith(BEFORE) and path.endswith(AFTER):
        campaign_id = path[len(BEFORE) : -len(AFTER)]
        if campaign_id and "/" not in campaign_id:
            return campaign_id
    return None


class GrabLane:
    """ASGI: grabs are answered here, everything else by `app`."""

    def __init__(
        self,
        app: ASGIApp,
        path: GrabPath,
        now_ms: Callable[[float], int],
        connections: Connections,
        admission: Admission,
        bodies: Bodies,
        durations: dict[Labels, list[float]],
        refusals: Tally[str],
        *,
        fast: bool = True,
        origins: Iterable[str] = (),
        probes_port: int | None = None,
    ) -> None:
        """`durations`: gets how long each grab took, in seconds, by outcome; `refusals`: what was refused before a call began.

        `fast`: plain grabs are answered below ASGI, by the protocol; else all take the ordinary way.

        `origins`: pages of these may call. A grab that names its origin takes the ordinary way then.
        At `probes_port` nothing is answered but probes and scrapers.
        """
        self.path = path
        self.now_ms = now_ms
        self.connections = connections
        self.clock = connections.clock
        self.admission = admission
        self.bodies = bodies
        self.durations = durations
        self.refusals = refusals
        self.fast = fast
        self.cors = Cors(origins)
        self.reader = GrabReader(ordinary=(b"origin",) if self.cors else ())
        self.probes_port = probes_port
        self.scheduler = ReadScheduler(connections.clock, _call_soon)
        self._app = app
        self._starts: dict[int, bytes] = {}
        self._starts_with: Sequence[tuple[bytes, bytes]] | None = None

    def render(self, answer: Answer, now_ms: int, defaults: Sequence[tuple[bytes, bytes]], ends: bytes = b"") -> bytes:
        """The bytes of an answer, as the ordinary way sends them; `defaults` are the headers that uvicorn adds."""
        if defaults is not self._starts_with:
            self._starts_with, self._starts = defaults, {}
        start = self._starts.get(answer.status)
        if start is None:
            lines = (b"%b: %b\r\n" % header for header in defaults)
            start = self._starts[answer.status] = b"".join((STATUS_LINE[answer.status], *lines))
        return b"%b%bx-server-time-ms: %d\r\n%b\r\n%b" % (start, answer.head, now_ms, ends, answer.body)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.cors and scope["type"] == "http":
            send = self.cors.sending(scope["headers"], send)
        campaign_id = campaign_of_grab(scope["method"], scope["path"]) if scope["type"] == "http" else None
        if scope["type"] == "http" and _is_encoded(scope["headers"]):
            headers = dict(scope["headers"])
            language = choose_language(headers.get(b"accept-language"))
            refused = of_problem("unsupported-media-type", language, encoding="identity")
            self.refusals[refused.outcome] += 1
            await self._send(refused.of_request(headers.get(HEADER)), send)
        elif campaign_id is None:
            if scope["type"] == "http" and scope["method"] == "HEAD":
                scope = {**scope, "method": "GET"}  # the server leaves the body out
            await self._app(scope, receive, send)
        else:
            await self._grab(campaign_id, scope, receive, send)

    def caller_of(self, authorization: bytes | None) -> str:
        """The caller, in terms of admission, of an ordinary call."""
        return self.path.caller_of(None if authorization is None else bearer_token(authorization), self.clock())

    async def turn_away(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 -- ASGI: nothing is read
        """ASGI: refuse a call beyond the limit."""
        send = self.cors.sending(scope["headers"], send)
        headers = dict(scope["headers"])
        answer = of_problem("overloaded", choose_language(headers.get(b"accept-language")))
        self.refusals[answer.outcome] += 1
        await self._send(answer.of_request(headers.get(HEADER)), send)

    async def _grab(self, campaign_id: str, scope: Scope, receive: Receive, send: Send) -> None:
        arrived_s = self.clock()
        authorization = idempotency_key = content_type = b""
        accept_language = request_id = None
        for name, value in scope["headers"]:
            if name == b"authorization":
                authorization = value
            elif name == b"idempotency-key":
                idempotency_key = value
            elif name == b"accept-language":
                accept_language = value
            elif name == b"content-type":
                content_type = value
            elif name == HEADER:
                request_id = value
        language = choose_language(accept_language)
        body = await _whole_body(receive)
        answer = refusal_of_query(scope["query_string"], language) or refusal_of_body(body, content_type, language)
        if answer is None:
            answer = await self.path.answer(campaign_id, bearer_token(authorization), idempotency_key, language)
        self.durations[answer.outcome].append(self.clock() - arrived_s)
        await self._send(answer.of_request(request_id), send)

    async def _send(self, answer: Answer, send: Send) -> None:
        headers = [*answer.headers, (b"x-server-time-ms", b"%d" % self.now_ms(self.clock()))]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})


def _call_soon(turn: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_soon(turn)


async def _whole_body(receive: Receive) -> bytes:
    """The body, which the protocol has bounded and which is whole."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


def _is_encoded(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether the body is declared as compressed, which is not supported."""
    return any(name == b"content-encoding" and value.strip().lower() not in {b"", b"identity"} for name, value in headers)


def refusal_of_query(query: bytes, language: str) -> Answer | None:
    """The refusal of a grab with query parameters, since it takes none; None without any."""
    errors = query_errors(query, (), reads=False) if query else []
    return (
        of_validation(language, [{"field": name, "reason": why.in_language(language)} for name, why in errors])
        if errors
        else None
    )


def refusal_of_body(body: bytes, content_type: bytes, language: str) -> Answer | None:
    """The refusal of a grab with a body; None for an empty body or an empty JSON object."""
    if not body:
        return None
    if content_type and content_type.split(b";", 1)[0].strip().lower() != b"application/json":
        return of_problem("unsupported-media-type", language)
    try:
        content = read_json(body)
    except orjson.JSONDecodeError:
        return of_problem("malformed", language)
    if not isinstance(content, dict):
        return of_validation(language, [{"field": "", "reason": NO_OBJECT.in_language(language)}])
    errors = [{"field": str(name), "reason": NO_FIELDS.in_language(language)} for name in list(content)[:10]]
    return of_validation(language, errors) if errors else None
