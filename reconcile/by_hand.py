"""Single actions of the ledger, by hand, without leaving it running."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from grab_service.audit import AuditReport, audit_cell
from grab_service.cell.nodes import Nodes
from grab_service.cell.store import CellClosedError
from grab_service.settings import Settings
from reconcile.drain.cursor import Cursor
from reconcile.guard.closed_audit import audit_closed
from reconcile.process import build, end
from reconcile.rebuild.progress import OnProgress
from reconcile.redis_link import RedisLink

LEAD_WAIT_S: Final = 5.0


class AnotherLeadsError(Exception):
    """A ledger is running and leads; only the leader may rebuild the cell."""


@dataclass(frozen=True, slots=True)
class Drained:
    """What one run of the drain moved, and where it ended; None if the cell never began."""

    entries: int
    claims: int
    cursor: Cursor | None


async def drain_once(settings: Settings) -> Drained:
    """Drain what the log has now. Harmless beside a running ledger.

    Raises:
        DrainFaultError: an entry cannot be drained; those before it are.
        LinkBrokenError, SQLAlchemyError, OSError: Redis or Postgres does not answer.
    """
    async with build(settings) as ledger, _link(settings.redis_url, settings) as link:
        until_seq = int(await link.call("HGET", ledger.cell.keys.cell, "seq") or 0)
        # A step that looked at nothing may have been overtaken; the next one sees what the other did.
        while await ledger.drain.step(link) or (ledger.drain.cursor is not None and ledger.drain.cursor.last_seq < until_seq):
            pass
        return Drained(ledger.counters.entries, ledger.counters.claims, ledger.drain.cursor)


async def audit_once(settings: Settings) -> AuditReport:
    """Audit the cell: claims one by one if it is open, its counters if it is closed.

    Raises:
        AuditImpossibleError: the ledger does not keep up.
        CellError, LinkBrokenError, SQLAlchemyError, OSError: Redis or Postgres does not answer.
    """
    async with build(settings) as ledger:
        try:
            return await audit_cell(ledger.cell, ledger.engine, ledger.redis)
        except CellClosedError:
            async with _link(settings.redis_url_of_guard, settings) as link:
                return await audit_closed(link, ledger.engine, settings.cell)


async def recover_once(settings: Settings, on_progress: OnProgress | None = None) -> Cursor | None:
    """Close the cell, rebuild it from Postgres, audit it, open it; where the log stands then. Safe to repeat.

    Safe to break off, too, at any moment: until it is whole the cell is closed, and a ledger that is started finishes it.
    `on_progress` is told how far it has come; otherwise the log is.

    Raises:
        AnotherLeadsError: stop the running ledger first; or leave it to that one, which recovers by itself where it may.
        NothingToRecoverError: Postgres never knew of this cell.
        DoubtError: the rebuilt cell is not sound.
        UnfitServerError: the guard's user of Redis lacks a right; nothing was touched.
        FencedOffError, NotLeadingError, CursorMovedError: another ledger has taken over meanwhile.
        LinkBrokenError, SQLAlchemyError, OSError: not finished; the cell is closed.
    """
    async with build(settings, on_progress) as ledger, _running(ledger.leader.run()):
        try:
            async with asyncio.timeout(LEAD_WAIT_S):
                await ledger.leader.wait()
        except TimeoutError:
            raise AnotherLeadsError(settings.cell) from None
        async with _running(ledger.drain.run()), _link(settings.redis_url_of_guard, settings) as link:
            await ledger.guard.recover(link, "by_hand")
            await ledger.guard.arm(link)
        return ledger.drain.cursor


@asynccontextmanager
async def _link(redis_url: str, settings: Settings) -> AsyncIterator[RedisLink]:
    link = await RedisLink.open(redis_url, settings.redis_timeout_s, Nodes(settings.cell))
    try:
        yield link
    finally:
        await link.close()


@asynccontextmanager
async def _running(part: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(part)
    try:
        yield
    finally:
        await end([task])
