"""The answers of a connection: in the order of its requests, each written whole, up to the last one.

Answers of grabs and refusals are made below ASGI and leave in one write. Ordinary calls run as tasks of ASGI, behind the
answers before them, and only with a place among the calls at work.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from grab_service.grabpath.answers import Answer
from grab_service.server.lane import GrabLane

LINGER_S: Final = 2.0
"""Time for which a connection is still read after a refusal: if it were closed while the client sends, the kernel would reset
it, and the refusal would be lost."""


class _NobodyWaits:
    """Stands in for the event that the task of an ordinary call waits for."""

    def set(self) -> None:
        """Nobody waits."""


_NOBODY_WAITS: Final = _NobodyWaits()


class FastCycle:
    """A request that is answered in one write; uvicorn's protocol sees in it the one that the connection is busy with."""

    __slots__ = (
        "_protocol",
        "arrived_s",
        "bodiless",
        "disconnected",
        "keep_alive",
        "message_event",
        "request_id",
        "response_complete",
    )

    def __init__(self, protocol: "AnsweringProtocol", *, keep_alive: bool = True, bodiless: bool = False) -> None:
        self._protocol = protocol
        self.keep_alive = keep_alive
        self.bodiless = bodiless
        self.disconnected = False
        self.request_id: bytes | None = None  # that the request brought
        self.arrived_s = 0.0  # of a grab; 0: it is none
        self.response_complete = True
        self.message_event = _NOBODY_WAITS

    def respond(self, answer: Answer) -> None:
        """Write the answer, unless the client has gone."""
        self.response_complete = True
        if not self.disconnected:
            now_s = self._protocol.lane.clock()
            if self.arrived_s:
                self._protocol.lane.durations[answer.outcome].append(now_s - self.arrived_s)
            answer = answer.without_body() if self.bodiless else answer
            if self.request_id is not None:
                answer = answer.of_request(self.request_id)
            self._protocol.write_answer(answer, keep_alive=self.keep_alive, now_s=now_s)


