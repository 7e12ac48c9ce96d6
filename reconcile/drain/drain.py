"""The drain writes the log into Postgres, each entry exactly once.

The cursor in Postgres moves in the transaction that writes the rows, by compare-and-set: of two ledgers, or of one that slept
through its replacement, only one commits. An entry that is missing, repeated, foreign, unreadable or impossible stops the drain
where it is; nothing is ever skipped. An outage of Postgres or Redis is no such fault: the drain waits.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import asyncpg
import structlog
from redis.exceptions import ResponseError
from sqlalchemy import update
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from grab_service.cell.store import CellError
from grab_service.signing import SigningKeys
from grab_service.sql.tables import log_cursor
from grab_service.vocabulary.events import Event, Granted, Returned
from grab_service.vocabulary.keys import CellKeys
from reconcile.alarms import LOG_KINDS, AlarmKind, clear_alarms, raise_alarm
from reconcile.counters import Counters
from reconcile.drain.appliers.statement import WrongEntryError
from reconcile.drain.chain import Checkpoints, write_links
from reconcile.drain.cursor import Cursor, CursorMovedError, read_cursor
from reconcile.drain.pages import DrainFaultError, Page, Pages
from reconcile.drain.rows import Rows
from reconcile.redis_link import LinkBrokenError, RedisLink

BLOCK_S: Final = 0.5
RETRY_FIRST_S: Final = 0.05
RETRY_MAX_S: Final = 1.0
NOT_BEGUN_S: Final = 0.05
NOTE_INTERVAL_S: Final = 0.2
"""Between two notes of the cursor in the cell where nobody waits for them."""
GATHER_S: Final = 0.02
"""A transaction costs as much as many claims. Where members wait for their record, nothing is gathered."""
IMPOSSIBLE: Final = ("22", "23")
"""Postgres' classes of errors that say that a row cannot be: data exception, integrity constraint violation."""

log = structlog.get_logger()

OpenLink = Callable[[], Awaitable[RedisLink]]
Pause = Callable[[str], Awaitable[None]]


