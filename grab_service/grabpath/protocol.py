"""How is a grab answered below ASGI, and how long may a connection keep a worker waiting?

A subclass of uvicorn's protocol. A plain grab (`POST …/claims`, whole in one read, nothing else under way on the connection) is
answered without a scope, a task or a future, in one write. Everything else takes the ordinary way, through the same `GrabPath`;
a test sends both ways the same requests and compares the bytes.

uvicorn itself waits for ever for the end of the headers, takes any number of them, and any number of requests sent ahead: here
all have bounds, as have idle connections, readers who do not read, the number of connections, and ordinary calls at work.
"""

from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from grab_service.grabpath.answers import Answer, of_problem
from grab_service.grabpath.desk import needs_place
from grab_service.grabpath.lane import GrabLane
from grab_service.grabpath.reader import HEADERS_MAX, START
from grab_service.vocabulary.problems import choose_language

HEAD_MAX_BYTES: Final = 32 * 1024
HEAD_TIMEOUT_S: Final = 10.0
WRITE_TIMEOUT_S: Final = 30.0
PIPELINE_MAX: Final = 64
"""Requests that may wait behind the one that is being answered; who sends more ahead of the answers is cut off."""

TURNED_AWAY_MAX: Final = 128
"""Connections beyond the limit whose first request is waited for, so that they can be told."""

TURNED_AWAY_S: Final = 2.0

_NOT_PLAIN: Final = frozenset({b"transfer-encoding", b"expect", b"upgrade"})


class _NobodyWaits:
    """Stands where the ordinary way has an event that its task waits for."""

    def set(self) -> None:
        """Nobody waits."""


_NOBODY_WAITS: Final = _NobodyWaits()


class FastCycle:
    """A request that is answered in one write; uvicorn's protocol sees in it the one that the connection is busy with."""

    __slots__ = ("_protocol", "body", "disconnected", "keep_alive", "message_event", "more_body", "response_complete")

    def __init__(self, protocol: "GrabProtocol") -> None:
        self._protocol = protocol
        self.keep_alive = True
        self.disconnected = False
        self.response_complete = True
        self.more_body = True
        self.body = bytearray()
        self.message_event = _NOBODY_WAITS

    def tell(self, answer: Answer) -> None:
        """The answer is there; whoever asked may have gone."""
        self.response_complete = True
        if not self.disconnected:
            self._protocol.write_answer(answer, keep_alive=self.keep_alive)


