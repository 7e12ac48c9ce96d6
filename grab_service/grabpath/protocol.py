"""How is a grab answered below ASGI, and how long may a connection keep a worker waiting?

A subclass of uvicorn's protocol. A plain grab (`POST …/claims`, HTTP/1.1, no body, nothing else under way on the connection) is
answered right where its headers were parsed, in one write. Everything else takes the ordinary way, through the same `GrabPath`;
a test sends both ways the same requests and compares the bytes.

uvicorn itself waits for ever for the end of the headers, takes any number of them, and any number of requests sent ahead: here
all have bounds, as have idle connections, readers who do not read, the number of connections, and ordinary calls at work.
"""

import re
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from grab_service.grabpath.answers import Answer, of_problem
from grab_service.grabpath.desk import needs_place
from grab_service.grabpath.lane import AFTER, BEFORE, GrabLane, bearer_token
from grab_service.grabpath.path import GrabRequest
from grab_service.vocabulary.problems import choose_language

HEAD_MAX_BYTES: Final = 32 * 1024
HEADERS_MAX: Final = 100
HEAD_TIMEOUT_S: Final = 10.0
WRITE_TIMEOUT_S: Final = 30.0
PIPELINE_MAX: Final = 64
"""Requests that may wait behind the one that is being answered; who sends more ahead of the answers is cut off."""

TURNED_AWAY_MAX: Final = 128
"""Connections beyond the limit whose first request is waited for, so that they can be told."""

TURNED_AWAY_S: Final = 2.0

_BEFORE: Final = BEFORE.encode()
_AFTER: Final = AFTER.encode()
_ODD: Final = re.compile(rb"[/%?#]")
"""What in a campaign's id leaves it to the ordinary way to say what the URL means."""

_NOT_PLAIN: Final = frozenset({b"transfer-encoding", b"expect", b"upgrade"})


class _NobodyWaits:
    """Stands where the ordinary way has an event that its task waits for."""

    def set(self) -> None:
        """Nobody waits."""


_NOBODY_WAITS: Final = _NobodyWaits()


class FastCycle:
    """A grab under way on the fast lane; uvicorn's protocol sees in it the request that the connection is busy with."""

    __slots__ = ("_protocol", "body", "disconnected", "keep_alive", "message_event", "more_body", "response_complete")

    def __init__(self, protocol: "GrabProtocol", *, keep_alive: bool) -> None:
        self._protocol = protocol
        self.keep_alive = keep_alive
        self.disconnected = False
        self.response_complete = False
        self.more_body = True
        self.body = bytearray()
        self.message_event = _NOBODY_WAITS

    def tell(self, answer: Answer) -> None:
        """The answer is there; whoever asked may have gone."""
        self.response_complete = True
        if not self.disconnected:
            self._protocol.write_answer(answer, keep_alive=self.keep_alive)


class GrabProtocol(HttpToolsProtocol):
    """One connection of the grab lane, which must be the application that uvicorn was given."""

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
        self.lane.connections.discard(self)
        self._give_up_answers()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
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
        self._in_head, self._head_bytes = True, 0
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
        if (self._is_plain_grab() and self._begin_grab()) or self._turn_away_at_once():
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
        if self.cycle is not None:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        self._silent_since_s = self.loop.time()
        super().on_response_complete()

    # The grab

    def _is_answering(self) -> bool:
        cycle: Any = self.cycle  # None before the first request
        return cycle is not None and not cycle.response_complete

    def _is_plain_grab(self) -> bool:
        return (
            not self._is_answering()
            and self.url.startswith(_BEFORE)
            and self.url.endswith(_AFTER)
            and self.parser.get_method() == b"POST"
            and self.parser.get_http_version() == "1.1"
            and not self.flow.write_paused
        )

    def _begin_grab(self) -> bool:
        """Answer the grab, or see to it that it will be; False if it is not that plain after all."""
        authorization = idempotency_key = b""
        accept_language = None
        for name, value in self.headers:
            if name == b"authorization":
                authorization = value
            elif name == b"idempotency-key":
                idempotency_key = value
            elif name == b"accept-language":
                accept_language = value
            elif name in _NOT_PLAIN or (name == b"content-length" and value != b"0"):
                return False
        campaign_id = self.url[len(_BEFORE) : -len(_AFTER)]
        if not campaign_id or not campaign_id.isascii() or _ODD.search(campaign_id):
            return False
        request = GrabRequest(
            campaign_id.decode(), bearer_token(authorization), idempotency_key, choose_language(accept_language)
        )
        cycle = FastCycle(self, keep_alive=self.parser.should_keep_alive())
        self.cycle = cycle  # type: ignore[assignment]  # it has all that the protocol asks of one
        if self.lane.connections.draining:
            self._end_with(cycle)
        answer = self.lane.path.begin(request, cycle.tell)
        if answer is not None:
            cycle.tell(answer)
        return True

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
        cycle = FastCycle(self, keep_alive=self.parser.should_keep_alive() and not self._shed_in_read)
        self._shed_in_read = True
        self.cycle = cycle  # type: ignore[assignment]  # it has all that the protocol asks of one
        if self.lane.connections.draining:
            self._end_with(cycle)
        cycle.tell(of_problem("overloaded", choose_language(headers.get(b"accept-language"))))
        return True

    def write_answer(self, answer: Answer, *, keep_alive: bool) -> None:
        """Send a whole answer in one write, byte for byte what the ordinary way would send."""
        if self.transport.is_closing():
            return
        defaults = [b"%b: %b\r\n" % header for header in self.server_state.default_headers]
        ends = b"" if keep_alive or answer.ends else b"connection: close\r\n"
        time_line = b"x-server-time-ms: %d\r\n" % self.lane.now_ms()
        self.transport.write(
            b"".join((STATUS_LINE[answer.status], *defaults, answer.head, time_line, ends, b"\r\n", answer.body))
        )
        if not keep_alive or answer.ends:
            self.server_state.total_requests += 1
            self.transport.close()
        elif self.pipeline:
            self.on_response_complete()
        else:
            self.server_state.total_requests += 1
            self._silent_since_s = self.loop.time()

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