class AnsweringProtocol(HttpToolsProtocol):
    """The side of a connection that answers; `GrabProtocol` adds the side that reads.

    `_between`: no request is arriving, so the connection may be closed at once.
    """

    __slots__ = (
        "_between",
        "_last",
        "_lingers_until_s",
        "_running",
        "_silent_since_s",
        "_stalled",
        "_unread_since_s",
        "_unsent",
        "cycle",
        "flow",
        "lane",
        "loop",
        "pipeline",
        "server_state",
        "transport",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        assert isinstance(self.app, GrabLane), "the grab protocol serves the grab lane, with nothing in between"
        self.lane: GrabLane = self.app
        self.pipeline: deque[tuple[Any, Callable[[], None]]] = deque()  # type: ignore[assignment]  # ours begin by themselves
        self._silent_since_s: float | None = None
        self._unread_since_s: float | None = None
        self._lingers_until_s: float | None = None
        self._between = True
        self._stalled = False
        self._unsent = b""
        self._last: Any = None
        self._running: Any = None

    # The order of the answers

    def _is_answering(self) -> bool:
        cycle: Any = self.cycle  # None before the first request
        return cycle is not None and not cycle.response_complete

    def _in_turn(self, cycle: Any, begin: Callable[[], None]) -> None:
        """Begin now, or behind what is still to be answered on this connection."""
        answering = self._is_answering()
        before: Any = self.cycle  # None before the first request
        self.cycle = cycle
        if self.lane.connections.draining:
            if before is not None and before is self._last and not getattr(before, "response_started", False):
                before.keep_alive = True  # one more came behind it
            self._end_with(cycle)
        if answering or self.flow.write_paused:
            self._stalled |= not answering
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, begin))
        else:
            begin()

    def _respond_in_turn(self, answer: Answer, *, keep_alive: bool, bodiless: bool) -> None:
        self.lane.refusals[answer.outcome] += 1
        cycle = FastCycle(self, keep_alive=keep_alive, bodiless=bodiless)
        cycle.response_complete = False
        self._in_turn(cycle, lambda: cycle.respond(answer))

    def _begin_next(self) -> None:
        if self.pipeline and not self.transport.is_closing():
            _, begin = self.pipeline.pop()
            self.flow.resume_reading()
            begin()

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        self._silent_since_s = self.loop.time()
        if self.transport.is_closing():
            return
        if not self.pipeline:
            self.flow.resume_reading()
        elif self.flow.write_paused:
            self._stalled = True
        else:
            self._begin_next()

    def resume_writing(self) -> None:
        self._unread_since_s = None  # slow, but they read
        super().resume_writing()
        if self._stalled:
            self._stalled = False
            self._begin_next()

    def _give_up_answers(self) -> None:
        """Drop all answers of a lost connection, the current one and those queued. uvicorn itself knows only the last."""
        for cycle in (self._running, *(waiting for waiting, _ in self.pipeline)):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        while self.pipeline:
            _, begin = self.pipeline.pop()
            begin()  # of a call that nobody waits for any more: lets go of its body

    # Ordinary calls

    def _begin(self, cycle: RequestResponseCycle, caller: str | None, body_bytes: int) -> None:
        """Start an ordinary call, in one of the next turns of the loop if it needs a place."""
        lane = self.lane
        self._running = cycle
        if cycle.disconnected:  # while it waited behind others
            lane.bodies.done(body_bytes)
        elif caller is None:
            self._start(cycle, None, body_bytes)
        elif lane.admission.enter(caller):

            def start() -> None:
                if cycle.disconnected:  # while it was queued
                    lane.admission.leave(caller)
                    lane.bodies.done(body_bytes)
                else:
                    self._start(cycle, caller, body_bytes)

            lane.admission.begin_soon(start, self.loop.call_soon)
        else:
            lane.bodies.done(body_bytes)
            self._start_asgi_task(cycle, cast("Any", lane.turn_away))

    def _start(self, cycle: RequestResponseCycle, caller: str | None, body_bytes: int) -> None:
        lane, flow = self.lane, self.flow

        async def ordinary(scope: Any, receive: Any, send: Any) -> None:
            async def send_when_read(message: Any) -> None:
                if caller is not None and flow.write_paused and not cycle.disconnected:
                    # A call whose client does not read takes no place meanwhile.
                    lane.admission.leave(caller)
                    try:
                        await flow.drain()
                    finally:
                        lane.admission.resume(caller)
                await send(message)

            try:
                await lane(scope, receive, send_when_read)
            finally:
                lane.bodies.done(body_bytes)
                if caller is not None:
                    lane.admission.leave(caller)

        self._start_asgi_task(cycle, cast("Any", ordinary))

    # The bytes

    def write_answer(self, answer: Answer, *, keep_alive: bool, now_s: float) -> None:
        """Write a whole answer, with the same bytes as the ordinary way."""
        if self.transport.is_closing():
            return
        now_ms = self.lane.now_ms(now_s)
        defaults = self.server_state.default_headers
        if not keep_alive:
            self._unsent += self.lane.render(answer, now_ms, defaults, b"connection: close\r\n")
            self.write_unsent()
            self.server_state.total_requests += 1
            self._hang_up(now_s)
            return
        if answer.rendered_at_ms != now_ms or answer.rendered_with is not defaults:
            answer.rendered = self.lane.render(answer, now_ms, defaults)
            answer.rendered_at_ms, answer.rendered_with = now_ms, defaults
        if self._unsent:
            self._unsent += answer.rendered
        else:
            self._unsent = answer.rendered
            self.lane.scheduler.write_soon(self)
        if self.pipeline:
            self.write_unsent()
            self.on_response_complete()
        else:
            self.server_state.total_requests += 1
            self._silent_since_s = now_s

    def write_unsent(self) -> None:
        """Write the answers given below ASGI; anything else on this connection is written behind them."""
        unsent, self._unsent = self._unsent, b""
        if unsent and not self.transport.is_closing():
            self.transport.write(unsent)

    def _hang_up(self, now_s: float) -> None:
        """Close; if the client may be in the middle of sending, not before it has had a moment to read."""
        if self._between or not self.transport.can_write_eof():
            self.transport.close()
        else:
            self._lingers_until_s = now_s + LINGER_S
            self.transport.write_eof()

    def abort(self) -> None:
        """Close the connection at once; no answer is possible any more."""
        self.transport.abort()

    # The end of a worker

    def shutdown(self) -> None:
        """The worker is to end: the current request is the last of this connection; an idle connection may send one more."""
        self.lane.connections.drain()
        if self._is_answering():
            self._end_with(self.cycle)

    def _end_with(self, cycle: Any) -> None:
        if cycle.keep_alive:
            cycle.keep_alive = False
            self._last = cycle
