"""The building, start and stop of one API worker."""

import asyncio
import contextlib
import gc
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import cast

import structlog
from asyncpg import InterfaceError, PostgresError
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from grab_service.cell.connect import WatchedPool
from grab_service.cell.connect import connect as connect_redis
from grab_service.cell.connect import fill_pool as fill_redis_pool
from grab_service.cell.nodes import Nodes
from grab_service.cell.scripts import ScriptSources
from grab_service.cell.store import Cell, CellError, Replicas
from grab_service.grabpath.admission import Admission
from grab_service.grabpath.batcher import Batcher
from grab_service.grabpath.gate import Gate
from grab_service.grabpath.path import GrabPath
from grab_service.grabpath.rates import RateLimit
from grab_service.grabpath.responder import Responder
from grab_service.grabpath.view import View
from grab_service.identity.refused_sign_ins import RefusedSignIns
from grab_service.metrics import FLUSH_INTERVAL_S, GrabMetrics
from grab_service.server.bodies import Bodies
from grab_service.server.connections import Connections
from grab_service.server.counting import Counting
from grab_service.server.figures import WorkerFigures
from grab_service.server.lane import ASGIApp, GrabLane
from grab_service.server.opening import LOOK_INTERVAL_S, OPEN_ANYWAY_S, Opening
from grab_service.settings import Settings
from grab_service.sql.engine import connect as connect_sql
from grab_service.sql.engine import fill_pool as fill_sql_pool
from grab_service.sql.lives import note_claims, note_life
from grab_service.vocabulary.durability import TOLD_MAX, Durability
from grab_service.vocabulary.passes import PassKeys

COLLECTED_AFTER = (50_000, 20, 100)
LIVES_INTERVAL_S = 0.5
"""A rush makes objects by the hundred thousand, none of them in a cycle: looking for cycles every 700 costs a tenth of it."""

ORDINARY_CONNECTIONS_MAX = 8
"""To Redis, for everything but grabs."""

OF_THE_VIEW = 2
"""Connections to Redis besides those of batches: for the tail, and for reading what a campaign looks like."""

