"""The HTTP protocol of a connection: the requests that come in, and the bounds on how long they may keep a worker busy.

A subclass of uvicorn's protocol; `answering` has the side that answers. A plain grab (`POST …/claims`, whole in one read,
nothing else under way on the connection) is answered without a scope, a task or a future, in one write. Everything else takes
the ordinary way, through the same `GrabPath`; a test sends both ways the same requests and compares the bytes.

Nothing is carried out before its request is whole and valid: head, body and trailers have come, and `framing` has said where
they end. Bytes behind a request that cannot be framed, that asks for another protocol, or that declares itself the last, are
discarded.

uvicorn itself waits for ever for the end of the headers, takes any number of them, and any number of requests sent ahead: here
all have bounds, as have idle connections, readers who do not read, the number of connections, and ordinary calls at work.
"""

import asyncio
from typing import Any, Final, NoReturn, cast
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from grab_service.grabpath.answers import Answer, of_problem
from grab_service.problems import choose_language
from grab_service.server.answering import AnsweringProtocol, FastCycle
from grab_service.server.bodies import (
    DISCARD_MAX_BYTES,
    DISCARD_TIMEOUT_S,
    FRAMING_MAX_BYTES,
    FRAMING_PER_BYTE,
    Bounds,
)
from grab_service.server.call_kinds import CallKind, kind_of
from grab_service.server.framing import HEADERS_MAX, Ambiguous, Frame, frame_of
from grab_service.server.lane import campaign_of_grab
from grab_service.server.reader import START, bearer_token
from grab_service.vocabulary.request_id import HEADER

HEAD_MAX_BYTES: Final = 32 * 1024
HEAD_TIMEOUT_S: Final = 10.0
WRITE_TIMEOUT_S: Final = 30.0

PIPELINE_MAX: Final = 64
"""Requests that may wait behind the one being answered; a connection with more of them is aborted."""

TURNED_AWAY_MAX: Final = 128
"""Connections beyond the limit that are kept until their first request, so that it can be refused."""

TURNED_AWAY_S: Final = 2.0


class _EndOfReadingError(Exception):
    """Stops the parser in the middle of its input: nothing behind this point is read."""


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
        """Count a read that was whole inside this body; False if the framing bytes have become too many."""
        self.read_bytes += read_bytes
        self.quiet_bytes = self.quiet_bytes + read_bytes if self.body_bytes == body_bytes_before else 0
        beside_bytes = self.read_bytes - self.body_bytes
        return self.quiet_bytes <= FRAMING_MAX_BYTES and beside_bytes <= FRAMING_MAX_BYTES + FRAMING_PER_BYTE * self.body_bytes

    def header(self, name: bytes) -> bytes | None:
        """The last header of that name."""
        return next((value for key, value in reversed(self.headers) if key == name), None)


class GrabProtocol(AnsweringProtocol):
    """One connection of the grab lane, which must be the application that uvicorn was given.

    The attributes that every grab touches, uvicorn's as well as ours, lie side by side in slots, here and in the base class:
    with thousands of connections, their dicts would not stay in the processor's cache.
    """

    __slots__ = (
        "_fast",
        "_grab",
        "_head_bytes",
        "_held",
        "_in_head",
        "_incoming",
        "_no_more",
        "_probes_only",
        "_shed_in_read",
        "_turned_away",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.parser = httptools.HttpRequestParser(self)  # uvicorn's own is lenient
        self._in_head = False
        self._head_bytes = 0
        self._incoming: _Incoming | None = None
        self._no_more = False
        self._fast = self.lane.fast
        self._probes_only = False
        self._turned_away = False
        self._held: bytes | None = None
        self._grab = FastCycle(self)
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
            self._grab.arrived_s = self.lane.clock()
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

    def _shed(self, incoming: _Incoming) -> None:
        """Refuse an ordinary call beyond the limit at once: shedding must cost next to nothing."""
        # Pipelined calls behind a refused one of the same read are not answered.
        self._no_more |= self._shed_in_read
        self._shed_in_read = True
        self._answer(incoming, of_problem("overloaded", choose_language(incoming.header(b"accept-language"))))

    def _answer(self, incoming: _Incoming, answer: Answer) -> None:
        """Give a whole answer, behind what is still to be answered."""
        answer = self.lane.cors.of(answer.of_request(incoming.header(HEADER)), incoming.header(b"origin"))
        self._respond_in_turn(answer, keep_alive=not self._no_more, bodiless=incoming.method == b"HEAD")

    # The grab

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
        campaign_id, token, idempotency_key, language, request_id = plain
        grab = self._grab
        grab.request_id = request_id
        grab.response_complete = False
        self.cycle = grab  # type: ignore[assignment]  # it has all that the protocol asks of one
        self._silent_since_s = None
        answer = path.begin(campaign_id, token, idempotency_key, language, grab.respond, now_s)
        if answer is not None:
            grab.response_complete = True
            lane.durations[answer.outcome].append(now_s - grab.arrived_s)
            if request_id is not None:
                answer = answer.of_request(request_id)
            self.write_answer(answer, keep_alive=True, now_s=now_s)

    # What keeps a worker waiting

    def refuse(self, name: str, **extra: Any) -> None:
        """Answer a malformed request, behind those still being answered, and end the connection."""
        incoming = self._incoming
        wish, origin, request_id, bodiless = None, None, None, False
        if incoming is not None:
            wish, origin = incoming.header(b"accept-language"), incoming.header(b"origin")
            request_id = incoming.header(HEADER)
            bodiless = incoming.method == b"HEAD"
        self._no_more = True
        self._forget_incoming()
        refusal = of_problem(name, choose_language(wish), **extra).of_request(request_id)
        answer = self.lane.cors.of(refusal, origin)
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
