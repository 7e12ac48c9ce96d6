"""Grabs won and refused a second by one core of each peer.

All on the same Redis, on campaigns with the same rules, over 64 connections that are kept, with the same bytes to read; in
turn, round after round. After every run exactly the stock was won, and Redis holds exactly that many claims.
"""

import asyncio
import os
import statistics
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

from bench import machine
from bench.backlog import cpu_s
from bench.closed_loop import LoopResult, closed_loop, quantile
from bench.figures import Figure, Results, ratios
from bench.peers.processes import NGINX, NGINX_CACHE, NODE, OURS, PEERS, PLAIN, TITLES, Peer, running_peers
from bench.redis_alone import Direct, direct_calls
from bench.registered_members import settle, with_passes
from bench.runs import InexactError, Log
from bench.testbed import Testbed, pin
from loadtest.generator.requests import Target, build_requests
from loadtest.passes import Member

CONNECTIONS: Final = 64
MEMBERS: Final = 100_000
GRABS: Final = 40_000
GRABS_OF: Final = {PLAIN: 8_000, NODE: 20_000, NGINX: 20_000, "batches": 10_000, "lane": 20_000}
"""Slow peers get fewer, so that a round does not last for ever; grabs a second are compared."""
CONSTANT: Final = "decision"
SETTLED_S: Final = 0.2


@dataclass(slots=True)
class Found:
    """Results of the rounds for one peer: answers a second, µs of processor time, seconds of latency."""

    won: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    won_us: list[float] = field(default_factory=list)
    refused_us: list[float] = field(default_factory=list)
    redis_us: list[float] = field(default_factory=list)
    won_p99_s: list[float] = field(default_factory=list)
    refused_p99_s: list[float] = field(default_factory=list)


@asynccontextmanager
async def pinned(testbed: Testbed) -> AsyncIterator[list[int]]:
    """The peers' core; Redis, PostgreSQL, the ledger and the generator share the others."""
    cores = sorted(os.sched_getaffinity(0))
    others = cores[1:] or cores
    _pin_around(testbed, others)
    try:
        yield cores[:1]
    finally:
        _pin_around(testbed, cores)


def _pin_around(testbed: Testbed, cpus: list[int]) -> None:
    postgres = psutil.Process(testbed.stack.postgres.pid)
    backends = [one.pid for one in postgres.children()]
    pin([os.getpid(), testbed.redis_pid(), testbed.programs.ledger.pid, postgres.pid, *backends], cpus)


async def compare(
    testbed: Testbed,
    names: Sequence[str],
    rounds: int,
    grabs: int,
    folder: Path,
    log: Log,
    *,
    connections: int = CONNECTIONS,
    direct: bool = True,
) -> tuple[dict[str, Found], dict[str, str], list[Direct]]:
    """So many rounds of each: what they brought, who is missing and why, and (`direct`) what calls to Redis alone bring.

    Raises:
        InexactError: somebody won what was not there, or did not win what was.
    """
    await settle(testbed, max(grabs + 1, MEMBERS if direct else 0), log)
    members = with_passes(testbed, range(grabs + 1))
    found = {name: Found() for name in names}
    called: list[Direct] = []
    async with pinned(testbed) as cpus, running_peers(testbed, names, folder, cpus) as (peers, missing):
        for name, why in missing.items():
            log(f"{TITLES.get(name, name)} is left out: {why}")
        for number in range(rounds + 1):  # the first one warms up
            for name, peer in peers.items():
                few = members[: min(grabs, GRABS_OF.get(name, grabs)) if number else min(grabs, 2_000)]
                await testbed.drained()
                async with awake(peers[OURS]):  # ops ask the service itself
                    campaign_ids = await asyncio.gather(testbed.campaign(len(few)), testbed.campaign(1))
                async with ledger_at_rest(testbed), awake(peer):
                    into = found[name] if number else Found()
                    note = await _round(testbed, peer, campaign_ids, few, connections, into)
                log(f"round {number} of {rounds}, {TITLES.get(name, name)}: {note}")
            if number and direct:
                await testbed.drained()
                async with awake(peers[OURS]):
                    campaign_id = await testbed.campaign(GRABS_OF[NGINX], benefit={"kind": "none", "name": "月饼一盒"})
                calls = await direct_calls(testbed, campaign_id, folder, GRABS_OF[NGINX], MEMBERS, log)
                called += [calls] if calls else []
    return {name: one for name, one in found.items() if name not in missing}, missing, called


@asynccontextmanager
async def ledger_at_rest(testbed: Testbed) -> AsyncIterator[None]:
    """Suspend the ledger, which would take its share of the generator's core: grants are drained afterwards."""
    ledger = psutil.Process(testbed.programs.ledger.pid)
    ledger.suspend()
    try:
        yield
    finally:
        ledger.resume()


@asynccontextmanager
async def awake(peer: Peer) -> AsyncIterator[None]:
    """Let one run, and suspend it again."""
    await peer.wake()
    try:
        yield
    finally:
        peer.rest()


