"""The fast lane and the ordinary way give the same bytes, over real sockets; and no connection keeps a worker waiting."""

import asyncio
import re
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis

from grab_service.cell.store import Cell
from grab_service.grabpath.answers import Answer
from grab_service.grabpath.path import GrabPath
from grab_service.server import protocol
from grab_service.server.lane import Receive, Scope, Send
from grab_service.server.listener import UNCONFIRMED_MAX_S, bound_what_the_kernel_keeps
from grab_service.server.reader import GrabReader, PlainGrab
from grab_service.server.worker import Worker
from grab_service.vocabulary.campaigns import Release
from grab_service.vocabulary.passes import mint
from tests.harness.cells import A_RUSH, Member, armed_cell, enrol, now_ms
from tests.harness.raw_http import Wire, hang_up, request, serving, small_window, wire
from tests.harness.worker import LaneClients, grab_worker, publish

RUSH = replace(A_RUSH, stock=50)


@pytest.fixture
async def cell(cell_name: str, redis_client: Redis) -> Cell:
    return await armed_cell(redis_client, cell_name, [f"m-{number}" for number in range(60)])


def page(worker: Worker, number: int) -> bytes:
    """A member looks at the campaigns."""
    token = mint(worker.keys, f"m-{number}", int(time.time()) + 600)
    return f"GET /v1/campaigns HTTP/1.1\r\nHost: grab\r\nAuthorization: Bearer {token}\r\n\r\n".encode()


@pytest.fixture
async def worker(valkey_url: str, cell: Cell) -> AsyncIterator[Worker]:
    # With its lane even where a run of all tests is without: this is about the lane.
    given = {"fast_lane": True, "connections_max": 40, "drain_s": 1.5, "ordinary_max": 8}
    async with grab_worker(valkey_url, cell.name, **given) as worker:
        yield worker


@asynccontextmanager
async def told_to_end(worker: Worker, wires: int) -> AsyncIterator[list["Wire"]]:
    """Connections that are open, and used, when their worker is told to end; on the way out it has ended."""
    async with AsyncExitStack() as hung_up:
        serves = AsyncExitStack()
        port = await serves.enter_async_context(serving(worker))
        opened = [await hung_up.enter_async_context(wire(port)) for _ in range(wires)]
        for one in opened:
            assert b"connection: close" not in await one.ask(request("c"))
        ends = asyncio.create_task(serves.aclose())
        while not worker.connections.draining:
            await asyncio.sleep(0.01)
        with pytest.raises(ConnectionError):
            await asyncio.open_connection("127.0.0.1", port)
        yield opened
        await ends


def comparable(answer: bytes) -> bytes:
    """Without what time alone changes."""
    for moving in (
        rb"date: [^\r]*",
        rb"x-server-time-ms: \d+",
        rb"x-request-id: [0-9a-f]{16}",
        rb'"opens_in_ms":\d+',
        rb'"as_of_seq":\d+',
        rb"retry-after: \d+",
    ):
        answer = re.sub(moving, b"~", answer)
    return re.sub(rb"content-length: \d+", b"~", answer) if b"opens_in_ms" in answer else answer


