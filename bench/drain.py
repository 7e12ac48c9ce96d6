"""The speed at which the log becomes rows in PostgreSQL, and how soon after a sell-out all claims are there.

Two measurements. A backlog: the ledger is suspended while tens of thousands win, then let go, and watched. A rush: the service
sells out under a crowd, and PostgreSQL is asked until it has every claim. Every round is checked to the last claim.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import psutil
from sqlalchemy import func, select

from bench import backlog
from bench.closed_loop import closed_loop
from bench.figures import Figure
from bench.runs import Log
from bench.testbed import Testbed, passing_testbed, pin
from grab_service.sql.tables import claims
from loadtest.generator.requests import Target, build_requests
from loadtest.passes import Member

ROUNDS: Final = 5
BACKLOG: Final = 100_000
CROWD: Final = 20_000
STOCK: Final = 3_000
CONNECTIONS: Final = 256
POLL_S: Final = 0.005
WARM_UP: Final = 10_000
DRAIN_TIMEOUT_S: Final = 120.0
SELL_OUT_TIMEOUT_S: Final = 30.0
PER_SECOND_MIN: Final = 40_000
VISIBLE_MAX_S: Final = 0.5


class Layout(StrEnum):
    """The processors that the ledger and PostgreSQL may use."""

    ONE_CORE = "one_core"
    TWO_CORES = "two_cores"


@dataclass(frozen=True, slots=True)
class Drained:
    """One backlog: claims a second, and what they cost each of the two, in µs of processor time a claim."""

    per_second: float
    ledger_us: float
    postgres_us: float
    ledger_bytes_max: int


async def measure(rounds: int = ROUNDS, claims_count: int = BACKLOG, log: Log = print) -> tuple[Figure, ...]:
    """Measure on a testbed of its own; takes about 10 s a round.

    Raises:
        backlog.BacklogError, TestbedError: something is not as it should be; there are no figures.
    """
    async with passing_testbed() as testbed:
        log(f"drain: {max(claims_count, CROWD):,} members are enrolled")
        members = await testbed.enrol(max(claims_count, CROWD))
        await _drain(testbed, members[:WARM_UP], Layout.ONE_CORE)
        return await measure_on(testbed, members, rounds, claims_count, log)


async def measure_on(
    testbed: Testbed, members: Sequence[Member], rounds: int, claims_count: int, log: Log = print
) -> tuple[Figure, ...]:
    """The same on a testbed that is there, with these members."""
    found: dict[Layout, list[Drained]] = {layout: [] for layout in Layout}
    visible_s: list[float] = []
    for number in range(1, rounds + 1):
        for layout in Layout:
            drained = await _drain(testbed, members[:claims_count], layout)
            found[layout].append(drained)
            log(
                f"drain {number}/{rounds}, {layout.value}: {drained.per_second:,.0f} claims/s, "
                f"{drained.ledger_us:.1f} µs of ledger and {drained.postgres_us:.1f} µs of PostgreSQL each"
            )
        visible_s.append(await _sell_out(testbed, members[:CROWD]))
        log(f"drain {number}/{rounds}, rush: {STOCK:,} on record {visible_s[-1] * 1000:.0f} ms after the last grant")
    return _figures(found, visible_s, claims_count)


def _figures(found: dict[Layout, list[Drained]], visible_s: Sequence[float], claims_count: int) -> tuple[Figure, ...]:
    one, two = found[Layout.ONE_CORE], found[Layout.TWO_CORES]
    return (
        Figure(
            "drain_one_core",
            "Drain into PostgreSQL, ledger and PostgreSQL on one core",
            "claims/s",
            tuple(each.per_second for each in one),
            at_least=PER_SECOND_MIN,
            note=f"a backlog of {claims_count:,} claims, all constraints on, fsync on",
        ),
        Figure(
            "drain_two_cores",
            "Drain into PostgreSQL, a core each",
            "claims/s",
            tuple(each.per_second for each in two),
        ),
        Figure("drain_ledger_cpu", "Processor time of the ledger per claim", "µs", tuple(each.ledger_us for each in one)),
        Figure("drain_postgres_cpu", "Processor time of PostgreSQL per claim", "µs", tuple(each.postgres_us for each in one)),
        Figure(
            "drain_visible",
            f"All {STOCK:,} claims of a rush in PostgreSQL, after the last was granted",
            "s",
            tuple(visible_s),
            at_most=VISIBLE_MAX_S,
            note=f"at most {CROWD:,} members over {CONNECTIONS} connections",
        ),
        Figure(
            "drain_memory",
            "Memory of the ledger during a backlog",
            "MB",
            tuple(each.ledger_bytes_max / 1e6 for each in (*one, *two)),
            note=f"resident, at most, while {claims_count:,} claims are drained",
        ),
    )


async def _drain(testbed: Testbed, members: Sequence[Member], layout: Layout) -> Drained:
    await testbed.drained()
    campaign_id = await testbed.campaign(len(members))
    ledger = psutil.Process(testbed.programs.ledger.pid)
    postgres = _with_children(testbed.stack.postgres.pid)
    _place(testbed, ledger.pid, postgres, layout)
    ledger.suspend()
    try:
        await backlog.grow(testbed, campaign_id, members)
        end = await backlog.logged_seq(testbed)
        used_s = backlog.cpu_s([ledger.pid]), backlog.cpu_s(postgres)
    finally:
        ledger.resume()
    # That it wakes up, and connects again if Redis' answer came too late for it, counts.
    began_s, bytes_max = time.perf_counter(), 0
    while (seq := await backlog.drained_seq(testbed)) < end:
        if time.perf_counter() > began_s + DRAIN_TIMEOUT_S:
            raise backlog.BacklogError(f"the ledger is at {seq} of {end} after {DRAIN_TIMEOUT_S:.0f} s")
        bytes_max = max(bytes_max, ledger.memory_info().rss)
        await asyncio.sleep(POLL_S)
    took_s = time.perf_counter() - began_s
    ledger_s = backlog.cpu_s([ledger.pid]) - used_s[0]
    # A session that was opened meanwhile counts from its beginning.
    postgres_s = backlog.cpu_s(_with_children(testbed.stack.postgres.pid)) - used_s[1]
    await backlog.check(testbed, campaign_id, len(members))
    number = len(members)
    return Drained(number / took_s, ledger_s / number * 1e6, postgres_s / number * 1e6, bytes_max)


async def _sell_out(testbed: Testbed, members: Sequence[Member]) -> float:
    """Seconds from the last grant until all claims are on record."""
    await testbed.drained()
    pin([testbed.programs.ledger.pid, *_with_children(testbed.stack.postgres.pid)], _cores())
    campaign_id = await testbed.campaign(STOCK)
    target = Target("127.0.0.1", testbed.settings.port, f"/v1/campaigns/{campaign_id}/claims")
    requests = build_requests(members, target)
    crowd = asyncio.create_task(asyncio.to_thread(closed_loop, testbed.settings.port, requests, CONNECTIONS))
    query = select(func.count(), func.max(claims.c.granted_at_ms)).where(claims.c.campaign_id == campaign_id)
    give_up_s = time.monotonic() + SELL_OUT_TIMEOUT_S
    while True:
        async with testbed.engine.connect() as connection:
            count, last_ms = (await connection.execute(query)).one()
        if count >= STOCK:
            break
        if time.monotonic() > give_up_s:
            raise backlog.BacklogError(f"{count} of {STOCK} claims are on record")
        await asyncio.sleep(POLL_S)
    visible_at_s = time.time()
    result = await crowd
    if result.by_status.get(201) != STOCK:
        raise backlog.BacklogError(f"{STOCK} were to win, the answers were {result.by_status}")
    await testbed.drained()
    await backlog.check(testbed, campaign_id, STOCK)
    return float(visible_at_s - last_ms / 1000)


def _place(testbed: Testbed, ledger_pid: int, postgres: Sequence[int], layout: Layout) -> None:
    first, *rest = _cores()
    others = rest or [first]
    pin(postgres, [first])
    pin([ledger_pid], [first] if layout is Layout.ONE_CORE else others)
    # Programs that only fill the log, or look on, keep away from the core that is shared.
    pin([testbed.redis_pid(), *testbed.service_pids(), testbed.programs.api.pid], others)


def _with_children(pid: int) -> list[int]:
    return [pid, *(one.pid for one in psutil.Process(pid).children(recursive=True))]


def _cores() -> list[int]:
    return sorted(psutil.Process().cpu_affinity() or [0])