async def _round(
    testbed: Testbed, peer: Peer, campaign_ids: Sequence[str], members: Sequence[Member], connections: int, found: Found
) -> str:
    in_stock, sold_out = campaign_ids
    only_refuses = peer.name == CONSTANT
    if not only_refuses:
        result, used_us, redis_us = await run_of(testbed, peer, in_stock, members, connections)
        await exactly(testbed, in_stock, result, {201: len(members)}, len(members))
        found.won.append(result.per_second)
        found.won_us.append(used_us)
        found.redis_us.append(redis_us)
        found.won_p99_s.append(quantile(result.latencies_s, 0.99))
        await run_of(testbed, peer, sold_out, members[:1])
        await asyncio.sleep(SETTLED_S)
    result, used_us, _ = await run_of(testbed, peer, sold_out, members[1:], connections)
    await exactly(testbed, sold_out, result, {409: len(members) - 1}, 0 if only_refuses else 1)
    found.refused.append(result.per_second)
    found.refused_us.append(used_us)
    found.refused_p99_s.append(quantile(result.latencies_s, 0.99))
    won = f"{found.won[-1]:,.0f} won/s, " if found.won else ""
    return f"{won}{found.refused[-1]:,.0f} refused/s"


async def run_of(
    testbed: Testbed, peer: Peer, campaign_id: str, members: Sequence[Member], connections: int = CONNECTIONS
) -> tuple[LoopResult, float, float]:
    """One run, and the µs of processor time that each answer cost the peer and Redis."""
    requests = build_requests(members, Target("127.0.0.1", peer.port, f"/v1/campaigns/{campaign_id}/claims"))
    before_s = cpu_s(peer.pids), cpu_s([testbed.redis_pid()])
    result = await asyncio.to_thread(closed_loop, peer.port, requests, connections)
    used_s = cpu_s(peer.pids) - before_s[0], cpu_s([testbed.redis_pid()]) - before_s[1]
    return result, used_s[0] / result.answers * 1e6, used_s[1] / result.answers * 1e6


async def exactly(testbed: Testbed, campaign_id: str, result: LoopResult, by_status: dict[int, int], claims: int) -> None:
    """See that these were the answers, and that so many claims are held.

    Raises:
        InexactError: they are not, so the figures are worth nothing.
    """
    held = await testbed.claims(campaign_id)
    if result.by_status != by_status or held != claims:
        raise InexactError(f"answers {result.by_status} and {held} claims, where {by_status} and {claims} were to be")


async def measure(testbed: Testbed, rounds: int, folder: Path, log: Log, grabs: int = GRABS) -> Results:
    """The part of the table that is about grabs a second, without a log of writes in Redis."""
    await testbed.persist(None)
    found, missing, direct = await compare(testbed, (OURS, CONSTANT, *PEERS), rounds, grabs, folder, log)
    details = {
        "rows": {
            name: {"title": TITLES[name], **{key: getattr(one, key) for key in Found.__slots__}} for name, one in found.items()
        },
        "missing": missing,
    }
    if direct:
        details["redis_benchmark"] = [one.per_second for one in direct]
    return Results("speed", machine.describe(), tuple(_figures(found, direct)), details=details)


def _figures(found: dict[str, Found], direct: Sequence[Direct]) -> list[Figure]:
    ours = found[OURS]
    figures = []
    for name, against, at_least in ((PLAIN, "plain FastAPI + redis-py", 15), (NGINX, "nginx + Lua", 1.5), (NODE, "Node", 2)):
        if name in found:
            figures.append(
                Figure(f"won_per_{name}", f"won ÷ {against}", "", ratios(ours.won, found[name].won), at_least=at_least)
            )
    if direct:
        figures.append(
            Figure(
                "won_per_redis_benchmark",
                "won ÷ redis-benchmark calling the script unpipelined, without HTTP",
                "",
                ratios(ours.won, [one.per_second for one in direct]),
                at_least=1,
            )
        )
    if NGINX_CACHE in found:
        refused = ratios(ours.refused, found[NGINX_CACHE].refused)
        figures.append(
            Figure("refused_per_nginx_cache", "refused ÷ nginx + Lua with its own sold-out cache", "", refused, at_least=1.15)
        )
    limit = found[CONSTANT].refused
    figures += [
        Figure("won_per_constant", "won ÷ our own limit for a constant answer", "", ratios(ours.won, limit), at_least=0.7),
        Figure(
            "refused_per_constant",
            "refused ÷ our own limit for a constant answer",
            "",
            ratios(ours.refused, limit),
            at_least=0.85,
        ),
    ]
    if direct:
        unbatched_us = statistics.median(one.redis_us for one in direct)
        figures.append(
            Figure(
                "redis_us_per_win",
                "processor time of Redis per won grab ÷ one unbatched EVALSHA of the same script",
                "",
                tuple(one / unbatched_us for one in ours.redis_us),
                at_most=0.35,
                note=f"unbatched: {unbatched_us:.1f} µs; with all polls of the views in ours",
            )
        )
    return figures