class Drain:
    """Drains one cell. `cursor` and `fault` may be read at any time; one `run` or one caller of `step` at a time."""

    def __init__(
        self,
        engine: AsyncEngine,
        cell_name: str,
        open_link: OpenLink,
        counters: Counters,
        *,
        pause: Pause,
        entries_max: int,
        rows_max: int,
        awaited: bool = False,
        signing_keys: SigningKeys | None = None,
    ) -> None:
        """`awaited`: members wait for their record. Nothing is gathered, and each commit is noted in the cell at once."""
        self.cursor: Cursor | None = None
        self.fault: DrainFaultError | None = None
        self._engine = engine
        self._cell_name = cell_name
        self._keys = CellKeys.of(cell_name)
        self._open_link = open_link
        self._counters = counters
        self._pause = pause
        self._awaited = awaited
        self._pages = Pages(self._keys, entries_max, rows_max)
        self._ahead: tuple[RedisLink, Page] | None = None
        self._rows = Rows()
        self._one_by_one = 0
        self._trouble: str | None = None
        self._alarmed: dict[str, Any] | None = None
        self._alarms_known_clear = False
        self._moved = asyncio.Condition()
        self._nudged = asyncio.Event()
        self._checkpoints = Checkpoints(engine, signing_keys or SigningKeys())
        self._noted: tuple[RedisLink, Cursor] | None = None
        self._noted_at_s = float("-inf")
        self._note_refused = False

    async def run(self) -> None:
        """Drain until cancelled, whatever happens to Redis and Postgres meanwhile."""
        retry_s = RETRY_FIRST_S
        while True:
            began = self.cursor
            try:
                link = await self._open_link()
                try:
                    await self._run_on(link)
                finally:
                    await link.close()
            except LinkBrokenError as error:
                self._log_waiting("redis", error)
            except DrainFaultError as fault:
                await self._stop_at(fault)
            except (SQLAlchemyError, OSError, TimeoutError) as error:
                self._log_waiting("postgres", error)
            # A drain that got further has reason to try again soon.
            retry_s = RETRY_FIRST_S if self.cursor != began else min(2 * retry_s, RETRY_MAX_S)
            await self._rest(retry_s)

    async def _run_on(self, link: RedisLink) -> None:
        while True:
            suspects = self._one_by_one
            drained = await self.step(link)
            if self._one_by_one > suspects:
                continue
            await self._all_is_well()
            if self.cursor is None:
                await self._rest(NOT_BEGUN_S)
                continue
            await self._checkpoints.sign(self.cursor)
            if not drained:
                # Returns as soon as there is something to read.
                block_ms = int(BLOCK_S * 1000)
                if self._awaited:
                    # A ledger that slept through its replacement may have left an older note: write it again.
                    self._noted = None
                await link.call("XREAD", "COUNT", 1, "BLOCK", block_ms, "STREAMS", self._keys.log, self.cursor.last_id)
            elif self._ahead is None and not self._one_by_one:
                await self._rest(0.0 if self._awaited else GATHER_S)

    async def step(self, link: RedisLink) -> int:
        """Drain one batch; the number of entries looked at, 0 if there are none or somebody else was faster.

        Raises:
            DrainFaultError: the next entry cannot be drained; those before it are.
            LinkBrokenError: Redis did not answer.
            SQLAlchemyError, OSError, TimeoutError: Postgres did not, or refused for reasons of its own.
        """
        if self.cursor is None:
            await self._moved_to(await read_cursor(self._engine, self._cell_name))
        cursor = self.cursor
        if cursor is None:
            return 0
        await self._note_recorded(link, cursor)
        page = self._take_ahead(link, cursor) or await self._pages.read(link, cursor, single=self._one_by_one > 0)
        self._counters.lag_seq = max(0, page.cell_seq - cursor.last_seq)
        self._counters.cell_epoch = cursor.epoch
        if page.events:
            # Also counted while Postgres is away: then nothing is drained, and the lag grows.
            self._counters.lag_seconds = _waited_ms(page.events[0]) / 1000
            try:
                await self._commit_and_read_ahead(link, page)
            except CursorMovedError:
                self._counters.conflicts += 1
                log.info("drain_overtaken", epoch=cursor.epoch, last_seq=cursor.last_seq)
                # The other ledger may have reached the seq that a caller of `reach` waits for.
                await self._moved_to(await read_cursor(self._engine, self._cell_name))
                return 0
        if page.fault is not None and not await self._was_overtaken(cursor):
            raise page.fault
        return len(page.events)

    async def _note_recorded(self, link: RedisLink, cursor: Cursor) -> None:
        """Leave in the cell how far the log is on record, and the head of the chain there.

        Workers may wait for that to tell of claims, and fold the chain on from there. The cursor is one that Postgres has
        committed, so that an older note, too, says nothing that is not so.
        """
        now_s = time.monotonic()
        if self._noted == (link, cursor) or not (self._awaited or now_s - self._noted_at_s >= NOTE_INTERVAL_S):
            return
        self._noted_at_s = now_s
        try:
            await link.call("HSET", self._keys.cell, "recorded", cursor.note)
        except ResponseError as error:
            # Memory or disk is full, or it is a replica now. Draining needs no write in Redis and goes on; winners wait.
            if not self._note_refused:
                log.warning("drain_note_refused", why=str(error)[:300])
            self._note_refused = True
        else:
            self._noted, self._note_refused = (link, cursor), False

    async def _was_overtaken(self, cursor: Cursor) -> bool:
        """Whether the fault only means that our cursor is stale: a new epoch began, or another ledger drained."""
        # Compared with the cursor of the page: the guard may have read a newer one since.
        await self._moved_to(await read_cursor(self._engine, self._cell_name))
        return self.cursor != cursor

    async def reach(self, seq: int, timeout_s: float) -> bool:
        """Wait until the cursor is at `seq` or beyond; False if that was not in time, or the drain has stopped."""
        self._nudged.set()
        try:
            async with asyncio.timeout(timeout_s), self._moved:
                await self._moved.wait_for(lambda: self.fault is not None or self._is_at(seq))
        except TimeoutError:
            pass
        return self._is_at(seq)

    async def reload(self) -> None:
        """Read the cursor again, and look at what stopped the drain with new eyes: an epoch may have begun."""
        self.fault, self._one_by_one = None, 0
        await self._moved_to(await read_cursor(self._engine, self._cell_name))
        self._nudged.set()

    def _is_at(self, seq: int) -> bool:
        return self.cursor is not None and self.cursor.last_seq >= seq

    def _take_ahead(self, link: RedisLink, cursor: Cursor) -> Page | None:
        """The page that was read ahead, if it is what comes next, and from the life of Redis that is spoken to now."""
        ahead, self._ahead = self._ahead, None
        return ahead[1] if ahead is not None and ahead[0] is link and ahead[1].after == cursor else None

    async def _commit_and_read_ahead(self, link: RedisLink, page: Page) -> None:
        """While Postgres is busy with a page, read the next one."""
        if not page.has_next or self._one_by_one:
            await self._commit(page)
            return
        reading = asyncio.create_task(self._pages.read(link, page.until))
        try:
            await self._commit(page)
        finally:
            # The link takes one call at a time.
            try:
                await asyncio.wait([reading])
            except asyncio.CancelledError:
                reading.cancel()
                raise
            # An error, or a seeming fault, shows again when the page is read in its turn.
            if not reading.cancelled() and reading.exception() is None:
                ahead = reading.result()
                self._ahead = (link, ahead) if ahead.events and ahead.fault is None else None

    async def _commit(self, page: Page) -> None:
        cursor, moved, events = page.after, page.until, page.events
        last = events[-1]
        try:
            async with self._engine.begin() as connection:
                taken = await connection.execute(
                    update(log_cursor)
                    .where(log_cursor.c.cell == self._cell_name)
                    .where(log_cursor.c.epoch == cursor.epoch, log_cursor.c.last_seq == cursor.last_seq)
                    .values(last_seq=moved.last_seq, last_id=moved.last_id, at_ms=moved.at_ms, head=moved.head)
                )
                if taken.rowcount != 1:
                    raise CursorMovedError
                await self._rows.write(connection, events)
                await write_links(connection, events, page.links)
        except (DBAPIError, WrongEntryError) as error:
            if isinstance(error, DBAPIError) and not _is_impossible(error):
                raise
            if len(events) > 1:
                # Which entry it is shows when they are drained one by one; those before it are sound.
                self._one_by_one = len(events)
                return
            why = str(error.orig) if isinstance(error, DBAPIError) else str(error)
            campaign_id = getattr(last, "campaign_id", None)
            raise DrainFaultError(AlarmKind.LOG_VIOLATION, why, moved.last_id, campaign_id) from error
        self._one_by_one = max(0, self._one_by_one - len(events))
        await self._moved_to(moved)
        self._count(events)

    async def _moved_to(self, cursor: Cursor | None) -> None:
        self.cursor = cursor
        async with self._moved:
            self._moved.notify_all()

    def _count(self, events: list[Event]) -> None:
        counters = self._counters
        counters.batches += 1
        counters.entries += len(events)
        counters.claims += sum(len(event.rows) for event in events if isinstance(event, Granted))
        counters.returns += sum(isinstance(event, Returned) for event in events)
        counters.lag_seq = max(0, counters.lag_seq - (events[-1].last_seq - events[0].seq + 1))
        counters.lag_seconds = _waited_ms(events[0]) / 1000

    async def _stop_at(self, fault: DrainFaultError) -> None:
        self.fault = fault
        self._alarms_known_clear = False
        async with self._moved:
            self._moved.notify_all()
        if self._alarmed == fault.detail:
            return
        self._counters.alarms += 1
        try:
            await raise_alarm(self._engine, fault.kind, fault.detail)
            if fault.kind is AlarmKind.LOG_VIOLATION and fault.campaign_id is not None:
                await self._pause(fault.campaign_id)
        except (SQLAlchemyError, CellError, OSError, TimeoutError) as error:
            # The next try says it again.
            log.warning("drain_alarm_not_complete", kind=fault.kind.value, why=str(error)[:300])
        else:
            self._alarmed = fault.detail

    async def _all_is_well(self) -> None:
        if self._trouble is not None:
            log.info("drain_goes_on", after=self._trouble)
            self._trouble = None
        if not self._alarms_known_clear or self.fault is not None:
            await clear_alarms(self._engine, LOG_KINDS)
            self.fault, self._alarmed, self._alarms_known_clear = None, None, True

    def _log_waiting(self, who: str, error: Exception) -> None:
        if self._trouble != who:
            log.warning("drain_waits", waits_for=who, why=str(error)[:300])
            self._trouble = who

    async def _rest(self, seconds: float) -> None:
        self._nudged.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._nudged.wait()
        except TimeoutError:
            pass


def _waited_ms(event: Event) -> int:
    return max(0, time.time_ns() // 1_000_000 - event.at_ms)


def _is_impossible(error: DBAPIError) -> bool:
    """Whether Postgres, or the driver before it, says that such rows cannot be, and not that it cannot now."""
    cause: BaseException | None = error.orig
    if not isinstance(cause, asyncpg.PostgresError | asyncpg.InterfaceError):
        cause = cause.__cause__ if cause is not None else None  # SQLAlchemy has put an exception of its own before it
    if isinstance(cause, asyncpg.InterfaceError):
        return isinstance(cause, ValueError)
    return isinstance(cause, asyncpg.PostgresError) and (cause.sqlstate or "").startswith(IMPOSSIBLE)