async def test_both_ways_give_the_same_bytes(worker: Worker, cell: Cell) -> None:
    now = now_ms()
    await enrol(cell, {"m-blocked": Member(blocked_until_ms=now + 60_000), "m-left": Member(status="left")}, version=2)
    campaigns = {
        "c": RUSH,
        "later": replace(RUSH, releases=(Release(now + 60_000, 5),)),
        "gone": replace(RUSH, stock=1),
        "halted": RUSH,
        "over": RUSH,
        "many": replace(RUSH, limit_per_member=2),
    }
    for name, campaign in campaigns.items():
        await publish(cell, replace(campaign, campaign_id=name))
    await cell.set_state("halted", "pause")
    await cell.set_state("over", "close")
    async with LaneClients(worker) as crowd, serving(worker) as port, wire(port) as connection:
        mine = {name: f"Authorization: Bearer {crowd.pass_of(name)}" for name in ("m-1", "m-2", "m-blocked", "m-left", "m-x")}
        expired = f"Authorization: Bearer {crowd.pass_of('m-1', ttl_s=-5)}"
        assert (await connection.ask(request("c", mine["m-1"]))).startswith(b"HTTP/1.1 201")
        assert (await connection.ask(request("gone", mine["m-1"]))).startswith(b"HTTP/1.1 201")
        assert (await connection.ask(request("many", mine["m-1"], "Idempotency-Key: a"))).startswith(b"HTTP/1.1 201")
        requests = [
            ("c", [mine["m-1"]], 200),
            ("c", [mine["m-1"], "Accept-Language: en", "Content-Length: 0"], 200),
            ("later", [mine["m-1"]], 409),
            ("gone", [mine["m-2"]], 409),
            ("gone", [mine["m-2"], "Accept-Language: en-GB,en;q=0.9"], 409),
            ("gone", [mine["m-1"]], 200),
            ("halted", [mine["m-1"]], 409),
            ("over", [mine["m-1"]], 410),
            ("many", [mine["m-1"]], 400),
            ("many", [mine["m-1"], "Idempotency-Key: a"], 200),
            ("c", [mine["m-blocked"]], 403),
            ("c", [mine["m-left"]], 403),
            ("c", [mine["m-x"]], 403),
            ("c", [], 401),
            ("c", ["Authorization: Basic abc"], 401),
            ("c", ["authorization: bearer nonsense"], 401),
            ("c", [expired], 401),
            ("unknown", [mine["m-1"]], 404),
            ("UPPER", [mine["m-1"]], 404),
            ("c", [mine["m-1"], "Idempotency-Key: a b"], 400),
            ("c", [mine["m-1"], "Connection: close"], 200),
            ("c", [mine["m-1"], "Connection: keep-alive", "AUTHORIZATION: Bearer nonsense"], 400),
            ("c", [mine["m-x"], mine["m-1"]], 400),
            ("many", [mine["m-1"], "Idempotency-Key: \ta "], 200),
            ("many", [mine["m-1"], "Idempotency-Key: a", "idempotency-key: b c"], 400),
            ("c", [mine["m-1"], "accept-language: fr", "Accept-Language: en"], 200),
            ("gone", [mine["m-2"], "Accept-Language: fr;q=0.1, en;q=0.2"], 409),
            ("c", [mine["m-1"], "X-Empty:", "Cookie: a=b; c=d"], 200),
            ("c", [mine["m-1"], "X-Request-Id: tap_1.A-z"], 200),
            ("c", [mine["m-1"], "x-request-id: no id", "Connection: close"], 200),
            ("c", [mine["m-1"], "X-Request-Id: a", "X-Request-Id: b"], 200),
            ("gone", [mine["m-2"], "X-Request-Id:"], 409),
            ("many", [mine["m-1"], "X-REQUEST-ID: \t2 "], 400),
        ]
        for campaign_id, headers, status in requests:
            async with wire(port) as one, wire(port) as other:
                fast = await one.ask(request(campaign_id, *headers))
                # An upgrade nobody supports is one of the things that send a grab the ordinary way.
                ordinary = await other.ask(request(campaign_id, *headers, "X-Way: ordinary", "Expect: nothing"))
            assert fast.startswith(b"HTTP/1.1 %d" % status), (campaign_id, headers, fast)
            assert comparable(fast) == comparable(ordinary), (campaign_id, headers)
            brought = any(header.lower().startswith("x-request-id") for header in headers)
            assert (b"x-request-id: " in fast) == brought, (campaign_id, headers)


