"""The service splits a stream of bytes into requests as a strict parser does, however the bytes are cut.

The reference is h11. Wherever it refuses, the service refuses; the service may be stricter. Each request that is carried out
is the one that h11 reads: method, target, headers and body. The lane and the ordinary way are held to the same.
"""

import asyncio
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import h11
import pytest
import uvicorn
from uvicorn.server import ServerState

from grab_service.grabpath.admission import STRANGER, Admission
from grab_service.grabpath.answers import Answer
from grab_service.server.bodies import Bodies
from grab_service.server.connections import Connections
from grab_service.server.lane import GrabLane, campaign_of_grab, refusal_of_body
from grab_service.server.protocol import GrabProtocol
from grab_service.server.reader import bearer_token
from grab_service.vocabulary.identifiers import is_campaign_id

FUZZ = 1_500
OK = Answer(200, b"content-length: 2\r\n", b"ok")


class Request(NamedTuple):
    """The requests that are carried out: of a grab the fields that decide it, of any other call all of it."""

    what: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


def grab(campaign_id: str, token: bytes | None, idempotency_key: bytes) -> Request:
    return Request(f"grab {campaign_id}", ((b"token", token or b"-"), (b"key", idempotency_key)), b"")


@dataclass
class Heard:
    """The outcome of one stream."""

    requests: list[Request] = field(default_factory=list)
    refused: bool = False

    def as_compared(self) -> tuple[list[Request], bool]:
        return self.requests, self.refused


class Recorder:
    """Stands where the decisions are made, and writes down what is asked of them."""

    def __init__(self) -> None:
        self.heard = Heard()

    def knows(self, campaign_id: str) -> bool:
        return is_campaign_id(campaign_id)

    def caller_of(self, token: bytes | None, now_s: float) -> str:
        return STRANGER

    def begin(self, campaign_id: str, token: bytes | None, key: bytes, language: str, tell: Any, now_s: float) -> Answer:
        self.heard.requests.append(grab(campaign_id, token, key))
        return OK

    async def answer(self, campaign_id: str, token: bytes | None, key: bytes, language: str) -> Answer:
        return self.begin(campaign_id, token, key, language, None, 0.0)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        self.heard.requests.append(Request(f"{scope['method']} {target.decode('latin-1')}", tuple(scope["headers"]), body))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


class Transport(asyncio.Transport):
    """A connection without a network."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closing = False

    def write(self, data: Any) -> None:
        self.written += data

    def close(self) -> None:
        self.closing = True

    abort = write_eof = close

    def can_write_eof(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class Stand:
    """One worker's transport side, without a worker."""

    def __init__(self, *, fast: bool) -> None:
        self.recorder = Recorder()
        loop = asyncio.get_running_loop()
        bodies = Bodies(body_max_bytes=65_536, import_max_bytes=65_536, may_import=lambda _token: False)
        path: Any = self.recorder
        connections = Connections(100, loop.time)
        lane = GrabLane(
            self.recorder, path, lambda _now_s: 0, connections, Admission(64), bodies, defaultdict(list), Counter(), fast=fast
        )
        self._config = uvicorn.Config(lane, http=GrabProtocol, lifespan="off", proxy_headers=False, log_config=None)
        self._config.load()

    async def hear(self, pieces: Sequence[bytes]) -> Heard:
        self.recorder.heard = heard = Heard()
        transport = Transport()
        protocol = GrabProtocol(self._config, ServerState(), {})
        protocol.connection_made(transport)
        for piece in pieces:
            if transport.closing:
                break
            protocol.data_received(piece)
            await self._settled(protocol)
        await self._settled(protocol)
        last = transport.written.rpartition(b"HTTP/1.1 ")[2]
        heard.refused = last[:3] in {b"400", b"405", b"413", b"431"} and b"connection: close" in last
        assert transport.closing or not heard.refused, "a refused connection is read no further"
        protocol.connection_lost(None)
        return heard

    async def _settled(self, protocol: GrabProtocol) -> None:
        for _ in range(200):
            await asyncio.sleep(0)
            cycle: Any = protocol.cycle
            if protocol._held is None and (cycle is None or cycle.response_complete) and not protocol.pipeline:
                await asyncio.sleep(0)
                return
        raise AssertionError("it does not come to rest")


