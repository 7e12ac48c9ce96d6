"""The cost of a grab in processor time, and of a claim, a connection and a waiting member in memory."""

import asyncio
import re
import signal
import socket
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from bench.closed_loop import RECEIVE_MAX_BYTES, close, connect
from bench.figures import Figure, Results
from bench.machine import describe
from bench.registered_members import settle, with_passes
from bench.runs import InexactError, Log, arranged, redis_bytes, refusals, resident_bytes, rush, wins
from bench.testbed import Testbed
from loadtest.generator.requests import Target, build_requests
from loadtest.passes import Member

ROUNDS: Final = 7
CROWD: Final = 20_000
CLAIMS: Final = 100_000
IDLE: Final = 4_000
QUICK_CROWD: Final = 600
QUICK_CLAIMS: Final = 1_000
QUICK_IDLE: Final = 200
CONNECTIONS: Final = 256
GATHER_S: Final = 0.7
ANSWER_S: Final = 10.0
CONTENT_LENGTH: Final = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)


async def measure(testbed: Testbed, *, quick: bool = False, log: Log = print) -> Results:
    """About a minute, a few seconds if `quick`. Memory is told best by a testbed whose worker has not had a crowd yet.

    Raises:
        InexactError, TestbedError: something is not as it should be; there are no figures.
    """
    rounds, size, claims, idle = (1, QUICK_CROWD, QUICK_CLAIMS, QUICK_IDLE) if quick else (ROUNDS, CROWD, CLAIMS, IDLE)
    machine = describe()
    await settle(testbed, max(size, claims) + 1, log)
    async with arranged(testbed):
        connection_bytes, waiting_bytes = await _memory_of_the_present(testbed, idle)
        log(f"{connection_bytes:,.0f} bytes for a connection, {waiting_bytes:,.0f} more for a waiting member")
        redis_claim, worker_claim = await _memory_of_claims(testbed, with_passes(testbed, range(claims)))
        log(f"{redis_claim:,.0f} bytes of Redis and {worker_claim:,.0f} of a worker for a claim")
        cpu = defaultdict[str, list[float]](list)
        crowd = with_passes(testbed, range(size))
        for number in range(0 if quick else -1, rounds):
            won, refused = await wins(testbed, crowd, CONNECTIONS), await refusals(testbed, crowd, CONNECTIONS)
            if number < 0:
                continue  # to warm up
            cpu["won_service"].append(won.service_us)
            cpu["won_redis"].append(won.redis_us)
            cpu["refused_service"].append(refused.service_us)
            cpu["refused_redis"].append(refused.redis_us)
            log(f"{won.service_us:.1f} µs of service and {won.redis_us:.1f} of Redis a win, {refused.service_us:.1f} a refusal")
    note = f"{CONNECTIONS} connections; a processor's clock ticks 100 times a second"
    return Results(
        "costs",
        machine,
        (
            Figure(
                "cpu_won_service", "Processor time of the service for a grab won", "µs", tuple(cpu["won_service"]), note=note
            ),
            Figure("cpu_won_redis", "Processor time of Redis for a grab won", "µs", tuple(cpu["won_redis"]), note=note),
            Figure("cpu_refused_service", "Processor time of the service for a refusal", "µs", tuple(cpu["refused_service"])),
            Figure(
                "cpu_refused_redis",
                "Processor time of Redis for a refusal",
                "µs",
                tuple(cpu["refused_redis"]),
                note="nothing but the polls of the view: the gate refuses by itself",
            ),
            Figure("memory_claim_redis", "Memory of Redis for a claim, the log included", "bytes", (redis_claim,)),
            Figure("memory_claim_worker", "Memory of a worker for a claim", "bytes", (worker_claim,)),
            Figure("memory_connection", "Memory of a worker for a connection", "bytes", (connection_bytes,)),
            Figure(
                "memory_waiting", "Memory of a worker for a waiting member, beside the connection", "bytes", (waiting_bytes,)
            ),
        ),
    )


async def _memory_of_the_present(testbed: Testbed, number: int) -> tuple[float, float]:
    """Memory of a worker for each connection that has asked once, and for each whose grab waits for Redis.

    Raises:
        InexactError: not everyone was answered.
    """
    gone, open_ = await testbed.campaign(1), await testbed.campaign(number)
    first, *others = with_passes(testbed, range(number + 1))
    await rush(testbed, [gone], [first], 1)
    before = resident_bytes(testbed)
    connections = connect(testbed.settings.port, number)
    try:
        await asyncio.to_thread(_exchange, connections, _requests(testbed, gone, others))
        connected = resident_bytes(testbed)
        # Nothing comes back from a Redis that stands still: callers wait in the worker.
        testbed.stack.redis.send(signal.SIGSTOP)
        try:
            for one, request in zip(connections, _requests(testbed, open_, others), strict=True):
                one.send(request)
            await asyncio.sleep(GATHER_S)
            waiting = resident_bytes(testbed)
        finally:
            testbed.stack.redis.send(signal.SIGCONT)
        await asyncio.to_thread(_exchange, connections, [])
    finally:
        close(connections)
    await testbed.drained()
    return (connected - before) / number, (waiting - connected) / number


async def _memory_of_claims(testbed: Testbed, members: Sequence[Member]) -> tuple[float, float]:
    """Memory of Redis and of a worker for each claim of a large campaign."""
    await testbed.drained()
    before = await redis_bytes(testbed), resident_bytes(testbed)
    await wins(testbed, members, CONNECTIONS)
    await testbed.drained()
    after = await redis_bytes(testbed), resident_bytes(testbed)
    return (after[0] - before[0]) / len(members), (after[1] - before[1]) / len(members)


def _requests(testbed: Testbed, campaign_id: str, members: Sequence[Member]) -> list[bytes]:
    return build_requests(members, Target("127.0.0.1", testbed.settings.port, f"/v1/campaigns/{campaign_id}/claims"))


def _exchange(connections: Sequence[socket.socket], requests: Sequence[bytes]) -> None:
    """Send a request on each, if there are any, and hear an answer on each.

    Raises:
        InexactError: one did not come.
    """
    for one, request in zip(connections, requests, strict=False):
        one.send(request)
    for one in connections:
        one.settimeout(ANSWER_S)
        answer = b""
        while not _is_whole(answer):  # head and body may come one after the other
            try:
                piece = one.recv(RECEIVE_MAX_BYTES)
            except TimeoutError:
                piece = b""
            if not piece:
                raise InexactError("a connection got no answer")
            answer += piece
        one.setblocking(False)


def _is_whole(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    length = CONTENT_LENGTH.search(head)
    return bool(end) and answer.startswith(b"HTTP/1.1 ") and length is not None and len(body) >= int(length[1])
