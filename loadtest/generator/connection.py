"""A connection that carries one request at a time."""

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

from loadtest.generator.http_parse import Answer, HttpParseError, take_answer

IDLE = -1


class Asker(Protocol):
    """The callbacks for the outcome of a connection and of the request it carried."""

    def on_answer(self, connection: "GrabConnection", answer: Answer) -> None:
        """A whole answer came; the connection is free again."""

    def on_loss(self, connection: "GrabConnection", reason: str) -> None:
        """The request that the connection carried has no answer, and never will on this connection."""

    def on_gone(self, connection: "GrabConnection") -> None:
        """The connection is closed; it carries nothing any more."""


class GrabConnection(asyncio.Protocol):
    """A keep-alive connection with at most one request outstanding.

    Attributes:
        task: which tap of the crowd it carries, or `IDLE`.
        receipt_no: the number of the request it carries.
        sent_at_ns: when that was sent, monotonic.
        closed: no more use.
        reason: why it is being given up, if we are the ones.
        useful: whether it ever brought an answer.
    """

    __slots__ = ("_asker", "_buffer", "_transport", "_write", "closed", "reason", "receipt_no", "sent_at_ns", "task", "useful")

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self._write: Callable[[bytes], None] = _not_connected
        self.task = IDLE
        self.receipt_no = 0
        self.sent_at_ns = 0
        self.closed = False
        self.reason = ""
        self.useful = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._write = self._transport.write

    def send(self, request: bytes, task: int, receipt_no: int, now_ns: int) -> None:
        """Put a request on the wire. The caller has seen that the connection is idle and not closed."""
        self.task = task
        self.receipt_no = receipt_no
        self.sent_at_ns = now_ns
        self._write(request)

    def data_received(self, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
        if self.task == IDLE:
            self.abort("stray-bytes")
            return
        try:
            answer = take_answer(data)
        except HttpParseError:
            self.abort("unreadable-answer")
            return
        if answer is None:
            self._buffer = data
            return
        if answer.size != len(data):
            # More than was asked for: whose answer it is, nobody can say, so neither is believed.
            self.abort("stray-bytes")
            return
        if self._buffer:
            self._buffer = b""
        self.useful = True
        self._asker.on_answer(self, answer)

    def abort(self, reason: str) -> None:
        """Give the connection up, with whatever it carries."""
        if self.closed:
            return
        self.reason = reason
        self._give_up(reason)
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """Close an idle connection in good order."""
        self.closed = True
        if self._transport is not None:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc  # whichever way it went, the request is without an answer
        self.closed = True
        self._give_up(self.reason or "connection-lost")
        self._asker.on_gone(self)

    def _give_up(self, reason: str) -> None:
        self.closed = True
        if self.task != IDLE:
            self._asker.on_loss(self, reason)
            self.task = IDLE


def _not_connected(request: bytes) -> None:
    del request
    raise AssertionError("sent before the connection was made")
