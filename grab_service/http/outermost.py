"""The outermost middleware: the server's time and the request's id on every response, and a response to every request.

Plain ASGI: what stands here runs for each request, and a class of middleware with its own tasks would cost more than the rest.
"""

import asyncio
import time
import traceback
from collections.abc import Callable
from typing import Any, Final

import orjson
import structlog
from asyncpg import PostgresError
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from grab_service import problems
from grab_service.measures.calls import CallMetrics
from grab_service.refusal import RefusalError
from grab_service.vocabulary.request_id import HEADER, request_id_of

SAID_MAX: Final = 2000

log = structlog.get_logger()


class OutermostMiddleware:
    """ASGI, around the whole application."""

    def __init__(self, app: ASGIApp, *, now_ms: Callable[[], int], calls: CallMetrics) -> None:
        self._app = app
        self._calls = calls
        self._now_ms = now_ms

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = request_id_of(next((value for name, value in reversed(scope["headers"]) if name == HEADER), None))
        scope.setdefault("state", {})["request_id"] = request_id.decode()
        # All lines that this call logs, from whatever depth, name it.
        with bound_contextvars(request_id=request_id.decode()):
            began_s, status = time.monotonic(), 0

            async def send_and_note(message: Message) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                await send(message)

            try:
                await self._answer(scope, receive, send_and_note, request_id)
            finally:
                route = getattr(scope.get("route"), "path", None) or scope["state"].get("route")
                self._calls.add(scope["method"], route, status, time.monotonic() - began_s)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, request_id: bytes) -> None:
        started = False

        async def send_with_time(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                added = ((b"x-server-time-ms", b"%d" % self._now_ms()), (HEADER, request_id))
                message["headers"] = [*message.get("headers", ()), *added]
            await send(message)

        try:
            await self._app(scope, receive, send_with_time)
        except RefusalError as refusal:
            if started:
                raise
            await _send_problem(scope, send_with_time, refusal.name, refusal.extra)
        except ClientDisconnect:
            return  # nobody is left to hear an answer
        except Exception as error:
            log.error("request_failed", method=scope["method"], path=scope["path"], **evidence_of(error))  # noqa: TRY400 -- not all of it
            if started:
                raise  # half an answer is out; the server can only cut the connection
            await _send_problem(scope, send_with_time, "internal-error", {}, ends=True)
        except asyncio.CancelledError:
            # The worker ends, and this took longer than the time that was left.
            if not started:
                await _send_problem(scope, send_with_time, "outcome-unknown", {}, ends=True)
            raise


def evidence_of(error: Exception) -> dict[str, str]:
    """A bug as the log may keep it. Postgres puts whole rows into its messages, and no name of a member may stand there."""
    evidence = {"error": type(error).__name__, "frames": "".join(traceback.format_tb(error.__traceback__))}
    if isinstance(error, SQLAlchemyError | PostgresError):
        origin = getattr(error, "orig", error)
        return evidence | {"sqlstate": str(getattr(origin, "sqlstate", None)), "said": "withheld"}
    return evidence | {"said": str(error)[:SAID_MAX]}


async def _send_problem(scope: Scope, send: Send, name: str, extra: dict[str, Any], *, ends: bool = False) -> None:
    """Say it; `ends`: the connection ends with the answer."""
    wish = dict(scope["headers"]).get(b"accept-language")
    language = problems.choose_language(wish)
    body = orjson.dumps(problems.body(name, language, **extra, request_id=scope["state"]["request_id"]))
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-language", language.encode()),
        (b"cache-control", b"no-store"),
        (b"content-length", b"%d" % len(body)),
    ]
    wait_s = problems.CATALOGUE[name].retry_after_s
    if wait_s is not None:
        headers.append((b"retry-after", b"%d" % wait_s))
    if ends:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": problems.CATALOGUE[name].status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
