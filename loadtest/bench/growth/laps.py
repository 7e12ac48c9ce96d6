"""What does one lap of grabs bring, exact to the last unit: answers a second, and processor time for each?"""

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from loadtest.bench.backlog import cpu_s
from loadtest.bench.closed_loop import Lap, closed_loop
from loadtest.bench.figures import Curve, Point, Results
from loadtest.bench.stand import Stand, pin
from loadtest.crowd import Member, Target, build_requests

CONNECTIONS: Final = 64
SETTLED_S: Final = 0.1

Say = Callable[[str], None]


class InexactError(Exception):
    """Not exactly the stock was won, or somebody heard what was not to be heard: the figures are worth nothing."""


@dataclass(frozen=True, slots=True)
class Run:
    """One lap, and what it cost the service and Redis, in µs of processor time for each answer."""

    lap: Lap
    service_us: float
    redis_us: float

    @property
    def per_second(self) -> float:
        return self.lap.per_second


async def wins(stand: Stand, members: Sequence[Member], connections: int = CONNECTIONS, times: int = 1) -> Run:
    """Everybody asks for a unit, and there is one for each; so many times over, in one campaign after the other.

    Raises:
        InexactError: not exactly the stock was won.
    """
    await stand.drained()
    campaign_ids = await asyncio.gather(*(stand.campaign(len(members)) for _ in range(times)))
    runs = []
    for campaign_id in campaign_ids:
        runs.append(await rush(stand, [campaign_id], members, connections))
        await check(stand, campaign_id, runs[-1], {201: len(members)}, len(members))
    return _joined(runs)


async def refusals(stand: Stand, members: Sequence[Member], connections: int = CONNECTIONS, times: int = 1) -> Run:
    """Everybody but the first asks, so many times over, for what the first has taken.

    Raises:
        InexactError: somebody heard otherwise.
    """
    await stand.drained()
    campaign_id = await stand.campaign(1)
    await rush(stand, [campaign_id], members[:1], 1)
    await asyncio.sleep(SETTLED_S)
    run = await rush(stand, [campaign_id], [*members[1:]] * times, connections)
    await check(stand, campaign_id, run, {409: (len(members) - 1) * times}, 1)
    return run


async def rush(stand: Stand, campaign_ids: Sequence[str], members: Sequence[Member], connections: int) -> Run:
    """Each member asks once, for the campaigns in turn."""
    targets = [Target("127.0.0.1", stand.settings.port, f"/v1/campaigns/{one}/claims") for one in campaign_ids]
    parts = [build_requests(members[number :: len(targets)], target) for number, target in enumerate(targets)]
    requests = [request for turn in zip(*parts, strict=False) for request in turn]
    requests += [part[-1] for part in parts if len(part) > len(parts[-1])]
    services, redis = [stand.programs.api.pid, *stand.service_pids()], [stand.redis_pid()]
    before = cpu_s(sorted(set(services))), cpu_s(redis)
    lap = await asyncio.to_thread(closed_loop, stand.settings.port, requests, connections)
    used_s = cpu_s(sorted(set(services))) - before[0], cpu_s(redis) - before[1]
    return Run(lap, *(used / lap.answers * 1e6 for used in used_s))


async def check(stand: Stand, campaign_id: str, run: Run, by_status: dict[int, int], claims: int) -> None:
    """See that these were the answers, and that so many claims are held.

    Raises:
        InexactError: they are not.
    """
    held = await stand.claims(campaign_id)
    if run.lap.by_status != by_status or held != claims:
        raise InexactError(f"answers {run.lap.by_status} and {held} claims, where {by_status} and {claims} were to be")


def _joined(runs: Sequence[Run]) -> Run:
    """Several laps as if they were one."""
    if len(runs) == 1:
        return runs[0]
    laps = [run.lap for run in runs]
    by_status: Counter[int] = Counter()
    for lap in laps:
        by_status.update(lap.by_status)
    latencies_s, won_s = ([each for lap in laps for each in getattr(lap, name)] for name in ("latencies_s", "won_latencies_s"))
    answers = sum(by_status.values())
    seconds = sum(lap.seconds for lap in laps)
    whole = Lap(answers, seconds, dict(by_status), latencies_s, won_s, sum(lap.last_win_s for lap in laps))
    service_us, redis_us = (
        sum(getattr(run, name) * run.lap.answers for run in runs) / answers for name in ("service_us", "redis_us")
    )
    return Run(whole, service_us, redis_us)


async def redis_bytes(stand: Stand) -> int:
    """All that Redis holds now."""
    return int((await stand.redis.info("memory"))["used_memory"])


def resident_bytes(stand: Stand) -> int:
    """All that the workers have in memory now."""
    return sum(int(psutil.Process(pid).memory_info().rss) for pid in stand.service_pids())


@contextlib.asynccontextmanager
async def arranged(stand: Stand) -> AsyncIterator[None]:
    """The service alone on the first core, everybody else on the others; with one core, all on that."""
    cores = sorted(os.sched_getaffinity(0))
    others = cores[1:] or cores
    postgres = psutil.Process(stand.stack.postgres.pid)
    around = [stand.redis_pid(), stand.programs.ledger.pid, postgres.pid, *(one.pid for one in postgres.children())]
    pin([stand.programs.api.pid, *stand.service_pids()], cores[:1])
    pin([os.getpid(), *around], others)
    try:
        yield
    finally:
        pin([os.getpid()], cores)


Samples = Mapping[float, Sequence[float]]


@dataclass(frozen=True, slots=True)
class Picture:
    """What several curves share: name of the picture, its title, its axes."""

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


def leave(results: Results, folder: Path, say: Say) -> None:
    """Write the results and show them."""
    for one in results.figures:
        say(f"{one.title}: {one.median:,.4g} {one.unit} (± {one.spread:.0%})")
    for line in results.curves:
        middles = ", ".join(f"{point.x:,.0f}: {sorted(point.samples)[len(point.samples) // 2]:,.4g}" for point in line.points)
        say(f"{line.title}, {line.series} [{line.y_label}]: {middles}")
    say(f"wrote {results.write(folder)}")