async def test_a_grab_that_names_itself_hears_its_name_and_shares_its_answer_with_nobody(worker: Worker, cell: Cell) -> None:
    await publish(cell, RUSH)
    async with LaneClients(worker) as crowd, serving(worker) as port, wire(port) as connection:
        mine = f"Authorization: Bearer {crowd.pass_of('m-1')}"
        asked = [(mine, b"201"), ("Authorization: Bearer nonsense", b"401")]
        for header, status in asked:
            for name, heard in (("tap-1", b"tap-1"), ("tap/1", None), ("x" * 65, None), ("", None)):
                answer = await connection.ask(request("c", header, f"X-Request-Id: {name}"))
                said = re.findall(rb"\r\nx-request-id: ([^\r]*)\r\n", answer)
                assert answer[9:12] in {status, b"200" if status == b"201" else status}
                assert said == [heard] if heard else re.fullmatch(rb"[0-9a-f]{16}", said[0]), answer
            assert b"x-request-id" not in await connection.ask(request("c", header))


async def test_the_ordinary_way_is_taken_when_it_should_be(worker: Worker, cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison above compares two ways: counting shows that there are two."""
    taken: list[bool] = []
    read = GrabReader.read

    def counted(self: GrabReader, data: bytes) -> PlainGrab | None:
        plain = read(self, data)
        taken.append(plain is not None)
        return plain

    monkeypatch.setattr(GrabReader, "read", counted)
    await publish(cell, RUSH)
    async with LaneClients(worker) as crowd, serving(worker) as port, wire(port) as connection:
        mine = f"Authorization: Bearer {crowd.pass_of('m-1')}"
        await connection.ask(request("c", mine))
        await connection.ask(request("c", mine, "Expect: nothing"))
        await connection.ask(request("c", mine, "Content-Type: application/json", "Content-Length: 2") + b"{}")
        assert taken == [True, False, False]


async def test_pipelined_requests_are_answered_in_their_order(worker: Worker, cell: Cell) -> None:
    await publish(cell, RUSH)
    async with LaneClients(worker) as crowd, serving(worker) as port, wire(port) as connection:
        batch = b"".join(request("c", f"Authorization: Bearer {crowd.pass_of(f'm-{number}')}") for number in range(20))
        connection.writer.write(batch + request("c", method="GET") + request("c"))
        for number in range(20):
            answer = await connection.answer()
            assert answer.startswith(b"HTTP/1.1 201"), answer
            assert f'"member_id":"m-{number}"'.encode() in answer
        async with asyncio.timeout(5):
            assert (await connection.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 404")
            assert await connection.reader.readuntil(b"0\r\n\r\n")
        assert (await connection.answer()).startswith(b"HTTP/1.1 401")


async def test_what_is_sent_behind_a_grab_is_answered_behind_it(worker: Worker, cell: Cell) -> None:
    """The first waits for its turn when the second comes, or was answered and its answer has not left yet."""
    await publish(cell, RUSH)
    async with LaneClients(worker) as crowd, serving(worker) as port:
        grab = request("c", f"Authorization: Bearer {crowd.pass_of('m-1')}")
        refused = request("c", "Authorization: Bearer nonsense")
        for behind in (grab, refused, request("c", "Authorization: Bearer nonsense", "Expect: nothing")):
            for first, word in ((refused, b"401"), (grab, b"20")):
                with socket.create_connection(("127.0.0.1", port)) as caller:
                    caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    caller.sendall(first)
                    caller.sendall(behind)
                    reader, writer = await asyncio.open_connection(sock=caller)
                    assert (await Wire(reader, writer).answer())[9:].startswith(word)
                    assert (await Wire(reader, writer).answer())[9:12] in {b"200", b"201", b"401"}
                    await hang_up(writer)


async def test_who_has_said_all_they_have_to_say_hears_the_refusal(worker: Worker, cell: Cell) -> None:
    await publish(cell, RUSH)
    async with serving(worker) as port, wire(port) as connection:
        connection.writer.write(request("c", "Authorization: Bearer nonsense"))
        connection.writer.write_eof()
        assert (await connection.answer()).startswith(b"HTTP/1.1 401")
        assert await connection.is_closed()


async def test_a_fault_in_one_grab_harms_no_other(worker: Worker, cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    await publish(cell, RUSH)
    begin = GrabPath.begin

    def faulty(self: GrabPath, campaign_id: str, token: bytes | None, *rest: Any) -> Answer | None:
        if token == b"fault":
            raise RuntimeError("a bug")
        return begin(self, campaign_id, token, *rest)

    monkeypatch.setattr(GrabPath, "begin", faulty)
    async with LaneClients(worker) as crowd, serving(worker) as port:
        opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(9)]
        for number, (_, writer) in enumerate(opened):
            token = "fault" if number == 4 else crowd.pass_of(f"m-{number}")
            writer.write(request("c", f"Authorization: Bearer {token}"))
        for number, (reader, writer) in enumerate(opened):
            one = Wire(reader, writer)
            if number == 4:
                assert await one.is_closed()
            else:
                assert (await one.answer()).startswith(b"HTTP/1.1 201")
            await hang_up(writer)


async def test_a_request_in_pieces_is_a_request(worker: Worker, cell: Cell) -> None:
    await publish(cell, RUSH)
    async with LaneClients(worker) as crowd, serving(worker) as port, wire(port) as connection:
        for piece in request("c", f"Authorization: Bearer {crowd.pass_of('m-1')}"):
            connection.writer.write(bytes([piece]))
            await asyncio.sleep(0)
        assert (await connection.answer()).startswith(b"HTTP/1.1 201")


async def test_a_caller_who_hangs_up_harms_nobody_and_finds_the_claim(worker: Worker, cell: Cell) -> None:
    await publish(cell, RUSH)
    async with LaneClients(worker) as crowd, serving(worker) as port:
        mine = f"Authorization: Bearer {crowd.pass_of('m-1')}"
        for _ in range(5):
            async with wire(port) as connection:
                connection.writer.write(request("c", mine))
        async with wire(port) as connection:
            answer = await connection.ask(request("c", mine))
        assert answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 201"))


async def test_headers_without_end_or_number_are_refused(worker: Worker) -> None:
    async with serving(worker) as port:
        async with wire(port) as connection:
            connection.writer.write(b"POST /v1/campaigns/c/claims HTTP/1.1\r\n")
            for _ in range(40):
                connection.writer.write(b"X-A: " + b"a" * 1000 + b"\r\n")
                await asyncio.sleep(0.001)
            assert (await connection.answer()).startswith(b"HTTP/1.1 431")
            assert await connection.is_closed()
        async with wire(port) as connection:
            answer = await connection.ask(request("c", *(f"X-{number}: 1" for number in range(150))))
            assert answer.startswith(b"HTTP/1.1 431")
            assert await connection.is_closed()


async def test_what_is_no_request_is_answered_with_a_problem_and_the_time(worker: Worker) -> None:
    nonsense = (b"GARBAGE\r\n\r\n", request("c", "Content-Length: -1"), request("c", "Content-Length: 1", "Content-Length: 2"))
    async with serving(worker) as port:
        for sent in nonsense:
            async with wire(port) as connection:
                answer = await connection.ask(sent)
                assert answer.startswith(b"HTTP/1.1 400"), sent
                assert b"application/problem+json" in answer
                assert b'"code":"malformed"' in answer
                assert b"x-server-time-ms: " in answer
                assert await connection.is_closed()


async def test_who_is_silent_in_the_middle_of_the_headers_is_cut_off(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", 0.5)
    async with serving(worker) as port, wire(port) as slow, wire(port) as idle:
        slow.writer.write(b"POST /v1/campaigns/c/claims HTTP/1.1\r\nHost:")
        answer = await slow.answer()
        assert answer.startswith(b"HTTP/1.1 408")
        assert await slow.is_closed()
        # One that has sent nothing yet may wait for the opening.
        assert not await idle.is_closed(timeout_s=0.1)
        assert (await idle.ask(request("c"))).startswith(b"HTTP/1.1 401")


async def test_more_connections_than_allowed_are_turned_away_and_the_others_served(worker: Worker) -> None:
    async with serving(worker) as port:
        connections = [await asyncio.open_connection("127.0.0.1", port) for _ in range(45)]
        await asyncio.sleep(0.1)
        answers = [await Wire(reader, writer).ask(request("c")) for reader, writer in connections]
        assert [answer[9:12] for answer in answers] == [b"401"] * 40 + [b"503"] * 5
        assert all(b"retry-after: 1\r\n" in answer and b"connection: close" in answer for answer in answers[40:])
        again = await Wire(*connections[0]).ask(request("c"))
        assert again.startswith(b"HTTP/1.1 401")
        for _, writer in connections:
            await hang_up(writer)
        await asyncio.sleep(0.1)
        assert len(worker.connections) == 0


async def test_a_graceful_shutdown_answers_what_is_under_way(worker: Worker, cell: Cell, redis_client: Redis) -> None:
    await publish(cell, RUSH)
    async with LaneClients(worker) as crowd:
        tokens = [crowd.pass_of(f"m-{number}") for number in range(30)]
        async with serving(worker) as port:
            opened = [await asyncio.open_connection("127.0.0.1", port) for _ in tokens]
            # Redis holds its answers back while the server is told to end.
            await redis_client.client_pause(300)
            for (_, writer), token in zip(opened, tokens, strict=True):
                writer.write(request("c", f"Authorization: Bearer {token}"))
            await asyncio.sleep(0.1)
        for reader, writer in opened:
            answer = await Wire(reader, writer).answer()
            assert answer.startswith(b"HTTP/1.1 201"), answer
            assert b"connection: close" in answer
            await hang_up(writer)


async def test_a_worker_that_is_to_end_answers_each_connection_once_more(worker: Worker) -> None:
    async with told_to_end(worker, 3) as (plain, ordinary, late):
        await asyncio.sleep(0.5)  # uvicorn has told all connections by now
        for one, asked in ((plain, request("c")), (ordinary, request("c", "Expect: nothing"))):
            answer = await one.ask(asked)
            assert answer.startswith(b"HTTP/1.1 401")
            assert b"connection: close" in answer
            assert await one.is_closed()
        assert not await late.is_closed(timeout_s=0.1)


async def test_a_worker_that_is_to_end_waits_for_the_idle_no_longer_than_the_drain_time(worker: Worker) -> None:
    began_s = asyncio.get_running_loop().time()
    async with told_to_end(worker, 2) as (idle, halfway):
        halfway.writer.write(b"POST /v1/campaigns/c/claims HTTP/1.1\r\nHost:")
        assert not await idle.is_closed(timeout_s=0.8)
        assert await idle.is_closed()
        assert (await halfway.answer()).startswith(b"HTTP/1.1 408")
    assert 1.5 < asyncio.get_running_loop().time() - began_s < 10


async def test_requests_sent_ahead_are_all_answered_by_a_worker_that_is_to_end(
    worker: Worker, cell: Cell, redis_client: Redis
) -> None:
    await publish(cell, RUSH)
    async with LaneClients(worker) as crowd, told_to_end(worker, 1) as (one,):
        await redis_client.client_pause(300)
        asked = [request("c", f"Authorization: Bearer {crowd.pass_of(f'm-{number}')}") for number in range(5)]
        one.writer.write(asked[0])
        await asyncio.sleep(0.05)
        one.writer.write(b"".join(asked[1:]))
        answers = [await one.answer() for _ in asked]
        assert all(answer.startswith(b"HTTP/1.1 201") for answer in answers)
        assert [b"connection: close" in answer for answer in answers] == [False] * 4 + [True]
        assert await one.is_closed()


async def test_a_head_that_is_too_large_is_refused_in_however_many_reads_it_comes(worker: Worker) -> None:
    async with serving(worker) as port:
        for method in ("POST", "GET"):
            async with wire(port) as one:
                answer = await one.ask(request("c", "X-A: " + "a" * 40_000, method=method))
                assert answer.startswith(b"HTTP/1.1 431"), answer
                assert await one.is_closed()
        # Many small heads in one read are not a large one.
        async with wire(port) as one:
            one.writer.write(request("c", "X-A: " + "a" * 2_000) * 30)
            assert [(await one.answer())[:12] for _ in range(30)] == [b"HTTP/1.1 401"] * 30


async def test_who_sends_many_requests_ahead_of_the_answers_is_cut_off(worker: Worker, redis_client: Redis, cell: Cell) -> None:
    await publish(cell, RUSH)
    async with LaneClients(worker) as crowd, serving(worker) as port, wire(port) as one:
        await redis_client.client_pause(500)
        one.writer.write(request("c", f"Authorization: Bearer {crowd.pass_of('m-1')}"))
        one.writer.write(request("c", method="GET") * 1_000)
        assert await one.is_closed()


async def test_who_is_turned_away_and_has_sent_more_ahead_hears_that_once_more_and_no_longer(worker: Worker) -> None:
    going_on = asyncio.Event()

    async def waits(scope: Scope, receive: Receive, send: Send) -> None:
        await going_on.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(serving(worker, waits))
        for number in range(worker.settings.ordinary_max):
            (await stack.enter_async_context(wire(port))).writer.write(page(worker, number))
        await asyncio.sleep(0.2)
        assert worker.admission.free == 0
        asyncio.get_running_loop().call_later(5, going_on.set)
        one = await stack.enter_async_context(wire(port))
        one.writer.write(page(worker, 30) * 30)
        heard = [await one.answer(), await one.answer()]
        assert [answer[:12] for answer in heard] == [b"HTTP/1.1 503"] * 2
        assert b"connection: close" in heard[1]
        assert await one.is_closed()
        going_on.set()


async def test_who_does_not_read_is_cut_off_and_who_reads_slowly_is_not(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "WRITE_TIMEOUT_S", 2.0)

    async def much(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(400):
            await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async with serving(worker, much) as port:
        with small_window(port) as slow, small_window(port) as deaf:
            for one in (slow, deaf):
                one.sendall(request("x", method="GET"))
            loop = asyncio.get_running_loop()
            read_bytes, ends_s = 0, loop.time() + 6
            while loop.time() < ends_s:
                await asyncio.sleep(0.05)
                read_bytes += len(slow.recv(32_768))
            assert read_bytes > 1_000_000
            assert len(worker.connections) == 1


async def test_ordinary_calls_beyond_their_places_are_turned_away_and_grabs_are_not(worker: Worker) -> None:
    going_on = asyncio.Event()

    async def waits(scope: Scope, receive: Receive, send: Send) -> None:
        await going_on.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async with serving(worker, waits) as port, AsyncExitStack() as wires:
        # All that are not turned away are answered in the end.
        asyncio.get_running_loop().call_later(5, going_on.set)
        opened = [await wires.enter_async_context(wire(port)) for _ in range(12)]
        for number, one in enumerate(opened[:8]):
            one.writer.write(page(worker, number))
        await asyncio.sleep(0.1)
        for one in opened[8:]:
            answer = await one.ask(page(worker, 9))
            assert answer.startswith(b"HTTP/1.1 503"), answer
            assert b'"code":"overloaded"' in answer
            assert b"retry-after: 1\r\n" in answer
            assert (await one.ask(request("c", "Expect: nothing"))).startswith(b"HTTP/1.1 401")
        going_on.set()
        for one in opened[:8]:
            assert (await one.answer()).startswith(b"HTTP/1.1 200")
        assert (await opened[9].ask(page(worker, 9))).startswith(b"HTTP/1.1 200")
        assert worker.admission.free == 8


def test_a_connection_inherits_the_terms_on_which_it_is_accepted() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        bound_what_the_kernel_keeps(listener)
        with socket.create_connection(listener.getsockname()):
            accepted, _ = listener.accept()
            with accepted:
                assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                if hasattr(socket, "TCP_USER_TIMEOUT"):
                    assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == UNCONFIRMED_MAX_S * 1000
