"""Attacks on a worker and on other callers by the way in which bytes are sent or left out, over real sockets."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import orjson
import pytest
from redis.asyncio import Redis

from grab_service.cell.store import Cell
from grab_service.embedded.ports import free_port
from grab_service.grabpath.admission import PLACES_OF_ONE
from grab_service.server.answering import LINGER_S
from grab_service.server.bodies import Bodies
from grab_service.server.connections import PROBES_MAX
from grab_service.server.protocol import PIPELINE_MAX, GrabProtocol
from grab_service.server.worker import Worker
from grab_service.vocabulary.passes import mint
from tests.harness.cells import A_RUSH, armed_cell
from tests.harness.raw_http import Wire, request, serving, small_window, wire
from tests.harness.worker import grab_worker, publish

RUSH = replace(A_RUSH, stock=50)
PLACES = 16


@pytest.fixture
async def cell(cell_name: str, redis_client: Redis) -> Cell:
    return await armed_cell(redis_client, cell_name, [f"m-{number}" for number in range(60)])


@pytest.fixture
async def worker(valkey_url: str, cell: Cell) -> AsyncIterator[Worker]:
    async with grab_worker(valkey_url, cell.name, ordinary_max=PLACES) as worker:
        yield worker


def bearer(worker: Worker, member_id: str) -> str:
    return f"Authorization: Bearer {mint(worker.keys, member_id, int(time.time()) + 600)}"


def call(path: str, *lines: str, method: str = "GET", body: bytes = b"") -> bytes:
    head = "\r\n".join([f"{method} {path} HTTP/1.1", "Host: grab", *lines])
    return f"{head}\r\n\r\n".encode() + body


async def at_once(scope: Any, receive: Any, send: Any) -> None:
    """Answers every call with what it read of it."""
    message = await receive()
    said = orjson.dumps({"method": scope["method"], "body": message["body"].decode("latin-1"), "more": message["more_body"]})
    length = (b"content-length", b"%d" % len(said))
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": said})


class Busy:
    """An application whose calls go on until they are let go."""

    def __init__(self) -> None:
        self.begun = 0
        self.going_on = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.begun += 1
        if b"x-waits" in dict(scope["headers"]):
            await self.going_on.wait()
        await at_once(scope, receive, send)


async def test_trailers_are_bounded_and_a_caller_who_sends_them_without_end_is_refused(worker: Worker) -> None:
    async with serving(worker, at_once) as port:
        for line in (b"X-A: 1\r\n" * 2_000, b"X-A: " + b"a" * 16_000):
            async with wire(port) as one:
                one.writer.write(call("/v1/sessions", "Transfer-Encoding: chunked", method="POST", body=b"2\r\n{}\r\n0\r\n"))
                answer = asyncio.create_task(one.answer())
                sent_bytes = 0
                while not answer.done() and sent_bytes < 2**26:
                    one.writer.write(line)
                    sent_bytes += len(line)
                    await asyncio.sleep(0.001)
                assert (await answer).startswith(b"HTTP/1.1 400")
                assert sent_bytes < 2**20
                assert await one.is_closed()


async def test_a_trailer_does_not_outrank_the_head(worker: Worker, cell: Cell) -> None:
    await publish(cell, RUSH)
    async with serving(worker) as port, wire(port) as one:
        chunked = [bearer(worker, "m-1"), "Transfer-Encoding: chunked"]
        trailer = f"0\r\n{bearer(worker, 'm-2')}\r\nIdempotency-Key: k k\r\n\r\n".encode()
        answer = await one.ask(request("c", *chunked) + trailer)
        assert answer.startswith(b"HTTP/1.1 201")
        assert b'"member_id":"m-1"' in answer


async def test_nothing_is_carried_out_before_its_request_is_whole_and_valid(worker: Worker, cell: Cell) -> None:
    await publish(cell, RUSH)
    busy = Busy()
    async with serving(worker, busy) as port:
        for broken in (b"2\r\n{}\r\nz\r\n", b"2\r\n{}X", b"5\r\n{}\r\n0\r\n\r\n\r\n\r\n"):
            for begun in (
                call("/v1/sessions", "Transfer-Encoding: chunked", method="POST"),
                request("c", bearer(worker, "m-1"), "Transfer-Encoding: chunked"),
            ):
                async with wire(port) as one:
                    answer = await one.ask(begun + broken)
                    assert answer.startswith(b"HTTP/1.1 400"), (begun, broken)
                    assert b'"code":"malformed"' in answer
                    assert await one.is_closed()
        assert busy.begun == 0
        async with wire(port) as one:
            assert (await one.ask(request("c", bearer(worker, "m-1")))).startswith(b"HTTP/1.1 201"), "it had won nothing"


async def test_what_stands_before_a_broken_request_is_answered_first(worker: Worker, cell: Cell) -> None:
    await publish(cell, RUSH)
    async with serving(worker, at_once) as port, wire(port) as one:
        one.writer.write(request("c", bearer(worker, "m-1")) + call("/v1/campaigns") + b"GARBAGE\r\n\r\n")
        assert [(await one.answer())[9:12] for _ in range(3)] == [b"201", b"200", b"400"]
        assert await one.is_closed()


async def test_nothing_behind_an_upgrade_is_a_request(worker: Worker, cell: Cell) -> None:
    """A proxy that passes `Upgrade` on takes all that follows for the other protocol, and another caller's for its answer."""
    await publish(cell, RUSH)
    upgrade = ("Connection: Upgrade", "Upgrade: websocket")
    async with serving(worker, at_once) as port:
        for first in (
            request("c", bearer(worker, "m-1"), *upgrade),
            call("/v1/campaigns", *upgrade),
            call("/v1/sessions", *upgrade, "Content-Length: 2", method="POST", body=b"{}"),
            b"CONNECT grab:443 HTTP/1.1\r\nHost: grab:443\r\n\r\n",
        ):
            async with wire(port) as one:
                one.writer.write(first + request("c", bearer(worker, "m-2")))
                answer = await one.answer()
                assert answer[9:12] in {b"200", b"201", b"405"}, answer
                assert b"connection: close" in answer
                assert await one.is_closed()
        async with wire(port) as one:
            assert (await one.ask(request("c", bearer(worker, "m-2")))).startswith(b"HTTP/1.1 201")


