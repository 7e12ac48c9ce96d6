r"""The stampede: it plans the rush, shares it out over processes, and adds up their figures.

    python -m loadtest.stampede --url http://127.0.0.1:8000 --campaign ID --passes passes.tsv \
        --connections 2000 --schedule ramp --spread-s 2 --receipts var/receipts --json var/stampede.json

Each member means to tap at a moment of their own and latency counts from there, however late the tap could be sent:
the load is open. Receipts are written before anything is sent; `loadtest.verify` compares them with the truth.
"""

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from loadtest import clock
from loadtest.generator.config import StampedeConfig
from loadtest.generator.processes import ShardProcess
from loadtest.generator.result import Circumstances, StampedeResult, conclude
from loadtest.generator.schedule import Shape
from loadtest.generator.shard import ShardOrder
from loadtest.generator.tally import Tally
from loadtest.passes import read_passes
from loadtest.receipts import SUFFIX, ReceiptBook, clock_line
from loadtest.service import CampaignFacts, Service, ServiceError

# If the opening has passed when everyone is ready, the rush starts this much later.
LATE_START_S = 0.1
PROGRESS_KEYS = ("answered", "won", "retries", "errors", "connections")

OnProgress = Callable[[dict[str, int]], None]


class StampedeError(Exception):
    """The rush cannot be made as asked; the message says why."""


@dataclass(frozen=True, slots=True)
class _Scene:
    """Facts learnt before the start."""

    run: str
    members: int
    facts: CampaignFacts
    clock: clock.ServerClock
    anchor_ns: int

    def monotonic_ns(self, server_ms: float) -> int:
        return round((server_ms * 1000 - self.clock.offset_us) * 1000) - self.anchor_ns

    def server_ms(self, monotonic_ns: int) -> float:
        return ((monotonic_ns + self.anchor_ns) / 1000 + self.clock.offset_us) / 1000


def run(config: StampedeConfig, on_progress: OnProgress | None = None) -> StampedeResult:
    """Make the rush and wait for its end; see `stampede`. Not from within a running event loop."""
    return asyncio.run(stampede(config, on_progress))


async def stampede(config: StampedeConfig, on_progress: OnProgress | None = None) -> StampedeResult:
    """Make the rush, in processes of its own, and wait for its end.

    Being cancelled after the start ends the rush early: the result then counts all that are left as errors.

    Args:
        config: what to do.
        on_progress: called now and then with `answered`, `won`, `retries`, `errors` and `connections` over all.

    Raises:
        StampedeError: the start is too far off, or there are fewer connections than processes.
        PassesError: the passes are of no use.
        ServiceError: the service could not be asked.
        ShardError: a sending process failed.
    """
    if not 1 <= config.processes <= config.connections:
        raise StampedeError(f"{config.processes} processes cannot share {config.connections} connections")
    scene = await asyncio.to_thread(_look_around, config)
    orders = _orders(config, scene)
    shards: list[ShardProcess] = []
    try:
        for order in orders:
            shards.append(await ShardProcess.start(order))  # noqa: PERF401  those that started must be ended
        for shard in shards:
            await shard.ready()
        start_ns = _start_ns(config, scene)
        for shard in shards:
            shard.send({"start_ns": start_ns})
        tally = await _gather_tallies(shards, on_progress)
    finally:
        for shard in shards:
            await shard.end()
    await asyncio.to_thread(_note_clock_again, config, scene, orders)
    return conclude(tally, _circumstances(config, scene, start_ns))


def _look_around(config: StampedeConfig) -> _Scene:
    members = len(read_passes(config.passes))
    config.receipts.mkdir(parents=True, exist_ok=True)
    anchor_ns = clock.anchor_ns()
    with Service(config.url) as service:
        facts = service.campaign(config.campaign)
        server_clock = clock.synchronise(service.now_ms, anchor_ns)
    run_name = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"
    scene = _Scene(run_name, members, facts, server_clock, anchor_ns)
    away_s = (scene.monotonic_ns(_start_ms(config, facts)) - time.monotonic_ns()) / 1e9
    if away_s > config.wait_s:
        raise StampedeError(f"the start is {away_s:,.0f} s away; waiting is bounded by {config.wait_s:,.0f} s")
    return scene


def _orders(config: StampedeConfig, scene: _Scene) -> list[ShardOrder]:
    prefix = config.idempotency_prefix
    if prefix is None and scene.facts.limit_per_member > 1:
        prefix = scene.run
    share, left_over = divmod(config.connections, config.processes)
    return [
        ShardOrder(
            config=config,
            run=scene.run,
            index=index,
            connections=share + (index < left_over),
            receipts=config.receipts / f"{scene.run}-{index}{SUFFIX}",
            anchor_ns=scene.anchor_ns,
            clock=scene.clock,
            idempotency_prefix=prefix,
        )
        for index in range(config.processes)
    ]


def _start_ms(config: StampedeConfig, facts: CampaignFacts) -> int:
    return (facts.opens_at_ms if config.start_at_ms is None else config.start_at_ms) - config.lead_ms


def _start_ns(config: StampedeConfig, scene: _Scene) -> int:
    planned_ns = scene.monotonic_ns(_start_ms(config, scene.facts))
    return max(planned_ns, time.monotonic_ns() + round(LATE_START_S * 1e9))


async def _gather_tallies(shards: list[ShardProcess], on_progress: OnProgress | None) -> Tally:
    figures: dict[int, dict[str, int]] = {}

    def note(index: int, progress: dict[str, int]) -> None:
        figures[index] = progress
        if on_progress is not None:
            on_progress({key: sum(figure[key] for figure in figures.values()) for key in PROGRESS_KEYS})

    gathering = asyncio.gather(*(shard.tally(note) for shard in shards))
    try:
        tallies = await asyncio.shield(gathering)
    except asyncio.CancelledError:
        for shard in shards:
            shard.send({"stop": True})
        tallies = await gathering
    total = Tally()
    for tally in tallies:
        total.add(tally)
    return total


def _note_clock_again(config: StampedeConfig, scene: _Scene, orders: list[ShardOrder]) -> None:
    """Write down how the clocks stand after the rush: they may have drifted apart."""
    try:
        with Service(config.url) as service:
            line = clock_line(clock.synchronise(service.now_ms, scene.anchor_ns))
    except ServiceError:
        return  # it may have been killed on purpose; the earlier facts must do
    for order in orders:
        with ReceiptBook(order.receipts, again=True) as book:
            book.append([line])


def _circumstances(config: StampedeConfig, scene: _Scene, start_ns: int) -> Circumstances:
    return Circumstances(
        run=scene.run,
        url=config.url,
        campaign=config.campaign,
        members=scene.members,
        taps=config.taps,
        processes=config.processes,
        schedule=config.schedule.value,
        spread_s=0.0 if config.schedule is Shape.INSTANT else config.spread_s,
        connections_wanted=config.connections,
        opens_at_ms=scene.facts.opens_at_ms,
        start_ms=round(scene.server_ms(start_ns), 3),
        clock_offset_ms=scene.clock.offset_us / 1000,
        clock_error_ms=scene.clock.error_us / 1000,
        rtt_ms=scene.clock.rtt_us / 1000,
    )
