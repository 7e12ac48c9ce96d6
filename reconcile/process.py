"""The process of the ledger: its parts, how they run together, and how they end."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import structlog
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from grab_service.cell.connect import connect as connect_redis
from grab_service.cell.nodes import Nodes
from grab_service.cell.scripts import ScriptSources
from grab_service.cell.store import Cell
from grab_service.settings import Settings
from grab_service.sql.engine import connect as connect_sql
from grab_service.vocabulary.durability import Durability
from reconcile.counters import Counters, show
from reconcile.drain.drain import BLOCK_S, Drain
from reconcile.guard.closed_audit import audit_closed
from reconcile.guard.guard import Guard
from reconcile.leader import Leader
from reconcile.maintenance.counts import CountsReader
from reconcile.maintenance.housekeeping import Housekeeping
from reconcile.maintenance.redis_watch import ServerWatch
from reconcile.maintenance.sweep import Sweep
from reconcile.rebuild.progress import OnProgress, ProgressLog
from reconcile.rebuild.recover import recover
from reconcile.redis_link import RedisLink

REDIS_CONNECTIONS_MAX: Final = 4
SQL_CONNECTIONS_MAX: Final = 5
DRAIN_CONNECTIONS_MAX: Final = 2
AWAITED_ROWS_MAX: Final = 1024
"""Claims in one transaction, about, where members wait for it."""
DRAIN_STANDS_STILL_MAX_S: Final = 5
CANCEL_AGAIN_S: Final = 0.5

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Ledger:
    """The parts of one ledger, built and not yet running."""

    settings: Settings
    engine: AsyncEngine
    redis: Redis
    cell: Cell
    counters: Counters
    leader: Leader
    drain: Drain
    new_drain: Callable[[], Drain]
    guard: Guard
    sweep: Sweep
    housekeeping: Housekeeping
    server_watch: ServerWatch
    counts_reader: CountsReader


@asynccontextmanager
async def build(settings: Settings, on_progress: OnProgress | None = None) -> AsyncIterator[Ledger]:
    """Put the parts together; their connections are closed in the end. `on_progress` gets the progress of a rebuild."""
    engine = connect_sql(settings.database_url, connections_max=SQL_CONNECTIONS_MAX)
    # Of its own, because a ledger that stands still in the midst of a batch must not keep its successor from draining.
    draining = connect_sql(
        settings.database_url,
        connections_max=DRAIN_CONNECTIONS_MAX,
        idle_in_transaction_timeout_s=DRAIN_STANDS_STILL_MAX_S,
        ask_before_use=False,
    )
    nodes, nodes_of_guard = Nodes(settings.cell), Nodes(settings.cell)
    redis = connect_redis(
        settings.redis_url, connections_max=REDIS_CONNECTIONS_MAX, timeout_s=settings.redis_timeout_s, nodes=nodes
    )
    sources = ScriptSources.read()
    counters = Counters()
    audit_soon = asyncio.Event()
    cell = Cell(redis, settings.cell, sources)

    async def open_link() -> RedisLink:
        return await RedisLink.open(settings.redis_url, max(settings.redis_timeout_s, 2 * BLOCK_S), nodes)

    async def open_link_of_guard() -> RedisLink:
        timeout_s = max(settings.redis_timeout_s, 2 * BLOCK_S)
        return await RedisLink.open(settings.redis_url_of_guard, timeout_s, nodes_of_guard)

    async def pause(campaign_id: str) -> None:
        await cell.set_state(campaign_id, "pause")

    awaited, signing_keys = settings.durability is Durability.RECORD, settings.signing_keys()

    def new_drain() -> Drain:
        return Drain(
            draining,
            settings.cell,
            open_link,
            counters,
            pause=pause,
            entries_max=settings.drain_entries_max,
            rows_max=min(settings.drain_rows_max, AWAITED_ROWS_MAX) if awaited else settings.drain_rows_max,
            awaited=awaited,
            signing_keys=signing_keys,
        )

    leader = Leader(settings.database_url, counters)
    drain = new_drain()
    guard = Guard(
        engine,
        settings.cell,
        sources,
        open_link_of_guard,
        drain,
        leader,
        counters,
        audit=lambda link: audit_closed(link, engine, settings.cell),
        recover=lambda fence, reason: recover(
            fence, engine, leader, settings.cell, reason, new_drain, on_progress or ProgressLog()
        ),
        audit_soon=audit_soon,
        interval_s=settings.guard_interval_s,
    )
    sweep = Sweep(engine, cell, leader, counters, settings.sweep_interval_s)
    housekeeping = Housekeeping(
        engine, redis, cell, leader, counters, settings.log_retention_h, settings.deep_audit_interval_s, audit_soon
    )
    server_watch = ServerWatch(
        engine, settings.cell, open_link_of_guard, leader, counters, settings.durability, settings.replicas_min
    )
    counts_reader = CountsReader(engine, settings.cell, open_link, leader)
    try:
        yield Ledger(
            settings,
            engine,
            redis,
            cell,
            counters,
            leader,
            drain,
            new_drain,
            guard,
            sweep,
            housekeeping,
            server_watch,
            counts_reader,
        )
    finally:
        await redis.aclose()
        await draining.dispose()
        await engine.dispose()


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Run the ledger until `stop` is set.

    Raises:
        ExceptionGroup: a part has crashed; the others were ended. Start again.
    """
    async with build(settings) as ledger:
        if settings.ledger_metrics_port is not None:
            show(ledger.counters, ledger.cell.release, settings.host, settings.ledger_metrics_port)
        log.info("ledger_started", cell=settings.cell)
        parts = {
            "leader": ledger.leader.run(),
            "drain": _drain_as_leader(ledger),
            "guard": ledger.guard.run(),
            "sweep": ledger.sweep.run(),
            "server_watch": ledger.server_watch.run(),
            "counts": ledger.counts_reader.run(),
            **ledger.housekeeping.works(),
        }
        tasks = [asyncio.create_task(part, name=name) for name, part in parts.items()]
        told = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([*tasks, told], return_when=asyncio.FIRST_COMPLETED)
            ended = [task.get_name() for task in tasks if task.done()]
        finally:
            await end([*tasks, told])
        crashes = [error for task in tasks if not task.cancelled() and (error := task.exception()) is not None]
        if crashes:
            raise BaseExceptionGroup("a part of the ledger has crashed", crashes)
        assert not ended, f"parts of the ledger have come to an end: {ended}"
        log.info("ledger_stopped", cell=settings.cell, claims=ledger.counters.claims)


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel until all have ended.

    More than once: sending through redis-py goes by `asyncio.wait_for`, which on Python 3.11 can swallow a cancellation.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN_S)


async def _drain_as_leader(ledger: Ledger) -> None:
    await ledger.leader.wait()
    await ledger.drain.run()
