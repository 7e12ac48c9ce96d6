"""What holds for every request before and after FastAPI sees it? Limits on the body, the server's time, no answer missing.

Plain ASGI: what stands here runs for each request, and a class of middleware with its own tasks would cost more than the rest.
"""

import asyncio
import traceback
from collections.abc import Callable
from typing import Any, Final

import orjson
import structlog
from asyncpg import PostgresError
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from grab_service.grabpath.bodies import discard_body
from grab_service.grabpath.desk import Desk
from grab_service.ops.refusal import RefusalError
from grab_service.vocabulary import problems

BODY_TIMEOUT_S: Final = 30.0
IMPORT_TIMEOUT_S: Final = 300.0
SAID_MAX: Final = 2000

log = structlog.get_logger()


def is_import(path: str) -> bool:
    """Whether a path takes a CSV, which may be much larger than anything else."""
    return path.startswith("/v1/ops/") and path.endswith(("/import", "/codes"))


class Edge:
    """ASGI, around the whole application."""

    def __init__(
        self, app: ASGIApp, *, now_ms: Callable[[], int], body_max_bytes: int, import_max_bytes: int, desk: Desk
    ) -> None:
        self._app = app
        self._now_ms = now_ms
        self._body_max_bytes = body_max_bytes
        self._import_max_bytes = import_max_bytes
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def send_with_time(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message.get("headers", ()), (b"x-server-time-ms", b"%d" % self._now_ms())]
            await send(message)

        large = is_import(scope["path"])
        max_bytes = self._import_max_bytes if large else self._body_max_bytes
        announced = _announced_bytes(scope["headers"])
        if announced is not None and announced > max_bytes:
            ends = not await discard_body(receive)
            await _send_problem(scope, send_with_time, "too-large", {"limit_bytes": max_bytes}, ends=ends)
            return
        bounded = _Bounded(receive, max_bytes, IMPORT_TIMEOUT_S if large else BODY_TIMEOUT_S, self._desk)
        try:
            await self._app(scope, bounded.receive, send_with_time)
        except RefusalError as refusal:
            if started:
                raise
            ends = not bounded.complete and not await discard_body(receive)
            await _send_problem(scope, send_with_time, refusal.name, refusal.extra, ends=ends)
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
        finally:
            bounded.drop()


def evidence_of(error: Exception) -> dict[str, str]:
    """What the log may keep of a bug. Postgres puts whole rows into its messages, and no name of a member may stand there."""
    evidence = {"error": type(error).__name__, "frames": "".join(traceback.format_tb(error.__traceback__))}
    if isinstance(error, SQLAlchemyError | PostgresError):
        origin = getattr(error, "orig", error)
        return evidence | {"sqlstate": str(getattr(origin, "sqlstate", None)), "said": "withheld"}
    return evidence | {"said": str(error)[:SAID_MAX]}


class _Bounded:
    """A body that is read up to a limit and within a time; what goes beyond is refused while it comes in."""

    def __init__(self, receive: Receive, max_bytes: int, timeout_s: float, desk: Desk) -> None:
        self._receive = receive
        self._desk = desk
        self._max_bytes = max_bytes
        self._ends_at_s = asyncio.get_running_loop().time() + timeout_s
        self._bytes = 0
        self.complete = False

    async def receive(self) -> Message:
        if self.complete:
            return await self._receive()  # the wait for the other side to hang up
        self._desk.leave()
        try:
            async with asyncio.timeout_at(self._ends_at_s):
                message = await self._receive()
        except TimeoutError:
            raise RefusalError("request-timeout") from None
        finally:
            self._desk.resume()
        if message["type"] == "http.request":
            piece_bytes = len(message.get("body", b""))
            self._bytes += piece_bytes
            if not self._desk.hold(piece_bytes):
                raise RefusalError("overloaded")
            self.complete = not message.get("more_body", False)
            if self._bytes > self._max_bytes:
                raise RefusalError("too-large", limit_bytes=self._max_bytes)
        return message

    def drop(self) -> None:
        """The call is over, and nobody looks at its body any more."""
        self._desk.drop(self._bytes)


def _announced_bytes(headers: list[tuple[bytes, bytes]]) -> int | None:
    for name, value in headers:
        if name == b"content-length" and value.isdigit():
            return int(value[:20])
    return None


async def _send_problem(scope: Scope, send: Send, name: str, extra: dict[str, Any], *, ends: bool) -> None:
    """Say it; `ends`: the connection ends with the answer, because the rest of the body was not read."""
    wish = dict(scope["headers"]).get(b"accept-language")
    language = problems.choose_language(wish)
    body = orjson.dumps(problems.body(name, language, **extra))
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