async def test_head_answers_as_get_without_a_body_also_when_it_is_refused(worker: Worker, cell: Cell) -> None:
    await publish(cell, RUSH)
    async with serving(worker, at_once) as port, AsyncExitStack() as stack:
        one = await stack.enter_async_context(wire(port))
        for ask in (
            call("/v1/campaigns", method="HEAD"),
            call("/v1/campaigns/c/claims", method="HEAD"),
            call("/v1/campaigns", "Content-Length: 70000", method="HEAD", body=b"x" * 70_000),
        ):
            one.writer.write(ask)
            async with asyncio.timeout(5):
                head = await one.reader.readuntil(b"\r\n\r\n")
            assert head[9:12] in {b"200", b"413"}, head
            assert b"content-length: 0" not in head
            # The next answer begins where the head ended.
            assert (await one.ask(call("/v1/campaigns"))).startswith(b"HTTP/1.1 200 OK\r\n")
        one.writer.write(call("/v1/campaigns", "Host: other", method="HEAD"))
        async with asyncio.timeout(5):
            assert (await one.reader.read()).count(b"\r\n\r\n") == 1, "a refused HEAD has no body, either"


async def test_a_caller_who_shuts_only_the_sending_side_hears_every_answer(
    worker: Worker, cell: Cell, redis_client: Redis
) -> None:
    await publish(cell, RUSH)
    busy = Busy()
    async with serving(worker, busy) as port, wire(port) as grabs, wire(port) as page, wire(port) as half:
        await redis_client.client_pause(200)
        grabs.writer.write(request("c", bearer(worker, "m-1")) + request("c", bearer(worker, "m-2")))
        page.writer.write(call("/v1/campaigns", "X-Waits: 1"))
        half.writer.write(call("/v1/sessions", "Content-Length: 9", method="POST", body=b"{}"))
        for one in (grabs, page, half):
            one.writer.write_eof()
        await asyncio.sleep(0.1)
        busy.going_on.set()
        assert [(await grabs.answer())[9:12] for _ in range(2)] == [b"201", b"201"]
        assert (await page.answer())[9:12] == b"200"
        assert (await half.answer())[9:12] == b"400"
        for one in (grabs, page, half):
            assert await one.is_closed()
        assert len(worker.connections) == 0