_BLANKS = re.compile(rb"\A([!-~]+) +([!-~]+) +")


def reference(stream: bytes) -> Heard:
    """The outcome by h11. Nothing behind an upgrade, a CONNECT or the last request of a connection is a request.

    Empty lines before a request are passed over, as RFC 9112 (2.2) asks of servers, and so are further blanks in its first
    line; h11 refuses both. Neither can be read in two ways.
    """
    heard = Heard()
    while stream := stream.lstrip(b"\r\n"):
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=32 * 1024)
        connection.receive_data(_BLANKS.sub(rb"\1 \2 ", stream, count=1))
        head: h11.Request | None = None
        body = b""
        try:
            while not isinstance(event := connection.next_event(), h11.EndOfMessage):
                if isinstance(event, h11.Request):
                    head = event
                elif isinstance(event, h11.Data):
                    body += bytes(event.data)
                else:
                    return heard
        except h11.RemoteProtocolError:
            heard.refused = True
            return heard
        assert head is not None
        if (request := _as_carried_out(head, body)) is not None:
            heard.requests.append(request)
        if head.http_version != b"1.1" or head.method == b"CONNECT" or _is_last(head):
            return heard
        stream = connection.trailing_data[0]
    return heard


def _is_last(head: h11.Request) -> bool:
    listed = b",".join(value for name, value in head.headers if name == b"connection").split(b",")
    options = {option.strip().lower() for option in listed}
    return b"close" in options or (b"upgrade" in options and b"upgrade" in dict(head.headers))


def _as_carried_out(head: h11.Request, body: bytes) -> Request | None:
    headers = tuple((bytes(name), bytes(value)) for name, value in head.headers)
    target, method = bytes(head.target).decode("latin-1"), head.method.decode()
    campaign_id = campaign_of_grab(method, target.partition("?")[0])
    if campaign_id is not None:
        known = dict(headers)
        if refusal_of_body(body, known.get(b"content-type", b""), "zh") is not None:
            return None
        token = bearer_token(known[b"authorization"]) if b"authorization" in known else None
        return grab(campaign_id, token, known.get(b"idempotency-key", b""))
    return Request(f"{'GET' if method == 'HEAD' else method} {target}", headers, body)


GRAB = b"POST /v1/campaigns/c-1/claims HTTP/1.1\r\nHost: grab\r\nAuthorization: Bearer abc\r\n\r\n"
PAGE = b"GET /v1/campaigns?limit=2 HTTP/1.1\r\nHost: grab\r\n\r\n"
BEHIND = PAGE.replace(b"limit=2", b"behind=1")


def post(*lines: bytes, body: bytes = b"", path: bytes = b"/v1/sessions", host: bytes = b"Host: grab") -> bytes:
    return b"\r\n".join([b"POST " + path + b" HTTP/1.1", host, *lines]) + b"\r\n\r\n" + body


