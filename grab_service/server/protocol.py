"""The HTTP protocol of a connection: requests in, answers out, and the bounds on how long a connection may keep a worker busy.

A subclass of uvicorn's protocol. A plain grab (`POST …/claims`, whole in one read, nothing else under way on the connection) is
answered without a scope, a task or a future, in one write. Everything else takes the ordinary way, through the same `GrabPath`;
a test sends both ways the same requests and compares the bytes.

Nothing is carried out before its request is whole and valid: head, body and trailers have come, and `framing` has said where
they end. Bytes behind a request that cannot be framed, that asks for another protocol, or that declares itself the last, are
discarded.

uvicorn itself waits for ever for the end of the headers, takes any number of them, and any number of requests sent ahead: here
all have bounds, as have idle connections, readers who do not read, the number of connections, and ordinary calls at work.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final, NoReturn, cast
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from grab_service.grabpath.answers import Answer, of_problem
from grab_service.problems import choose_language
from grab_service.server.bodies import (
    DISCARD_MAX_BYTES,
    DISCARD_TIMEOUT_S,
    FRAMING_MAX_BYTES,
    FRAMING_PER_BYTE,
    Bounds,
)
from grab_service.server.call_kinds import CallKind, kind_of
from grab_service.server.framing import HEADERS_MAX, Ambiguous, Frame, frame_of
from grab_service.server.lane import GrabLane, campaign_of_grab
from grab_service.server.reader import START, bearer_token

HEAD_MAX_BYTES: Final = 32 * 1024
HEAD_TIMEOUT_S: Final = 10.0
WRITE_TIMEOUT_S: Final = 30.0
LINGER_S: Final = 2.0
"""Time for which a connection is still read after a refusal: if it were closed while the client sends, the kernel would reset
it, and the refusal would be lost."""

PIPELINE_MAX: Final = 64
"""Requests that may wait behind the one being answered; a connection with more of them is aborted."""

TURNED_AWAY_MAX: Final = 128
"""Connections beyond the limit that are kept until their first request, so that it can be refused."""

TURNED_AWAY_S: Final = 2.0


class _EndOfReadingError(Exception):
    """Stops the parser in the middle of its input: nothing behind this point is read."""


class _NobodyWaits:
    """Stands in for the event that the task of an ordinary call waits for."""

    def set(self) -> None:
        """Nobody waits."""


_NOBODY_WAITS: Final = _NobodyWaits()


class FastCycle:
    """A request that is answered in one write; uvicorn's protocol sees in it the one that the connection is busy with."""

    __slots__ = ("_protocol", "bodiless", "disconnected", "keep_alive", "message_event", "response_complete")

    def __init__(self, protocol: "GrabProtocol", *, keep_alive: bool = True, bodiless: bool = False) -> None:
        self._protocol = protocol
        self.keep_alive = keep_alive
        self.bodiless = bodiless
        self.disconnected = False
        self.response_complete = True
        self.message_event = _NOBODY_WAITS

    def respond(self, answer: Answer) -> None:
        """Write the answer, unless the client has gone."""
        self.response_complete = True
        if not self.disconnected:
            answer = answer.without_body() if self.bodiless else answer
            self._protocol.write_answer(answer, keep_alive=self.keep_alive)


class _Incoming:
    """A request whose head was read, and whose body is on its way."""

    __slots__ = (
        *("apart", "body", "body_bytes", "bounds", "ends_at_s", "frame", "headers", "method", "path", "quiet_bytes"),
        *("read_bytes", "scope_parts", "too_large"),
    )

    def __init__(
        self,
        method: bytes,
        path: str,
        scope_parts: dict[str, Any],
        headers: list[tuple[bytes, bytes]],
        frame: Frame,
        bounds: Bounds,
    ) -> None:
        self.method = method
        self.path = path
        self.scope_parts = scope_parts
        self.headers = headers
        self.frame = frame
        self.bounds = bounds
        self.body = bytearray()
        self.ends_at_s = 0.0
        self.apart = self.too_large = False
        self.body_bytes = self.read_bytes = self.quiet_bytes = 0

    def note_read(self, read_bytes: int, body_bytes_before: int) -> bool:
        """Count a read that was whole inside this body; False if what is not body has become too much."""
        self.read_bytes += read_bytes
        self.quiet_bytes = self.quiet_bytes + read_bytes if self.body_bytes == body_bytes_before else 0
        beside_bytes = self.read_bytes - self.body_bytes
        return self.quiet_bytes <= FRAMING_MAX_BYTES and beside_bytes <= FRAMING_MAX_BYTES + FRAMING_PER_BYTE * self.body_bytes

    def header(self, name: bytes) -> bytes | None:
        """The last header of that name."""
        return next((value for key, value in reversed(self.headers) if key == name), None)


