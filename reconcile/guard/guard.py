"""The guard arms the cell only in a life of Redis that was audited against Postgres.

Redis forgets its scripts when it restarts and when another replica takes over. The guard looks for them on one connection that
never reconnects by itself; if they are not there, or the cell lies behind the records in Postgres, it audits, and only then
loads them, on the same connection: scripts cannot land in a life that was not audited. Before it changes anything it takes the
fence of the cell, so that a guard that slept through its replacement changes nothing any more.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import structlog
from redis.exceptions import ResponseError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from grab_service.audit import AuditReport
from grab_service.cell.scripts import GRAB, ScriptSources, new_nonce, sha_of
from grab_service.vocabulary.claims import RECORDS
from grab_service.vocabulary.keys import CellKeys
from reconcile.alarms import AlarmKind, clear_alarms, raise_alarm
from reconcile.counters import Counters
from reconcile.drain.cursor import Cursor, CursorMovedError, read_cursor
from reconcile.drain.drain import Drain, OpenLink
from reconcile.epochs import FIRST_REASON, begin_first, begin_next, opening_commands
from reconcile.fence import Fence, FencedOffError
from reconcile.guard.redis_settings import UnfitServerError, check_server_settings, was_replica
from reconcile.guard.rights import check_rights
from reconcile.leader import Leader, NotLeadingError
from reconcile.life import REBUILD, Life, LifeCheck, judge
from reconcile.rebuild.recover import close_cell
from reconcile.redis_link import Command, LinkBrokenError, RedisLink

STUCK_S: Final = 30.0
"""A drain that has not moved for so long does not catch up."""
CATCH_UP_STEP_S: Final = 2.0
STAND_BY_LOOK_S: Final = 1.0
RETRY_FIRST_S: Final = 0.05
RETRY_MAX_S: Final = 1.0
ASK_POSTGRES_S: Final = 2.0
"""Interval of the look at the record in Postgres: a restored database is noticed without a grab."""
MAY_HAVE_LOST: Final = "may_have_lost"
OTHER_RECORDS: Final = "other_records"
"""Reasons for which an epoch begins."""

NO_POSTGRES: Final = "Postgres cannot be asked, so nothing can be audited"

log = structlog.get_logger()

ClosedAudit = Callable[[RedisLink], Awaitable[AuditReport]]
"""Compares the closed cell with Postgres."""

Recover = Callable[[Fence, str], Awaitable[Cursor]]
"""Rebuilds the cell from Postgres, for a reason; the cursor from which it goes on."""


class DoubtError(Exception):
    """The cell is closed, and stays so until an operator has looked."""

    def __init__(self, kind: AlarmKind, why: str, detail: Mapping[str, Any] | None = None) -> None:
        super().__init__(why)
        self.kind = kind
        self.why = why
        self.detail = dict(detail or {})


class Guard:
    """Watches one cell, and arms it when that is sound. `closed_because` says why it is closed, or is None."""

    def __init__(
        self,
        engine: AsyncEngine,
        cell_name: str,
        sources: ScriptSources,
        open_link: OpenLink,
        drain: Drain,
        leader: Leader,
        counters: Counters,
        *,
        audit: ClosedAudit,
        recover: Recover,
        audit_soon: asyncio.Event,
        interval_s: float,
    ) -> None:
        self.closed_because: str | None = "not looked at yet"
        self._engine = engine
        self._cell_name = cell_name
        self._keys = CellKeys.of(cell_name)
        self._sources = sources
        self._open_link = open_link
        self._drain = drain
        self._leader = leader
        self._counters = counters
        self._audit = audit
        self._recover = recover
        self._audit_soon = audit_soon
        self._interval_s = interval_s
        self._fence: Fence | None = None
        self._rebuilt_in_vain: int | None = None
        self._alarmed: tuple[str, dict[str, Any]] | None = None
        self._alarms_may_be_open = True
        self._warned: str | None = None
        self._ask_postgres_at_s = float("-inf")

    async def run(self) -> None:
        """Watch until cancelled."""
        retry_s = RETRY_FIRST_S
        while True:
            await self._until_leading()
            try:
                link = await self._open_link()
                try:
                    while self._leader.leads:
                        await self.look(link)
                        retry_s = RETRY_FIRST_S
                        await asyncio.sleep(self._interval_s)
                finally:
                    await link.close()
            except LinkBrokenError as error:
                self._close("Redis cannot be reached", {"why": str(error)})
                # Nothing can be armed while it is away; to be there soon after it costs little.
                retry_s = RETRY_FIRST_S
            except ResponseError as error:
                self._close("Redis refuses what the guard asks of it", {"why": str(error)})
            except UnfitServerError as error:
                await self._alarm(DoubtError(AlarmKind.CELL_CLOSED, str(error)))
            except DoubtError as doubt:
                await self._alarm(doubt)
            except (FencedOffError, NotLeadingError, CursorMovedError) as error:
                self._close(str(error)[:300])
            except (SQLAlchemyError, OSError, TimeoutError) as error:
                self._close(NO_POSTGRES, {"why": str(error)[:300]})
            await asyncio.sleep(retry_s)
            retry_s = min(2 * retry_s, RETRY_MAX_S)

    async def _until_leading(self) -> None:
        """Wait until this ledger leads; note if it waits for Postgres while a restarted Redis needs an audit."""
        while not self._leader.leads:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STAND_BY_LOOK_S):
                    await self._leader.wait()
            if self._leader.lacks_postgres and self.closed_because != NO_POSTGRES:
                with contextlib.suppress(LinkBrokenError, ResponseError):
                    link = await self._open_link()
                    try:
                        life = await Life.read(link, self._keys)
                        if not await self._knows(link, life, self._fields_of_this_release()):
                            self._close(NO_POSTGRES)
                    finally:
                        await link.close()

    async def look(self, link: RedisLink) -> None:
        """See whether this life of Redis is armed and where it should be; make it so if that is sound.

        Raises:
            DoubtError, UnfitServerError: it is closed and must stay so.
            FencedOffError, NotLeadingError, CursorMovedError: another ledger is at it.
            LinkBrokenError, ResponseError, SQLAlchemyError, OSError, TimeoutError: it cannot be told, or was not finished.
        """
        if await self._is_well(link, await self._drained()):
            # Fences off a former leader. If Redis has no memory for the token, it has none for grabs either.
            with contextlib.suppress(ResponseError):
                await self._take(link)
            await self._opened()
            return
        fence = self._fence = await Fence.take(link, self._keys, self._leader.confirm)
        # Earlier reads may have shown another ledger's work half done, or the belief of this one's drain.
        drained = await read_cursor(self._engine, self._cell_name)
        life = await Life.read(link, self._keys)
        if await self._is_well(link, drained):
            await self._drain.reload()
            await self._opened()
        elif not _is_behind(life, drained) and life.records == RECORDS and await self._other_release_lives(link, life):
            await self._load_beside(fence, life)
        else:
            if life.nonce is not None and drained is not None and (_is_behind(life, drained) or life.records != RECORDS):
                log.error("cell_is_another_life", cell=self._cell_name, epoch=life.epoch, seq=life.seq)
                await close_cell(fence)
            await self._make_sound(link)
            await self.arm(link)

    async def _drained(self) -> Cursor | None:
        """The cursor on record, as the drain knows it; read from Postgres now and then, which may have been restored."""
        now_s = asyncio.get_running_loop().time()
        known = self._drain.cursor
        if known is not None and now_s < self._ask_postgres_at_s:
            return known
        self._ask_postgres_at_s = now_s + ASK_POSTGRES_S  # also if it does not answer: the guard has to look at Redis
        try:
            on_record = await read_cursor(self._engine, self._cell_name)
        except (SQLAlchemyError, OSError, TimeoutError):
            if known is None:
                raise
            return known  # while Postgres is away the cell stays as it is
        if known is not None and (on_record is None or _place(on_record) < _place(known)):
            log.error(
                "postgres_went_back",
                cell=self._cell_name,
                known=_place(known),
                on_record=None if on_record is None else _place(on_record),
            )
            await self._drain.reload()
        return on_record

    async def _is_well(self, link: RedisLink, drained: Cursor | None) -> bool:
        life = await Life.read(link, self._keys)
        return not _is_behind(life, drained) and await self._knows(link, life, self._fields_of_this_release())

    async def _take(self, link: RedisLink) -> Fence:
        """The fence of the cell on this connection, taken if it was not."""
        if self._fence is None or self._fence.link is not link:
            self._fence = await Fence.take(link, self._keys, self._leader.confirm)
        return self._fence

    def _fields_of_this_release(self) -> list[bytes]:
        return [self._sources.table_field(name).encode() for name in self._sources.by_name]

    async def _knows(self, link: RedisLink, life: Life, fields: list[bytes]) -> bool:
        """Whether this life of Redis knows the scripts that the cell's table has in these fields."""
        shas = [life.table[field] for field in fields if field in life.table]
        if life.nonce is None or not fields or len(shas) != len(fields):
            return False
        return all(await link.call("SCRIPT", "EXISTS", *shas))

    async def _other_release_lives(self, link: RedisLink, life: Life) -> bool:
        """Whether the cell is armed, only not for this release. The table holds nothing but scripts of the nonce in force."""
        own = self._sources.table_field("").encode()
        others = [field for field in life.table if b":" in field and not field.startswith(own)]
        return any(field.endswith(b":" + GRAB.encode()) for field in others) and await self._knows(link, life, others)

    async def _load_beside(self, fence: Fence, life: Life) -> None:
        """Add the scripts of this release to an armed life; on the connection on which it was seen to be armed."""
        assert life.nonce is not None, "an armed cell has a nonce"
        await check_rights(fence.link, self._cell_name, self._sources)
        scripts = self._sources.bake(life.nonce)
        await fence.write([*_loading(scripts), ["HSET", self._keys.scripts, *self._table_of(scripts)]])
        log.info("release_loaded_beside", cell=self._cell_name, release=self._sources.digest)

    async def _make_sound(self, link: RedisLink) -> None:
        """Return when the closed cell is what Postgres says it is; begin it, or rebuild it, where that is the way.

        Raises:
            DoubtError, UnfitServerError: somebody has to look.
        """
        await check_rights(link, self._cell_name, self._sources)
        warning = await check_server_settings(link)
        if warning not in {None, self._warned}:
            log.warning("redis_may_lose_acknowledged_grabs", cell=self._cell_name, why=warning)
        self._warned = warning
        cursor = await read_cursor(self._engine, self._cell_name)
        life = await Life.read(link, self._keys)
        check = judge(life, cursor)
        log.info("cell_judged", cell=self._cell_name, verdict=check.value, epoch=life.epoch, seq=life.seq)
        self._counters.armed = 0
        if check is LifeCheck.FIRST_START:
            await self._begin(link, life)
        elif check is LifeCheck.GOES_ON:
            await self._catch_up(life.seq)
            if life.records != RECORDS:
                await self._alarm(DoubtError(AlarmKind.CELL_CLOSED, "its records are of another release; it is rebuilt"))
                await self.recover(link, OTHER_RECORDS)
                return
            report = await self._audit(link)
            if not report.holds:
                doubt = DoubtError(AlarmKind.AUDIT_RED, "the audit found faults", {"faults": report.faults})
                if life.epoch == self._rebuilt_in_vain:
                    raise doubt
                await self._alarm(doubt)
                await self.recover(link, "audit_red")
            elif warning is not None or await was_replica(link):
                await self._begin_anew(link)
        else:
            doubt = DoubtError(AlarmKind.CELL_CLOSED, check.value, {"epoch": life.epoch, "seq": life.seq})
            if check not in REBUILD:
                raise doubt
            await self._alarm(doubt)
            await self.recover(link, check.value)

    async def recover(self, link: RedisLink, reason: str) -> None:
        """Rebuild the cell from Postgres and audit it; afterwards it is closed and sound.

        Raises:
            DoubtError: it is not sound, although it was just rebuilt.
            UnfitServerError: Redis would refuse something on the way; nothing was touched.
        """
        await check_rights(link, self._cell_name, self._sources)
        begun = await self._recover(await self._take(link), reason)
        self._counters.recoveries += 1
        await self._catch_up(begun.last_seq + 1)
        report = await self._audit(link)
        if not report.holds:
            # The fault is in Postgres; to rebuild from it again would change nothing.
            self._rebuilt_in_vain = begun.epoch
            raise DoubtError(AlarmKind.AUDIT_RED, "the audit of the rebuilt cell found faults", {"faults": report.faults})

    async def _begin(self, link: RedisLink, life: Life) -> None:
        """The first start of all."""
        cursor = await begin_first(self._engine, self._cell_name)
        await (await self._take(link)).write(opening_commands(self._keys, cursor, 0, FIRST_REASON, life.now_ms, 0))
        await self._drain.reload()
        log.info("cell_began", cell=self._cell_name)

    async def _begin_anew(self, link: RedisLink) -> None:
        """Begin an epoch in a cell that is sound as far as Postgres knows, but may have lost what nobody drained.

        Workers may have seen such a loss. They would wait for ever for a cell of this epoch that is as far as they saw it, and
        its `seq`s, granted once more, would make claim ids that members were told before.
        """
        cursor = await read_cursor(self._engine, self._cell_name)
        assert cursor is not None, "an audited cell has a cursor"
        life = await Life.read(link, self._keys)
        version = int(await link.call("HGET", self._keys.cell, "members_version") or 0)
        fence = await self._take(link)
        begun = await begin_next(self._leader, self._cell_name, cursor, MAY_HAVE_LOST)
        await fence.write(opening_commands(self._keys, begun, cursor.epoch, MAY_HAVE_LOST, life.now_ms, version))
        log.warning("cell_began_anew", cell=self._cell_name, epoch=begun.epoch, from_seq=begun.last_seq)
        await self._catch_up(begun.last_seq + 1)

    async def _catch_up(self, seq: int) -> None:
        """Wait until all that this life has logged is in Postgres, for as long as the drain gets on."""
        await self._drain.reload()
        before = self._drain.cursor
        moved_s = asyncio.get_running_loop().time()
        while not await self._drain.reach(seq, CATCH_UP_STEP_S):
            now_s, fault, cursor = asyncio.get_running_loop().time(), self._drain.fault, self._drain.cursor
            if fault is not None:
                detail = {"fault": fault.kind.value, "fault_detail": fault.detail}
                raise DoubtError(AlarmKind.CELL_CLOSED, "the log cannot be drained", detail)
            if cursor != before:
                before, moved_s = cursor, now_s
                log.info("cell_waits_for_the_drain", cell=self._cell_name, drained_seq=cursor and cursor.last_seq, seq=seq)
            elif now_s - moved_s >= STUCK_S:
                raise DoubtError(AlarmKind.CELL_CLOSED, "the log is not drained in time")

    async def arm(self, link: RedisLink) -> None:
        """Bake a new nonce into the scripts and load them, the grab last, on the connection of the audit.

        Raises:
            FencedOffError, NotLeadingError: another ledger has taken over.
        """
        fence = await self._take(link)
        nonce = new_nonce()
        scripts = self._sources.bake(nonce)
        epoch = (await Life.read(link, self._keys)).epoch
        await fence.write(
            [
                ["HSET", self._keys.cell, "nonce", nonce],
                ["DEL", self._keys.scripts],
                ["HSET", self._keys.scripts, "epoch", epoch, *self._table_of(scripts)],
                *_loading(scripts),
            ]
        )
        self._counters.armings += 1
        # It was armed by its counters; the claims are looked at one by one while the sale goes on.
        self._audit_soon.set()
        log.info("cell_armed", cell=self._cell_name, epoch=epoch, release=self._sources.digest)
        await self._opened()

    def _table_of(self, scripts: dict[str, str]) -> list[str]:
        return [part for name, source in scripts.items() for part in (self._sources.table_field(name), sha_of(source))]

    async def _opened(self) -> None:
        """The cell is armed. That is so even if Postgres cannot be told that the alarm is over; it is told later."""
        self._counters.armed = 1
        if self.closed_because is not None:
            log.info("cell_open", cell=self._cell_name)
            self.closed_because, self._alarmed = None, None
        if self._alarms_may_be_open:
            with contextlib.suppress(SQLAlchemyError, OSError, TimeoutError):
                # An audit's alarm ends with the next green audit in the background, which follows an arming.
                await clear_alarms(self._engine, (AlarmKind.CELL_CLOSED,))
                self._alarms_may_be_open = False

    def _close(self, because: str, detail: Mapping[str, Any] | None = None) -> None:
        if self.closed_because != because:
            log.warning("cell_closed", cell=self._cell_name, because=because, **(detail or {}))
        self.closed_because = because
        self._counters.armed = 0

    async def _alarm(self, doubt: DoubtError) -> None:
        """Say it, once, in the log and in Postgres, if that can be reached."""
        self._close(doubt.why, doubt.detail)
        self._alarms_may_be_open = True
        if self._alarmed == (doubt.why, doubt.detail):
            return
        try:
            await raise_alarm(self._engine, doubt.kind, {"why": doubt.why, **doubt.detail})
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            log.warning("alarm_not_written", kind=doubt.kind.value, why=str(error)[:300])
        else:
            self._counters.alarms += 1
            self._alarmed = (doubt.why, doubt.detail)


def _place(cursor: Cursor) -> tuple[int, int]:
    return cursor.epoch, cursor.last_seq


def _is_behind(life: Life, drained: Cursor | None) -> bool:
    """Whether the cell is another life than the one that was drained, or has less than that."""
    return drained is not None and (life.epoch != drained.epoch or life.seq < drained.last_seq)


def _loading(scripts: Mapping[str, str]) -> list[Command]:
    return [["SCRIPT", "LOAD", source] for source in scripts.values()]