CHUNKED = b"Transfer-Encoding: chunked"
UPGRADE = (b"Connection: Upgrade", b"Upgrade: h2c")
CARRIED_OUT: dict[str, tuple[bytes, int]] = {
    "a grab": (GRAB, 1),
    "a page": (PAGE, 1),
    "several in a row": (GRAB + PAGE + GRAB + GRAB + PAGE, 5),
    "a grab with an empty body": (GRAB.replace(b"\r\n\r\n", b"\r\nContent-Length: 0\r\n\r\n") + PAGE, 2),
    "white space around values": (
        GRAB.replace(b" grab", b"\t grab \t").replace(b"\r\n\r\n", b"\r\nIdempotency-Key:  k \t\r\n\r\n"),
        1,
    ),
    "a body by length": (post(b"Content-Length: 2", body=b"{}") + BEHIND, 2),
    "a body in chunks": (post(CHUNKED, body=b"1\r\n{\r\n1\r\n}\r\n0\r\n\r\n") + BEHIND, 2),
    "extensions of chunks": (post(CHUNKED, body=b"2;a=b\r\n{}\r\n0\r\n\r\n") + BEHIND, 2),
    "trailers": (post(CHUNKED, body=b"2\r\n{}\r\n0\r\nX-A: 1\r\nAuthorization: Bearer other\r\n\r\n") + BEHIND, 2),
    "trailers of a grab": (
        post(
            CHUNKED,
            b"Authorization: Bearer abc",
            path=b"/v1/campaigns/c-1/claims",
            body=b"0\r\nAuthorization: Bearer x\r\n\r\n",
        ),
        1,
    ),
    "a last one": (PAGE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + BEHIND, 1),
    "an older version": (PAGE.replace(b"HTTP/1.1", b"HTTP/1.0") + BEHIND, 1),
    "an upgrade": (PAGE.replace(b"\r\n\r\n", b"\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n") + BEHIND, 1),
    "an upgrade with a body that looks like a request": (post(*UPGRADE, b"Content-Length: %d" % len(BEHIND), body=BEHIND), 1),
    "an upgrade in chunks": (post(*UPGRADE, CHUNKED, body=b"%x\r\n%b\r\n0\r\n\r\n" % (len(BEHIND), BEHIND)) + BEHIND, 1),
    "an upgrade without a body, and something behind it": (post(*UPGRADE) + BEHIND, 1),
    "an upgrade of a grab": (GRAB.replace(b"\r\n\r\n", b"\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n") + GRAB, 1),
    "an empty line before": (b"\r\n" + PAGE, 1),
    "HEAD": (PAGE.replace(b"GET", b"HEAD") + BEHIND, 2),
    "a body of nothing": (PAGE.replace(b"\r\n\r\n", b"\r\nContent-Length: 0\r\n\r\n") + BEHIND, 2),
    "GET with a body": (PAGE.replace(b"\r\n\r\n", b"\r\nContent-Length: 2\r\n\r\n{}") + BEHIND, 2),
}
REFUSED: dict[str, bytes] = {
    "no host": PAGE.replace(b"Host: grab\r\n", b""),
    "no host, grab": GRAB.replace(b"Host: grab\r\n", b""),
    "two hosts": PAGE.replace(b"\r\n\r\n", b"\r\nhost: other\r\n\r\n"),
    "two hosts, grab": GRAB.replace(b"\r\n\r\n", b"\r\nHOST: grab\r\n\r\n"),
    "a host that is none": GRAB.replace(b": grab", b": a b"),
    "authorization twice": PAGE.replace(b"\r\n\r\n", b"\r\nAuthorization: Bearer a\r\nauthorization: Bearer b\r\n\r\n"),
    "authorization twice, grab": GRAB.replace(b"\r\n\r\n", b"\r\nauthorization: Bearer abc\r\n\r\n"),
    "idempotency key twice": GRAB.replace(b"\r\n\r\n", b"\r\nIdempotency-Key: a\r\nidempotency-key: b\r\n\r\n"),
    "two lengths": post(b"Content-Length: 2", b"Content-Length: 2", body=b"{}"),
    "a list of lengths": post(b"Content-Length: 2, 2", body=b"{}"),
    "length and chunks": post(b"Content-Length: 5", CHUNKED, body=b"0\r\n\r\n"),
    "chunks and length": post(CHUNKED, b"Content-Length: 5", body=b"0\r\n\r\n"),
    "a signed length": post(b"Content-Length: +2", body=b"{}"),
    "a length in hexadecimal": post(b"Content-Length: 0x2", body=b"{}"),
    "an empty length": post(b"Content-Length: ", body=b""),
    "another coding": post(b"Transfer-Encoding: gzip", body=b"0\r\n\r\n"),
    "two codings": post(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"),
    "chunked twice": post(CHUNKED, CHUNKED, body=b"0\r\n\r\n"),
    "chunks of the older version": post(CHUNKED, body=b"0\r\n\r\n").replace(b"HTTP/1.1", b"HTTP/1.0"),
    "a chunk that is longer than it says": post(CHUNKED, body=b"1\r\n{}\r\n0\r\n\r\n"),
    "a chunk size that is none": post(CHUNKED, body=b"z\r\n{}\r\n0\r\n\r\n"),
    "a negative chunk size": post(CHUNKED, body=b"-1\r\n{}\r\n0\r\n\r\n"),
    "a chunk size that is too large": post(CHUNKED, body=b"f" * 17 + b"\r\n{}\r\n0\r\n\r\n"),
    "bare line feeds in chunks": post(CHUNKED, body=b"2\n{}\n0\n\n"),
    "a name with a blank": GRAB.replace(b"Authorization:", b"Authorization :"),
    "a folded line": GRAB.replace(b"abc\r\n", b"abc\r\n def\r\n"),
    "a nul": GRAB.replace(b"abc", b"a\0c"),
    "a bare carriage return": GRAB.replace(b"abc", b"a\rc"),
    "no version": PAGE.replace(b" HTTP/1.1", b""),
    "another version": PAGE.replace(b"HTTP/1.1", b"HTTP/2.0"),
    "a trailer that is none": post(CHUNKED, body=b"0\r\nnot a trailer\r\n\r\n"),
    "CONNECT": b"CONNECT grab:443 HTTP/1.1\r\nHost: grab\r\n\r\n" + BEHIND,
    "nonsense": b"GARBAGE\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


def cuts(stream: bytes) -> Iterator[list[bytes]]:
    """The stream whole, in two pieces at every place, and byte by byte."""
    yield [stream]
    for at in range(1, len(stream)):
        yield [stream[:at], stream[at:]]
    yield [bytes([byte]) for byte in stream]


@pytest.mark.parametrize("fast", [True, False], ids=["lane", "ordinary"])
@pytest.mark.parametrize("name", CARRIED_OUT)
async def test_requests_are_those_that_a_strict_parser_reads_in_whatever_pieces_they_come(name: str, fast: bool) -> None:
    stream, requests = CARRIED_OUT[name]
    said = reference(stream)
    assert len(said.requests) == requests, "the reference is what we think it is"
    stand = Stand(fast=fast)
    for pieces in cuts(stream):
        heard = await stand.hear(pieces)
        assert heard.as_compared() == (said.requests, False), pieces


@pytest.mark.parametrize("fast", [True, False], ids=["lane", "ordinary"])
@pytest.mark.parametrize("name", REFUSED)
async def test_a_request_that_can_be_read_in_two_ways_is_refused_and_ends_its_connection(name: str, fast: bool) -> None:
    stand = Stand(fast=fast)
    for pieces in cuts(REFUSED[name]):
        heard = await stand.hear([PAGE, *pieces, BEHIND])
        assert [request.what for request in heard.requests] == ["GET /v1/campaigns?limit=2"], pieces
        assert heard.refused, pieces


SEEDS = [stream for stream, _ in CARRIED_OUT.values()] + list(REFUSED.values())
SPLICES = [
    *(b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b",", b";", b"0", b"\0", b"\x7f", b"\xff", b"\r\n\r\n", b"0\r\n\r\n"),
    *(b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: x\r\n", b"Connection: close\r\n", b"Upgrade: a\r\n"),
    *(b"HTTP/1.0", b"5\r\n", b"Expect: 100-continue\r\n", GRAB, PAGE),
]


def damaged(dice: random.Random) -> bytes:
    stream = dice.choice(SEEDS)
    for _ in range(dice.randint(1, 3)):
        at = dice.randrange(len(stream) + 1)
        match dice.randrange(3):
            case 0:
                stream = stream[:at] + dice.choice(SPLICES) + stream[at:]
            case 1:
                stream = stream[:at] + stream[at + dice.randint(1, 4) :]
            case _:
                stream = stream[:at] + bytes([dice.randrange(256)]) + stream[at + 1 :]
    return stream


@pytest.mark.parametrize("fast", [True, False], ids=["lane", "ordinary"])
async def test_damaged_requests_are_read_as_a_strict_parser_reads_them_or_refused(fast: bool) -> None:
    """By chance, with a fixed seed. Nothing is carried out that the reference does not carry out."""
    dice = random.Random(20_261_126)
    stand = Stand(fast=fast)
    met = {"equal": 0, "stricter": 0}
    for _ in range(FUZZ):
        stream = damaged(dice)
        said = reference(stream)
        at = dice.randrange(len(stream) + 1)
        whole, cut = await stand.hear([stream]), await stand.hear([stream[:at], stream[at:]])
        assert whole.as_compared() == cut.as_compared(), (stream, at)
        assert whole.requests == said.requests[: len(whole.requests)], stream
        if whole.requests == said.requests and whole.refused == said.refused:
            met["equal"] += 1
        else:
            assert whole.refused, f"less is carried out, and nobody is told: {stream!r}"
            met["stricter"] += 1
    assert met["equal"] > FUZZ / 2, met