async def test_a_place_is_taken_only_by_a_request_that_is_whole(worker: Worker) -> None:
    async with serving(worker, at_once) as port, AsyncExitStack() as stack:
        for _ in range(5 * PLACES):
            idle = await stack.enter_async_context(wire(port))
            idle.writer.write(call("/v1/sessions", "Content-Length: 20", method="POST", body=b"{"))
        await asyncio.sleep(0.1)
        assert worker.admission.free == PLACES
        other = await stack.enter_async_context(wire(port))
        for line in ("X-Nobody: 1", bearer(worker, "m-1")):
            assert (await other.ask(call("/v1/campaigns", line))).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("path", ["/v1/campaigns", "/v1/campaigns/c/eligibility"])
async def test_neither_one_member_nor_all_strangers_can_take_every_place(worker: Worker, path: str) -> None:
    busy = Busy()

    async def statuses(line: str, connections: list[Wire]) -> list[bytes]:
        for one in connections:
            one.writer.write(call(path, line, "X-Waits: 1"))
        await asyncio.sleep(0.2)
        begun, turned_away = busy.begun, len(connections) - busy.begun
        refused = [one for one in connections if one.reader._buffer]  # type: ignore[attr-defined]  # what has come so far
        assert len(refused) == turned_away
        answers = [await one.answer() for one in refused]
        assert all(b"retry-after: 1\r\n" in answer for answer in answers)
        busy.begun = 0
        return [answer[9:12] for answer in answers] + [b"..."] * begun

    async with serving(worker, busy) as port, AsyncExitStack() as stack:
        stack.callback(busy.going_on.set)

        async def opened(number: int) -> list[Wire]:
            return [await stack.enter_async_context(wire(port)) for _ in range(number)]

        strangers = await statuses("X-Nobody: 1", await opened(2 * PLACES))
        assert strangers.count(b"...") == PLACES // 2
        assert strangers.count(b"503") == 2 * PLACES - PLACES // 2
        (other,) = await opened(1)
        assert (await other.ask(call("/v1/campaigns", bearer(worker, "m-2")))).startswith(b"HTTP/1.1 200")
        busy.begun = 0
        busy.going_on.set()
        await asyncio.sleep(0.1)
        assert worker.admission.free == PLACES
        busy.going_on.clear()
        member = await statuses(bearer(worker, "m-1"), await opened(30))
        assert member.count(b"...") == PLACES_OF_ONE
        assert (await other.ask(call("/v1/campaigns", bearer(worker, "m-2")))).startswith(b"HTTP/1.1 200")
        busy.going_on.set()


