"""How does the log become rows, each entry exactly once?

The cursor in Postgres moves in the transaction that writes the rows, by compare-and-set: of two ledgers, or of one that slept
through its replacement, only one commits. An entry that is missing, repeated, foreign, unreadable or impossible stops the drain
where it is; nothing is ever skipped. Postgres or Redis being away is no such fault: it is waited out.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
import structlog
from sqlalchemy import select, update
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from grab_service.cell.store import CellError
from grab_service.sql.tables import log_cursor
from grab_service.vocabulary.events import BadEntryError, EpochBegan, Event, Granted, Returned, decode
from grab_service.vocabulary.keys import CellKeys
from reconcile.alarms import LOG_KINDS, AlarmKind, clear_alarms, raise_alarm
from reconcile.counters import Counters
from reconcile.rows import Rows, WrongEntryError
from reconcile.wire import Wire, WireBrokenError

BLOCK_S: Final = 0.5
RETRY_FIRST_S: Final = 0.05
RETRY_MAX_S: Final = 1.0
NOT_BEGUN_S: Final = 0.05
IMPOSSIBLE: Final = ("22", "23")
"""Postgres' classes of errors that say that a row cannot be: data exception, integrity constraint violation."""

log = structlog.get_logger()

OpenWire = Callable[[], Awaitable[Wire]]
Pause = Callable[[str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Cursor:
    """Up to where the log is in Postgres; `at_ms` is the time of that entry."""

    epoch: int
    last_seq: int
    last_id: str
    at_ms: int


class DrainFaultError(Exception):
    """The log cannot be drained any further until somebody has looked."""

    def __init__(self, kind: AlarmKind, why: str, entry_id: str, campaign_id: str | None = None) -> None:
        super().__init__(f"{kind.value} at {entry_id}: {why}")
        self.kind = kind
        self.campaign_id = campaign_id
        self.detail: dict[str, Any] = {"why": why, "entry_id": entry_id}
        if campaign_id is not None:
            self.detail["campaign_id"] = campaign_id


class CursorMovedError(Exception):
    """Somebody else has drained meanwhile; nothing was written."""


async def read_cursor(engine: AsyncEngine, cell_name: str) -> Cursor | None:
    """The cursor as Postgres has it; None if the cell never began."""
    async with engine.connect() as connection:
        row = (await connection.execute(select(log_cursor).where(log_cursor.c.cell == cell_name))).one_or_none()
    return None if row is None else Cursor(row.epoch, row.last_seq, row.last_id, row.at_ms)


class Drain:
    """Drains one cell. `cursor` and `fault` may be read at any time; one `run` or one caller of `step` at a time."""

    def __init__(
        self,
        engine: AsyncEngine,
        cell_name: str,
        open_wire: OpenWire,
        counters: Counters,
        *,
        pause: Pause,
        entries_max: int,
        rows_max: int,
    ) -> None:
        self.cursor: Cursor | None = None
        self.fault: DrainFaultError | None = None
        self._engine = engine
        self._cell_name = cell_name
        self._keys = CellKeys.of(cell_name)
        self._open_wire = open_wire
        self._counters = counters
        self._pause = pause
        self._entries_max = entries_max
        self._rows_max = rows_max
        self._rows = Rows()
        self._one_by_one = 0
        self._trouble: str | None = None
        self._said: dict[str, Any] | None = None
        self._alarms_known_clear = False
        self._moved = asyncio.Condition()
        self._nudged = asyncio.Event()

    async def run(self) -> None:
        """Drain until cancelled, whatever happens to Redis and Postgres meanwhile."""
        retry_s = RETRY_FIRST_S
        while True:
            began = self.cursor
            try:
                wire = await self._open_wire()
                try:
                    await self._run_on(wire)
                finally:
                    await wire.close()
            except WireBrokenError as error:
                self._say_trouble("redis", error)
            except DrainFaultError as fault:
                await self._stop_at(fault)
            except (SQLAlchemyError, OSError, TimeoutError) as error:
                self._say_trouble("postgres", error)
            # Whoever got further has reason to try again soon.
            retry_s = RETRY_FIRST_S if self.cursor != began else min(2 * retry_s, RETRY_MAX_S)
            await self._rest(retry_s)

    async def _run_on(self, wire: Wire) -> None:
        while True:
            suspects = self._one_by_one
            drained = await self.step(wire)
            if self._one_by_one > suspects:
                continue
            await self._all_is_well()
            if self.cursor is None:
                await self._rest(NOT_BEGUN_S)
            elif not drained:
                # Returns as soon as there is something to read.
                block_ms = int(BLOCK_S * 1000)
                await wire.call("XREAD", "COUNT", 1, "BLOCK", block_ms, "STREAMS", self._keys.log, self.cursor.last_id)

    async def step(self, wire: Wire) -> int:
        """Drain one batch; the number of entries looked at, 0 if there are none or somebody else was faster.

        Raises:
            DrainFaultError: the next entry cannot be drained; those before it are.
            WireBrokenError: Redis did not answer.
            SQLAlchemyError, OSError, TimeoutError: Postgres did not, or refused for reasons of its own.
        """
        if self.cursor is None:
            await self._moved_to(await read_cursor(self._engine, self._cell_name))
        cursor = self.cursor
        if cursor is None:
            return 0
        count = 1 if self._one_by_one else self._entries_max
        page, cell_seq = await wire.calls(
            [
                ["XRANGE", self._keys.log, cursor.last_id, "+", "COUNT", count + 1],
                ["HGET", self._keys.cell, "seq"],
            ]
        )
        events, fault = self._read(cursor, page, count)
        self._counters.lag_seq = max(0, int(cell_seq or 0) - cursor.last_seq)
        if events:
            # Also told while Postgres is away, when nothing is drained and only this grows.
            self._counters.lag_ms = _waited_ms(events[0])
            try:
                await self._commit(cursor, events)
            except CursorMovedError:
                self._counters.conflicts += 1
                log.info("drain_overtaken", epoch=cursor.epoch, last_seq=cursor.last_seq)
                # Whoever waits for a seq has perhaps got it by the other's work, and nothing else may come for long.
                await self._moved_to(await read_cursor(self._engine, self._cell_name))
                return 0
        if fault is not None and not await self._was_overtaken(cursor):
            raise fault
        return len(events)

    async def _was_overtaken(self, cursor: Cursor) -> bool:
        """Whether what looks like a fault is one of this ledger's knowledge: an epoch has begun, or somebody else drains."""
        # Compared with the cursor that was judged by: the guard may have read a newer one since.
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

    def _read(self, cursor: Cursor, page: list[list[Any]], count: int) -> tuple[list[Event], DrainFaultError | None]:
        """The events that come next, and the fault that ends them, if there is one."""
        entries = page
        anchored = bool(page) and page[0][0] == cursor.last_id.encode()
        if anchored:
            # The last entry drained is still there; it says whether this is the same log.
            try:
                last = decode(*page[0])
            except BadEntryError as error:
                return [], DrainFaultError(AlarmKind.LOG_LOST, str(error), cursor.last_id)
            if (last.at_ms, last.last_seq) != (cursor.at_ms, cursor.last_seq):
                why = f"the entry drained last is another one now: of {last.at_ms}, not of {cursor.at_ms}"
                return [], DrainFaultError(AlarmKind.LOG_LOST, why, cursor.last_id)
            entries = page[1:]
        events: list[Event] = []
        expected, rows = cursor.last_seq + 1, 0
        for entry_id, pairs in entries[:count]:
            if rows >= self._rows_max:
                break
            name = entry_id.decode(errors="replace")
            try:
                event = decode(entry_id, pairs)
            except BadEntryError as error:
                return events, DrainFaultError(AlarmKind.LOG_BAD_ENTRY, str(error), name)
            if event.epoch != cursor.epoch:
                why = f"of epoch {event.epoch}, expected is {cursor.epoch}"
                return events, DrainFaultError(AlarmKind.LOG_FOREIGN_EPOCH, why, name)
            if event.seq != expected:
                kind = AlarmKind.LOG_GAP if event.seq > expected else AlarmKind.LOG_DUPLICATE
                return events, DrainFaultError(kind, f"begins with seq {event.seq}, expected is {expected}", name)
            if not anchored and not events and not isinstance(event, EpochBegan):
                why = "the entry drained last is not in the log any more, and no epoch begins here"
                return events, DrainFaultError(AlarmKind.LOG_LOST, why, name)
            events.append(event)
            expected = event.last_seq + 1
            rows += event.last_seq - event.seq + 1
        return events, None

    async def _commit(self, cursor: Cursor, events: list[Event]) -> None:
        last = events[-1]
        moved = Cursor(cursor.epoch, last.last_seq, f"{last.last_seq}-0", last.at_ms)
        try:
            async with self._engine.begin() as connection:
                taken = await connection.execute(
                    update(log_cursor)
                    .where(log_cursor.c.cell == self._cell_name)
                    .where(log_cursor.c.epoch == cursor.epoch, log_cursor.c.last_seq == cursor.last_seq)
                    .values(last_seq=moved.last_seq, last_id=moved.last_id, at_ms=moved.at_ms)
                )
                if taken.rowcount != 1:
                    raise CursorMovedError
                await self._rows.write(connection, events)
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
        counters.claims += sum(len(event.claims) for event in events if isinstance(event, Granted))
        counters.returns += sum(isinstance(event, Returned) for event in events)
        counters.lag_seq = max(0, counters.lag_seq - (events[-1].last_seq - events[0].seq + 1))
        counters.lag_ms = _waited_ms(events[0])

    async def _stop_at(self, fault: DrainFaultError) -> None:
        self.fault = fault
        self._alarms_known_clear = False
        async with self._moved:
            self._moved.notify_all()
        if self._said == fault.detail:
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
            self._said = fault.detail

    async def _all_is_well(self) -> None:
        if self._trouble is not None:
            log.info("drain_goes_on", after=self._trouble)
            self._trouble = None
        if not self._alarms_known_clear or self.fault is not None:
            await clear_alarms(self._engine, LOG_KINDS)
            self.fault, self._said, self._alarms_known_clear = None, None, True

    def _say_trouble(self, who: str, error: Exception) -> None:
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