class GrabProtocol(HttpToolsProtocol):
    """One connection of the grab lane, which must be the application that uvicorn was given.

    What every grab touches, uvicorn's as well as ours, lies side by side in slots: with thousands of connections, the dicts of
    them all do not stay in the processor's cache.
    """

    __slots__ = (
        "_between",
        "_grab",
        "_head_bytes",
        "_held",
        "_in_head",
        "_last",
        "_read_bytes",
        "_running",
        "_shed_in_read",
        "_silent_since_s",
        "_turned_away",
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
        self._silent_since_s: float | None = None
        self._unread_since_s: float | None = None
        self._in_head = False
        self._head_bytes = 0
        self._read_bytes = 0
        self._turned_away = False
        self._between = True
        self._held: bytes | None = None
        self._unsent = b""
        self._grab = FastCycle(self)
        self._last: Any = None
        self._running: Any = None
        self._shed_in_read = False

    # What the transport calls

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._silent_since_s = self.loop.time()
        if not self.lane.connections.add(self):
            # Who is told before they have sent anything is reset when they do, and does not hear it.
            self._turned_away = True
            if not self.lane.connections.add_turned_away(self, TURNED_AWAY_MAX):
                transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._held = None
        self.lane.connections.discard(self)
        self._give_up_answers()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        cycle: Any = self.cycle  # None before the first request
        if self._held is not None:
            # Sent ahead of an answer: not plain any more.
            data, self._held = self._held + data, None
        elif self._between and (cycle is None or cycle.response_complete) and data.startswith(START):
            self._held = data
            self.lane.turnstile.line_up(self)
            return
        self._read(data)

    def eof_received(self) -> None:
        if self._held is not None:  # they hear what they asked before the connection ends
            self.pass_through(self.lane.clock())

    def _read(self, data: bytes) -> None:
        """The ordinary way, which says what is wrong with whatever is."""
        if self._unsent:
            self.leave()
        if self.transport.is_closing():
            return
        if self._turned_away:
            self.refuse("overloaded")
            return
        self._read_bytes, self._shed_in_read = len(data), False
        if self._in_head:
            self._head_bytes += self._read_bytes
            if self._head_bytes > HEAD_MAX_BYTES:
                self.refuse("headers-too-large")
                return
        super().data_received(data)

    def _give_up_answers(self) -> None:
        """Nobody hears them: neither what is being answered nor what waits behind it. uvicorn knows of the last one only."""
        for cycle in (self._running, *(waiting for waiting, _ in self.pipeline)):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        self.pipeline.clear()

    def resume_writing(self) -> None:
        self._unread_since_s = None  # slow, but they read
        super().resume_writing()

    # What the parser calls

    def on_message_begin(self) -> None:
        # What the ordinary way needs is made when it is known that it is needed.
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._between, self._in_head, self._head_bytes = False, True, 0
        self._silent_since_s = self.loop.time()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._silent_since_s = None
        if self.transport.is_closing():
            return
        if len(self.headers) > HEADERS_MAX or (
            # A head that came in one read with others has not been counted.
            self._head_bytes + self._read_bytes > HEAD_MAX_BYTES
            and sum(len(name) + len(value) for name, value in self.headers) + len(self.url) > HEAD_MAX_BYTES
        ):
            self.refuse("headers-too-large")
            return
        if len(self.pipeline) >= PIPELINE_MAX:
            self._give_up_answers()
            self.transport.abort()
            return
        if self._turn_away_at_once():
            return
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        before: Any = self.cycle
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(headers)
        super().on_headers_complete()
        if self.lane.connections.draining:
            if before is not None and before is self._last and not getattr(before, "response_started", False):
                before.keep_alive = True  # one more came behind it
            self._end_with(self.cycle)

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._running = cycle
        if not needs_place(cycle.scope["path"]):
            super()._start_asgi_task(cycle, app)
        elif self.lane.desk.enter():
            start, placed = super()._start_asgi_task, cast("Any", self.lane.at_desk)

            def begin() -> None:
                if cycle.disconnected:  # while it stood in line
                    self.lane.desk.leave()
                else:
                    start(cycle, placed)

            self.lane.desk.line_up(begin, self.loop.call_soon)
        else:
            super()._start_asgi_task(cycle, cast("Any", self.lane.turn_away))

    def on_body(self, body: bytes) -> None:
        if self.cycle is not None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._between = True
        if self.cycle is not None:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        self._silent_since_s = self.loop.time()
        super().on_response_complete()

    # The grab

    def _is_answering(self) -> bool:
        cycle: Any = self.cycle  # None before the first request
        return cycle is not None and not cycle.response_complete

    def pass_through(self, now_s: float) -> None:
        """Answer the grab that waits here, or see to it that it will be."""
        data, self._held = self._held, None
        if data is None:
            return
        lane = self.lane
        path = lane.path
        if self.flow.write_paused or self._turned_away or lane.connections.draining or self.transport.is_closing():
            self._read(data)
            return
        plain = lane.reader.read(data)
        if plain is None or not path.knows(plain[0]):
            self._read(data)
            return
        campaign_id, token, idempotency_key, language = plain
        grab = self._grab
        grab.response_complete = False
        self.cycle = grab  # type: ignore[assignment]  # it has all that the protocol asks of one
        self._silent_since_s = None
        answer = path.begin(campaign_id, token, idempotency_key, language, grab.tell, now_s)
        if answer is not None:
            grab.response_complete = True
            self.write_answer(answer, keep_alive=True, now_s=now_s)

    def give_up(self) -> None:
        """Nothing can be said any more."""
        self.transport.abort()

    def _turn_away_at_once(self) -> bool:
        """Answer an ordinary call for which there is no place, here and now: what is shed must cost next to nothing."""
        if (
            self.lane.desk.free > 0
            or self._is_answering()
            or self.flow.write_paused
            or self.parser.get_http_version() != "1.1"
            or not needs_place(self.url.partition(b"?")[0].decode("latin-1"))
        ):
            return False
        headers = dict(self.headers)
        if not headers.keys().isdisjoint(_NOT_PLAIN) or headers.get(b"content-length", b"0") != b"0":
            return False
        # Who has sent more behind it, ahead of the answers, hears no more than that.
        cycle = FastCycle(self)
        cycle.response_complete = False
        cycle.keep_alive = self.parser.should_keep_alive() and not self._shed_in_read
        self._shed_in_read = True
        self.cycle = cycle  # type: ignore[assignment]  # it has all that the protocol asks of one
        if self.lane.connections.draining:
            self._end_with(cycle)
        cycle.tell(of_problem("overloaded", choose_language(headers.get(b"accept-language"))))
        return True

    def write_answer(self, answer: Answer, *, keep_alive: bool, now_s: float | None = None) -> None:
        """Send a whole answer in one write, byte for byte what the ordinary way would send."""
        if self.transport.is_closing():
            return
        if now_s is None:
            now_s = self.lane.clock()
        now_ms = self.lane.now_ms(now_s)
        defaults = self.server_state.default_headers
        if not keep_alive or answer.ends:
            ends = b"" if answer.ends else b"connection: close\r\n"
            self._unsent += self.lane.sealed(answer, now_ms, defaults, ends)
            self.leave()
            self.server_state.total_requests += 1
            self.transport.close()
            return
        if answer.sealed_at_ms != now_ms or answer.sealed_with is not defaults:
            answer.sealed = self.lane.sealed(answer, now_ms, defaults)
            answer.sealed_at_ms, answer.sealed_with = now_ms, defaults
        if self._unsent:
            self._unsent += answer.sealed
        else:
            self._unsent = answer.sealed
            self.lane.turnstile.let_out(self)
        if self.pipeline:
            self.leave()
            self.on_response_complete()
        else:
            self.server_state.total_requests += 1
            self._silent_since_s = now_s

    def leave(self) -> None:
        """Send what was answered below ASGI; whatever else is written on this connection comes behind it."""
        unsent, self._unsent = self._unsent, b""
        if unsent and not self.transport.is_closing():
            self.transport.write(unsent)

    # The end of a worker

    def shutdown(self) -> None:
        """The worker is to end: what is being answered is the last here, and who is idle may ask once more."""
        self.lane.connections.drain()
        if self._is_answering():
            self._end_with(self.cycle)

    def _end_with(self, cycle: Any) -> None:
        if cycle.keep_alive:
            cycle.keep_alive = False
            self._last = cycle

    # What keeps a worker waiting

    def refuse(self, name: str) -> None:
        """Say what is wrong with what came, if nothing else is being answered, and end the connection."""
        if self._is_answering():
            self.transport.close()
        else:
            self.write_answer(of_problem(name, "zh"), keep_alive=False)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 -- uvicorn's words for it, in plain text
        """Answer what is no HTTP request: with a problem and the server's time, as everything is answered."""
        self.refuse("malformed")

    def look_at_the_clock(self, now_s: float) -> None:
        """End the connection if the other side has been silent, or has not read, for too long."""
        if self.transport.get_write_buffer_size() == 0:
            self._unread_since_s = None
        elif self._unread_since_s is None:
            self._unread_since_s = now_s
        elif now_s - self._unread_since_s > WRITE_TIMEOUT_S:
            self.transport.abort()
            return
        if self._silent_since_s is None:
            return
        silent_s = now_s - self._silent_since_s
        if self._turned_away and silent_s > TURNED_AWAY_S:
            self.transport.abort()
            return
        drained = self.lane.connections.drained
        if self._in_head and (drained or silent_s > HEAD_TIMEOUT_S):
            self.refuse("request-timeout")
        elif not self._in_head and (drained or silent_s > self.timeout_keep_alive):
            self.transport.close()