class GrabProtocol(HttpToolsProtocol):
    """One connection of the grab lane, which must be the application that uvicorn was given.

    What every grab touches, uvicorn's as well as ours, lies side by side in slots: with thousands of connections, the dicts of
    them all do not stay in the processor's cache.
    """

    __slots__ = (
        "_between",
        "_fast",
        "_grab",
        "_head_bytes",
        "_held",
        "_in_head",
        "_incoming",
        "_last",
        "_lingers_until_s",
        "_no_more",
        "_probes_only",
        "_running",
        "_shed_in_read",
        "_silent_since_s",
        "_stalled",
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
        self.parser = httptools.HttpRequestParser(self)  # uvicorn's own is lenient
        self.pipeline: deque[tuple[Any, Callable[[], None]]] = deque()  # type: ignore[assignment]  # ours begin by themselves
        self._silent_since_s: float | None = None
        self._unread_since_s: float | None = None
        self._lingers_until_s: float | None = None
        self._in_head = False
        self._head_bytes = 0
        self._incoming: _Incoming | None = None
        self._no_more = False
        self._fast = self.lane.fast
        self._probes_only = False
        self._stalled = False
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
        if self.lane.probes_port is not None and self.server is not None and self.server[1] == self.lane.probes_port:
            self._fast, self._probes_only = False, True
            if not self.lane.connections.add_probe(self):
                transport.abort()
        elif not self.lane.connections.add(self):
            # If we answered before the client has sent its request, the kernel would reset the connection and lose the answer.
            self._turned_away = True
            if not self.lane.connections.add_turned_away(self, TURNED_AWAY_MAX):
                transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._held = None
        self._no_more = True
        self.lane.connections.discard(self)
        self._forget_incoming()
        self._give_up_answers()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        cycle: Any = self.cycle  # None before the first request
        if self._held is not None:
            # Pipelined: not a plain grab any more.
            data, self._held = self._held + data, None
        elif self._fast and self._between and (cycle is None or cycle.response_complete) and data.startswith(START):
            self._held = data
            self.lane.scheduler.read_soon(self)
            return
        self._read(data)

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio takes the answer; uvicorn gives none
        """The client has stopped sending and may still read: pending answers are written before the connection ends."""
        if self._held is not None:
            self.process_held(self.lane.clock())
        if not (self._between or self._no_more):
            self.refuse("malformed")
        self.write_unsent()
        if self._lingers_until_s is not None or not self._is_answering():
            return False
        self._no_more = True
        self._end_with(self.cycle)
        return True

    def _read(self, data: bytes) -> None:
        """Parse input the ordinary way, which also reports what is malformed."""
        if self._unsent:
            self.write_unsent()
        if self._no_more or self.transport.is_closing():
            return
        if self._turned_away:
            self.refuse("overloaded")
            return
        self._shed_in_read = False
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_MAX_BYTES:
                self.refuse("headers-too-large")
                return
        incoming = self._incoming
        before_bytes = 0 if incoming is None else incoming.body_bytes
        try:
            self._parse(data)
        except httptools.HttpParserError as error:
            if not self._no_more:
                self._say_what_is_wrong(error)
        else:
            if incoming is not None and incoming is self._incoming and not incoming.note_read(len(data), before_bytes):
                self.refuse("malformed", reason="transfer-encoding")

    def _parse(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            incoming = self._incoming
            if incoming is None:
                self._no_more = True
                return
            # This parser leaves the body of such a request to the other protocol. Another one reads it as what it is.
            length = incoming.frame.length
            framing = b"Transfer-Encoding: chunked" if length is None else b"Content-Length: %d" % length
            self.parser = httptools.HttpRequestParser(self)
            self.parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n\r\n" % framing)
            incoming.apart = False
            self.parser.feed_data(data[upgrade.args[0] :])

    def _say_what_is_wrong(self, error: Exception) -> None:
        if isinstance(error, httptools.HttpParserCallbackError) and not isinstance(
            error.__context__, httptools.HttpParserInvalidURLError | UnicodeDecodeError
        ):
            raise error  # a bug of ours
        self.refuse("malformed")

    def _give_up_answers(self) -> None:
        """Drop all answers of a lost connection, the current one and those queued. uvicorn itself knows only the last."""
        for cycle in (self._running, *(waiting for waiting, _ in self.pipeline)):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        while self.pipeline:
            _, begin = self.pipeline.pop()
            begin()  # of a call that nobody waits for any more: lets go of its body

    def resume_writing(self) -> None:
        self._unread_since_s = None  # slow, but they read
        super().resume_writing()
        if self._stalled:
            self._stalled = False
            self._begin_next()

    # What the parser calls

    def on_message_begin(self) -> None:
        if self._no_more:
            raise _EndOfReadingError
        if self._incoming is not None:  # its body comes apart from its head
            return
        # The ordinary way's state is made only when it is needed.
        self.url = b""
        self.headers = []
        self._between, self._in_head, self._head_bytes = False, True, 0
        self._silent_since_s = self.loop.time()

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # a trailer behind the body is no header
            self.headers.append((name.lower(), value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        if self._incoming is not None:
            return
        self._in_head = False
        self._silent_since_s = None
        if self.transport.is_closing():
            self._no_more = True
            raise _EndOfReadingError
        headers = self.headers
        if (
            len(headers) > HEADERS_MAX
            or sum(len(name) + len(value) for name, value in headers) + len(self.url) > HEAD_MAX_BYTES
        ):
            self._stop("headers-too-large")
        method = self.parser.get_method()
        frame = frame_of(method, self.parser.get_http_version(), headers)
        if isinstance(frame, Ambiguous):
            self._stop("malformed", reason=frame.header)
        if method == b"CONNECT":
            self._stop("method-not-allowed")
        url = httptools.parse_url(self.url)
        raw_path = cast("bytes | None", url.path)  # an address that is only a host has none
        if raw_path is None or b"#" in self.url:
            self._stop("malformed", reason="target")
        path = raw_path.decode("ascii")
        if "%" in path:
            path = unquote(path)
        token = next((bearer_token(value) for name, value in headers if name == b"authorization"), None)
        bounds = self.lane.bodies.bounds_of(path, token, grab=campaign_of_grab(method.decode("ascii"), path) is not None)
        parts = {
            "http_version": self.parser.get_http_version(),
            "path": path,
            "raw_path": raw_path,
            "query_string": url.query or b"",
        }
        incoming = self._incoming = _Incoming(method, path, parts, headers, frame, bounds)
        incoming.ends_at_s = self.lane.clock() + bounds.timeout_s
        incoming.apart = self.parser.should_upgrade() and frame.length != 0
        if frame.length is not None and frame.length > bounds.max_bytes:
            self._discard(incoming)
            if frame.expects or frame.length > bounds.max_bytes + DISCARD_MAX_BYTES:
                self._stop("too-large", limit_bytes=bounds.max_bytes)
        elif frame.expects and frame.length != 0 and not self._is_answering():
            self.write_unsent()
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        incoming = self._incoming
        assert incoming is not None, "a body has a head"
        incoming.body_bytes += len(body)
        if not incoming.too_large:
            incoming.body += body
            self.lane.bodies.keep(self, len(body), incoming.bounds)
            if self._no_more:  # cut off just now
                raise _EndOfReadingError
            if len(incoming.body) > incoming.bounds.max_bytes:
                self._discard(incoming)
        elif incoming.body_bytes > incoming.bounds.max_bytes + DISCARD_MAX_BYTES:
            self._stop("too-large", limit_bytes=incoming.bounds.max_bytes)

    def on_message_complete(self) -> None:
        incoming = self._incoming
        assert incoming is not None, "a message has a head"
        if incoming.apart:
            return
        self._incoming = None
        self._between = True
        self._no_more |= incoming.frame.last
        if len(self.pipeline) >= PIPELINE_MAX:
            self._give_up_answers()
            self.transport.abort()
            raise _EndOfReadingError
        if self._probes_only and kind_of(incoming.path) is not CallKind.PROBE:
            self.lane.bodies.drop(self)
            self._answer(incoming, of_problem("not-found", choose_language(incoming.header(b"accept-language"))))
        elif incoming.too_large:
            language = choose_language(incoming.header(b"accept-language"))
            self._answer(incoming, of_problem("too-large", language, limit_bytes=incoming.bounds.max_bytes))
        else:
            self._take_up(incoming)

    # A request that is whole

    def _take_up(self, incoming: _Incoming) -> None:
        lane = self.lane
        is_ordinary = kind_of(incoming.path) is CallKind.ORDINARY
        caller = lane.caller_of(incoming.header(b"authorization")) if is_ordinary else None
        body_bytes = lane.bodies.complete(self)
        preflight = lane.cors.preflight(incoming.method, incoming.headers)
        if preflight is not None:
            lane.bodies.done(body_bytes)
            self._answer(incoming, preflight)
            return
        if caller is not None and not (self._is_answering() or self.flow.write_paused) and not lane.admission.has_room(caller):
            lane.bodies.done(body_bytes)
            self._shed(incoming)
            return
        scope = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "method": incoming.method.decode("ascii"),
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": self.root_path,
            "headers": incoming.headers,
            "state": self.app_state.copy(),
            **incoming.scope_parts,
        }
        cycle = RequestResponseCycle(
            scope=scope,  # type: ignore[arg-type]  # typed as a TypedDict there
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=not incoming.frame.last,
            on_response=self.on_response_complete,
        )
        cycle.body, cycle.more_body = incoming.body, False
        cycle.message_event.set()
        self._in_turn(cycle, lambda: self._begin(cycle, caller, body_bytes))

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

    def _shed(self, incoming: _Incoming) -> None:
        """Refuse an ordinary call beyond the limit at once: shedding must cost next to nothing."""
        # Pipelined calls behind a refused one of the same read are not answered.
        self._no_more |= self._shed_in_read
        self._shed_in_read = True
        self._answer(incoming, of_problem("overloaded", choose_language(incoming.header(b"accept-language"))))

    def _answer(self, incoming: _Incoming, answer: Answer) -> None:
        """Give a whole answer, behind what is still to be answered."""
        answer = self.lane.cors.of(answer, incoming.header(b"origin"))
        self._respond_in_turn(answer, keep_alive=not self._no_more, bodiless=incoming.method == b"HEAD")

    def _respond_in_turn(self, answer: Answer, *, keep_alive: bool, bodiless: bool) -> None:
        cycle = FastCycle(self, keep_alive=keep_alive, bodiless=bodiless)
        cycle.response_complete = False
        self._in_turn(cycle, lambda: cycle.respond(answer))

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

    def _begin_next(self) -> None:
        if self.pipeline and not self.transport.is_closing():
            _, begin = self.pipeline.pop()
            self.flow.resume_reading()
            begin()

    # The grab

    def _is_answering(self) -> bool:
        cycle: Any = self.cycle  # None before the first request
        return cycle is not None and not cycle.response_complete

    def process_held(self, now_s: float) -> None:
        """Process the request that was read: answer it, or have it answered later."""
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
        answer = path.begin(campaign_id, token, idempotency_key, language, grab.respond, now_s)
        if answer is not None:
            grab.response_complete = True
            self.write_answer(answer, keep_alive=True, now_s=now_s)

    def abort(self) -> None:
        """Close the connection at once; no answer is possible any more."""
        self.transport.abort()

    def write_answer(self, answer: Answer, *, keep_alive: bool, now_s: float | None = None) -> None:
        """Write a whole answer, with the same bytes as the ordinary way."""
        if self.transport.is_closing():
            return
        if now_s is None:
            now_s = self.lane.clock()
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

    # What keeps a worker waiting

    def refuse(self, name: str, **extra: Any) -> None:
        """Answer a malformed request, behind those still being answered, and end the connection."""
        incoming = self._incoming
        wish, origin, bodiless = None, None, False
        if incoming is not None:
            wish, origin = incoming.header(b"accept-language"), incoming.header(b"origin")
            bodiless = incoming.method == b"HEAD"
        self._no_more = True
        self._forget_incoming()
        answer = self.lane.cors.of(of_problem(name, choose_language(wish), **extra), origin)
        self._respond_in_turn(answer, keep_alive=False, bodiless=bodiless)

    def _stop(self, name: str, **extra: Any) -> NoReturn:
        """The same, from within the parser."""
        self.refuse(name, **extra)
        raise _EndOfReadingError

    def cut_off(self) -> None:
        """Refuse the body that has been arriving for longest: those of the worker exceed their limit."""
        self.refuse("overloaded")

    def _discard(self, incoming: _Incoming) -> None:
        """Throw the body away as it comes, and refuse the request when it is whole."""
        incoming.too_large = True
        incoming.body.clear()
        self.lane.bodies.drop(self)
        incoming.ends_at_s = min(incoming.ends_at_s, self.lane.clock() + DISCARD_TIMEOUT_S)

    def _forget_incoming(self) -> None:
        self._incoming = None
        self._in_head = False
        self.lane.bodies.drop(self)

    def _hang_up(self, now_s: float) -> None:
        """Close; if the client may be in the middle of sending, not before it has had a moment to read."""
        if self._between or not self.transport.can_write_eof():
            self.transport.close()
        else:
            self._lingers_until_s = now_s + LINGER_S
            self.transport.write_eof()

    def look_at_the_clock(self, now_s: float) -> None:
        """End the connection if the other side has been silent, or has not read, for too long."""
        if self.transport.get_write_buffer_size() == 0:
            self._unread_since_s = None
        elif self._unread_since_s is None:
            self._unread_since_s = now_s
        elif now_s - self._unread_since_s > WRITE_TIMEOUT_S:
            self.transport.abort()
            return
        if self._lingers_until_s is not None:
            if now_s > self._lingers_until_s:
                self.transport.close()
            return
        incoming = self._incoming
        if incoming is not None:
            if now_s > incoming.ends_at_s:
                self.refuse("too-large" if incoming.too_large else "request-timeout")
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