async def test_a_caller_who_does_not_read_holds_no_place(worker: Worker) -> None:
    begun = ended = 0

    async def much(scope: Any, receive: Any, send: Any) -> None:
        nonlocal begun, ended
        begun += 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(200):
            await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        ended += 1

    async with serving(worker, much) as port, AsyncExitStack() as stack:
        for number in range(PLACES // 2):
            deaf = stack.enter_context(small_window(port))
            deaf.sendall(call("/v1/campaigns", bearer(worker, f"m-{number}")))
        async with asyncio.timeout(5):
            while begun < PLACES // 2 or worker.admission.free < PLACES:
                await asyncio.sleep(0.02)
        assert ended == 0


async def test_when_all_bodies_together_become_too_much_the_oldest_is_cut_off(worker: Worker) -> None:
    few = Bodies(body_max_bytes=65_536, import_max_bytes=65_536, may_import=lambda _token: False, bodies_max_bytes=100_000)
    object.__setattr__(worker, "bodies", few)
    async with serving(worker, at_once) as port, wire(port) as oldest, wire(port) as second, wire(port) as newest:
        for one in (oldest, second):
            one.writer.write(call("/v1/sessions", "Content-Length: 50000", method="POST", body=b"x" * 45_000))
            await asyncio.sleep(0.1)
        newest.writer.write(call("/v1/sessions", "Content-Length: 50000", method="POST", body=b"x" * 50_000))
        assert (await newest.answer())[9:12] == b"200"
        assert (await oldest.answer())[9:12] == b"503"
        assert await oldest.is_closed()
        assert (await second.ask(b"x" * 5_000))[9:12] == b"200"


async def test_as_many_requests_wait_on_one_connection_as_the_bound_says_and_no_more(worker: Worker) -> None:
    busy = Busy()
    page = call("/v1/campaigns", bearer(worker, "m-1"), "X-Waits: 1")
    async with serving(worker, busy) as port, wire(port) as fits, wire(port) as more:
        # One is answered, and so many wait behind it.
        fits.writer.write(page * (1 + PIPELINE_MAX))
        more.writer.write(page * (2 + PIPELINE_MAX))
        cut_off = await more.is_closed()
        busy.going_on.set()
        assert cut_off
        for _ in range(1 + PIPELINE_MAX):
            assert (await fits.answer())[9:12] == b"200"


async def test_a_caller_who_is_refused_while_sending_has_a_moment_to_read_and_no_more(worker: Worker) -> None:
    async with serving(worker, at_once) as port, wire(port) as one:
        refused = await one.ask(call("/v1/sessions", "Content-Length: 9", "Content-Length: 8", method="POST", body=b"x" * 4))
        assert refused[9:12] == b"400"
        (connection,) = worker.connections._open
        assert isinstance(connection, GrabProtocol)
        until_s = connection._lingers_until_s
        assert until_s is not None
        assert 0 < until_s - worker.clock() <= LINGER_S
        connection.look_at_the_clock(until_s)
        assert not connection.transport.is_closing()
        connection.look_at_the_clock(until_s + 0.001)
        assert connection.transport.is_closing()


async def test_probes_have_a_port_of_their_own_which_no_crowd_can_fill(valkey_url: str, cell: Cell) -> None:
    await publish(cell, RUSH)
    probes_port = free_port()
    async with AsyncExitStack() as stack:
        bounds = {"connections_max": 5, "probes_port": probes_port}
        worker = await stack.enter_async_context(grab_worker(valkey_url, cell.name, **bounds))
        port = await stack.enter_async_context(serving(worker, at_once))
        for _ in range(20):
            await stack.enter_async_context(wire(port))
        await asyncio.sleep(0.1)
        probe = await stack.enter_async_context(wire(probes_port))
        for path in ("/livez", "/readyz?exclude=lag", "/metrics"):
            assert (await probe.ask(call(path)))[9:12] == b"200"
        for other in (request("c", bearer(worker, "m-1")), call("/v1/campaigns"), call("/v1/time")):
            answer = await probe.ask(other)
            assert answer[9:12] == b"404"
            assert b'"code":"not-found"' in answer
        others = [await stack.enter_async_context(wire(probes_port)) for _ in range(PROBES_MAX)]
        assert await others[-1].is_closed()
        assert (await probe.ask(call("/livez")))[9:12] == b"200"


async def test_the_lane_can_be_turned_off_and_answers_are_the_same(valkey_url: str, cell: Cell) -> None:
    await publish(cell, RUSH)
    async with grab_worker(valkey_url, cell.name, fast_lane=False) as worker, serving(worker) as port, wire(port) as one:
        assert not worker.lane(at_once).fast
        assert (await one.ask(request("c", bearer(worker, "m-1")))).startswith(b"HTTP/1.1 201")
        assert (await one.ask(request("c", bearer(worker, "m-1")))).startswith(b"HTTP/1.1 200")
        two_keys = ("Idempotency-Key: a", "Idempotency-Key: b")
        assert (await one.ask(request("c", bearer(worker, "m-2"), *two_keys))).startswith(b"HTTP/1.1 400")
