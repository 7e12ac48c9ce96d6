"""One run of grabs, exact to the last unit: answers a second, and processor time for each."""

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import psutil

from bench.backlog import cpu_s
from bench.closed_loop import LoopResult, closed_loop
from bench.figures import Curve, Point, Results
from bench.testbed import Testbed, pin
from loadtest.generator.requests import Target, build_requests
from loadtest.passes import Member

CONNECTIONS: Final = 64
SETTLED_S: Final = 0.1

Log = Callable[[str], None]


class MeasureOnTestbed(Protocol):
    """An experiment on a testbed that is running."""

    async def __call__(self, testbed: Testbed, *, quick: bool = False, log: Log = print) -> Results: ...


class InexactError(Exception):
    """Not exactly the stock was won, or somebody heard what was not to be heard: the figures are worth nothing."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run, and what it cost the service and Redis, in µs of processor time for each answer."""

    result: LoopResult
    service_us: float
    redis_us: float

    @property
    def per_second(self) -> float:
        return self.result.per_second


async def wins(testbed: Testbed, members: Sequence[Member], connections: int = CONNECTIONS, times: int = 1) -> Run:
    """Everybody asks for a unit, and there is one for each; so many times over, in one campaign after the other.

    Raises:
        InexactError: not exactly the stock was won.
    """
    await testbed.drained()
    campaign_ids = await asyncio.gather(*(testbed.campaign(len(members)) for _ in range(times)))
    runs = []
    for campaign_id in campaign_ids:
        runs.append(await rush(testbed, [campaign_id], members, connections))
        await check(testbed, campaign_id, runs[-1], {201: len(members)}, len(members))
    return _joined(runs)


async def refusals(testbed: Testbed, members: Sequence[Member], connections: int = CONNECTIONS, times: int = 1) -> Run:
    """Everybody but the first asks, so many times over, for what the first has taken.

    Raises:
        InexactError: somebody heard otherwise.
    """
    await testbed.drained()
    campaign_id = await testbed.campaign(1)
    await rush(testbed, [campaign_id], members[:1], 1)
    await asyncio.sleep(SETTLED_S)
    run = await rush(testbed, [campaign_id], [*members[1:]] * times, connections)
    await check(testbed, campaign_id, run, {409: (len(members) - 1) * times}, 1)
    return run


async def rush(testbed: Testbed, campaign_ids: Sequence[str], members: Sequence[Member], connections: int) -> Run:
    """Each member asks once, for the campaigns in turn."""
    targets = [Target("127.0.0.1", testbed.settings.port, f"/v1/campaigns/{one}/claims") for one in campaign_ids]
    parts = [build_requests(members[number :: len(targets)], target) for number, target in enumerate(targets)]
    requests = [request for turn in zip(*parts, strict=False) for request in turn]
    requests += [part[-1] for part in parts if len(part) > len(parts[-1])]
    services, redis = [testbed.programs.api.pid, *testbed.service_pids()], [testbed.redis_pid()]
    before = cpu_s(sorted(set(services))), cpu_s(redis)
    result = await asyncio.to_thread(closed_loop, testbed.settings.port, requests, connections)
    used_s = cpu_s(sorted(set(services))) - before[0], cpu_s(redis) - before[1]
    return Run(result, *(used / result.answers * 1e6 for used in used_s))


async def check(testbed: Testbed, campaign_id: str, run: Run, by_status: dict[int, int], claims: int) -> None:
    """See that these were the answers, and that so many claims are held.

    Raises:
        InexactError: they are not.
    """
    held = await testbed.claims(campaign_id)
    if run.result.by_status != by_status or held != claims:
        raise InexactError(f"answers {run.result.by_status} and {held} claims, where {by_status} and {claims} were to be")


def _joined(runs: Sequence[Run]) -> Run:
    """Several runs as if they were one."""
    if len(runs) == 1:
        return runs[0]
    results = [run.result for run in runs]
    by_status: Counter[int] = Counter()
    for result in results:
        by_status.update(result.by_status)
    latencies_s, won_s = (
        [each for result in results for each in getattr(result, name)] for name in ("latencies_s", "won_latencies_s")
    )
    answers = sum(by_status.values())
    seconds = sum(result.seconds for result in results)
    whole = LoopResult(answers, seconds, dict(by_status), latencies_s, won_s, sum(result.last_win_s for result in results))
    service_us, redis_us = (
        sum(getattr(run, name) * run.result.answers for run in runs) / answers for name in ("service_us", "redis_us")
    )
    return Run(whole, service_us, redis_us)


async def redis_bytes(testbed: Testbed) -> int:
    """All that Redis holds now."""
    return int((await testbed.redis.info("memory"))["used_memory"])


def resident_bytes(testbed: Testbed) -> int:
    """All that the workers have in memory now."""
    return sum(int(psutil.Process(pid).memory_info().rss) for pid in testbed.service_pids())


@contextlib.asynccontextmanager
async def arranged(testbed: Testbed) -> AsyncIterator[None]:
    """The service alone on the first core, everybody else on the others; with one core, all on that."""
    cores = sorted(os.sched_getaffinity(0))
    others = cores[1:] or cores
    postgres = psutil.Process(testbed.stack.postgres.pid)
    around = [testbed.redis_pid(), testbed.programs.ledger.pid, postgres.pid, *(one.pid for one in postgres.children())]
    pin([testbed.programs.api.pid, *testbed.service_pids()], cores[:1])
    pin([os.getpid(), *around], others)
    try:
        yield
    finally:
        pin([os.getpid()], cores)


Samples = Mapping[float, Sequence[float]]


@dataclass(frozen=True, slots=True)
class Picture:
    """The common part of several curves: name of the picture, its title, its axes."""

    name: str
    title: str
    x_label: str
    y_label: str
    x_is_log: bool = True
    y_is_log: bool = False

    def curve(self, series: str, found: Samples, note: str = "") -> Curve:
        """One of its curves, from samples by x."""
        points = tuple(Point(float(x), tuple(samples)) for x, samples in sorted(found.items()))
        return Curve(self.name, self.title, series, self.x_label, self.y_label, points, self.x_is_log, self.y_is_log, note)


def write_down(results: Results, folder: Path, log: Log) -> None:
    """Write the results and show them."""
    for one in results.figures:
        log(f"{one.title}: {one.median:,.4g} {one.unit} (± {one.spread:.0%})")
    for line in results.curves:
        middles = ", ".join(f"{point.x:,.0f}: {sorted(point.samples)[len(point.samples) // 2]:,.4g}" for point in line.points)
        log(f"{line.title}, {line.series} [{line.y_label}]: {middles}")
    log(f"wrote {results.write(folder)}")