_REFUSALS = ("28", "3D", "42501")
"""Beginnings of Postgres' codes by which it refuses this worker: as this user, in this database, with these rights."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Worker:
    """Everything one worker is made of. Opens no connection before `running`.

    `redis` and `cell` are for ordinary calls; grabs and the view have connections of their own.
    """

    settings: Settings
    keys: PassKeys
    redis: Redis
    grab_redis: Redis
    cell: Cell
    grab_cell: Cell
    engine: AsyncEngine
    view: View
    path: GrabPath
    batcher: Batcher
    connections: Connections
    admission: Admission
    bodies: Bodies
    metrics: GrabMetrics
    counting: Counting
    figures: WorkerFigures
    refused: RefusedSignIns
    clock: Callable[[], float]
    opening: Opening

    @classmethod
    def build(cls, settings: Settings, opening: Opening | None = None) -> "Worker":
        """Put the parts together; `settings` must name Redis, Postgres and at least one secret."""
        keys = settings.pass_keys()
        # Pages must not take the connections of grabs: a view that waits behind them gets old, and a batch is not sent.
        redis, grab_redis = (
            connect_redis(
                settings.redis_url,
                connections_max=connections_max,
                timeout_s=min(settings.redis_timeout_s, settings.grab_deadline_s),
                nodes=Nodes(settings.cell),
            )
            for connections_max in (ORDINARY_CONNECTIONS_MAX, settings.batches_in_flight_max + OF_THE_VIEW)
        )
        replicas, sources = Replicas(settings.replicas_min, settings.replica_wait_s), ScriptSources.read()
        cell = Cell(redis, settings.cell, sources, replicas, durability=settings.durability)
        # The last one is left for reading the table of scripts.
        grab_cell = Cell(
            grab_redis, settings.cell, sources, replicas, kept_max=settings.batches_in_flight_max + OF_THE_VIEW - 1
        )
        clock = time.monotonic
        metrics = GrabMetrics()
        only_recorded = settings.durability is Durability.RECORD
        view = View(
            grab_cell,
            poll_s=settings.view_poll_s,
            age_max_s=settings.view_age_max_s,
            clock=clock,
            told_max=0 if only_recorded else TOLD_MAX,  # what is not on record is told to nobody then
        )
        responder = Responder(view, metrics, only_recorded=only_recorded)
        batcher = Batcher(
            grab_cell,
            metrics,
            responder,
            batch_max=settings.batch_max,
            batches_in_flight_max=settings.batches_in_flight_max,
            waiting_max=settings.waiting_max,
            deadline_s=settings.grab_deadline_s,
            clock=clock,
            on_sold_out=view.wake,
        )
        path = GrabPath(
            view=view,
            gate=Gate(view, age_max_s=settings.view_age_max_s),
            batcher=batcher,
            rate=RateLimit(settings.rate_burst, settings.rate_window_s),
            keys=keys,
            responder=responder,
            metrics=metrics,
            clock=clock,
        )
        admission = Admission(settings.ordinary_max)
        bodies = Bodies(
            body_max_bytes=settings.body_max_bytes,
            import_max_bytes=settings.import_max_bytes,
            may_import=lambda token: path.is_of_ops(token, clock()),
        )
        connections = Connections(settings.connections_max, clock, drain_s=settings.drain_s)
        engine = connect_sql(settings.database_url, connections_max=settings.sql_connections_max)
        return cls(
            settings,
            keys,
            redis,
            grab_redis,
            cell,
            grab_cell,
            engine,
            view,
            path,
            batcher,
            connections,
            admission,
            bodies,
            metrics,
            Counting(cell, metrics, view),
            WorkerFigures(
                connections,
                admission,
                engine,
                redis=cast("WatchedPool", redis.connection_pool),
                redis_grabs=cast("WatchedPool", grab_redis.connection_pool),
            ),
            RefusedSignIns(),
            clock,
            opening or Opening(),
        )

    def lane(self, app: ASGIApp) -> GrabLane:
        """The application that a server is given: the grab path in front of all other calls."""
        settings = self.settings
        return GrabLane(
            app,
            self.path,
            self.view.now_ms,
            self.connections,
            self.admission,
            self.bodies,
            self.figures.grabs,
            self.figures.calls.refusals,
            fast=settings.fast_lane,
            origins=settings.allowed_origins,
            probes_port=settings.probes_port,
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the view up to date; on the way out, finish what was sent and close the connections."""
        tail = asyncio.create_task(self.view.run())
        regularly = (
            self._flush(),
            self.counting.run(),
            self.connections.sweep_regularly(),
            self.refused.log_regularly(),
            self._note_lives(),
            self.figures.watch_loop(),
        )
        regular = [asyncio.create_task(one) for one in regularly]
        try:
            if not await self._get_ready():
                regular.append(asyncio.create_task(self._fill_pools_later()))
            # What exists now lives as long as the worker: the collector need not look at it again.
            gc.collect()
            gc.freeze()
            gc.set_threshold(*COLLECTED_AFTER)
            yield
        finally:
            await self.batcher.close()
            self.view.stop()
            for task in regular:
                task.cancel()
            await asyncio.gather(tail, *regular, return_exceptions=True)
            self._flush_once()
            await self.counting.close()
            self.refused.log_counts()
            await self.grab_redis.aclose()
            await self.redis.aclose()
            await self.engine.dispose()

    async def _note_lives(self) -> None:
        """Write down of each life of the cell that ended meanwhile how far it was seen, and its claims that may be lost."""
        told = self.view.told.outlived
        while True:
            await asyncio.sleep(LIVES_INTERVAL_S)
            try:
                while told:
                    epoch, claims = told[0]
                    await note_claims(self.engine, epoch, claims)
                    del told[0]
                for cell in (self.grab_cell, self.cell):
                    while cell.outlived:
                        epoch, seq = cell.outlived[0]
                        await note_life(self.engine, epoch, seq)
                        log.warning("life_outlived", epoch=epoch, seq=seq)
                        del cell.outlived[0]
            except (SQLAlchemyError, PostgresError, OSError, TimeoutError) as error:
                log.warning("life_not_noted", epoch=epoch, why=type(error).__name__)

    async def _get_ready(self) -> bool:
        """Return when this worker may open, see `Opening`; False if it opens before the cell can be read."""
        opening = self.opening
        while not await self.view.wait_complete(opening.look_s):
            if not opening.must_be_ready:
                return False
            opening.on_wait(self.view.lost_because)
        while (why := await self._fill_pools()) and opening.must_be_ready:
            opening.on_wait(why)
            await asyncio.sleep(LOOK_INTERVAL_S)
        return True

    async def _fill_pools_later(self) -> None:
        while not await self.view.wait_complete(OPEN_ANYWAY_S):
            pass
        await self._fill_pools()

    async def _fill_pools(self) -> str:
        """Open the connections of grabs and pages, which would all wait for them at once; why that is refused, or nothing.

        Of a Postgres that is away nothing is said: the other workers have it no better, and grabs go on.
        """
        try:
            await fill_redis_pool(self.grab_redis, self.settings.batches_in_flight_max)
            await fill_redis_pool(self.redis, ORDINARY_CONNECTIONS_MAX)
            await self.cell.read_campaigns([])
        except (RedisError, CellError, OSError) as error:
            return f"Redis does not serve this worker: {error}"
        try:
            async with asyncio.timeout(OPEN_ANYWAY_S):
                await fill_sql_pool(self.engine, self.settings.sql_connections_max)
        except (PostgresError, InterfaceError, SQLAlchemyError, OSError, TimeoutError) as error:
            origin = getattr(error, "orig", error)
            if str(getattr(origin, "sqlstate", None)).startswith(_REFUSALS):
                return f"Postgres refuses this worker: {origin}"
            log.warning("postgres_not_ready", why=repr(origin)[:300])
        return ""

    async def _flush(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_INTERVAL_S)
            self._flush_once()

    def _flush_once(self) -> None:
        age_s = self.clock() - self.view.complete_at_s
        unconfirmed = sum(cell.unconfirmed for cell in (self.grab_cell, self.cell))
        self.grab_cell.unconfirmed = self.cell.unconfirmed = 0
        self.metrics.flush(waiting=self.batcher.waiting, view_age_s=age_s, unconfirmed=unconfirmed)
        self.figures.flush()
