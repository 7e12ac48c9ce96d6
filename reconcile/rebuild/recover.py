"""The recovery of a cell after a loss: it is closed, drained as far as possible, begun anew, and rebuilt from Postgres.

Every step may be cut short and taken again: until the last one the cell is closed and looks empty. Each attempt begins an epoch
of its own; an epoch that something was granted in is never used again.
"""

from collections.abc import Callable
from typing import Any

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from grab_service.vocabulary.keys import CellKeys
from reconcile.drain.cursor import Cursor, read_cursor
from reconcile.drain.drain import Drain
from reconcile.drain.pages import DrainFaultError
from reconcile.epochs import Session, begin_next, opening_commands
from reconcile.fence import Fence
from reconcile.life import Life, LifeCheck, judge
from reconcile.rebuild.losses import note_lost_life
from reconcile.rebuild.progress import OnProgress
from reconcile.rebuild.rebuild import empty_cell, fill_cell
from reconcile.redis_link import RedisLink

log = structlog.get_logger()


class NothingToRecoverError(Exception):
    """Postgres never knew of this cell."""


async def close_cell(fence: Fence) -> None:
    """Close it, even if its scripts live: none of them answers to a nonce it was not baked with."""
    await fence.write([["HDEL", fence.keys.cell, "nonce"], ["DEL", fence.keys.scripts]])


async def recover(
    fence: Fence,
    engine: AsyncEngine,
    session: Session,
    cell_name: str,
    reason: str,
    new_drain: Callable[[], Drain],
    on_progress: OnProgress,
) -> Cursor:
    """Rebuild the cell from Postgres; afterwards it is closed, and its log begins with the new epoch. The cursor before that.

    Args:
        fence: on the cell.
        engine: of Postgres; read only.
        session: the leader's own, on which the epoch begins.
        cell_name: of the cell.
        reason: for the record.
        new_drain: drains what the lost life still has.
        on_progress: is told how far the rebuild has come.

    Raises:
        NothingToRecoverError: there is nothing to rebuild from.
        FencedOffError, NotLeadingError, CursorMovedError: another ledger is at it; nothing of its work was touched.
        LinkBrokenError, SQLAlchemyError, OSError, TimeoutError: not finished; the cell is closed. Take it again.
    """
    link, keys = fence.link, fence.keys
    await close_cell(fence)
    left = await _drain_what_goes(link, engine, cell_name, keys, new_drain)
    cursor = await read_cursor(engine, cell_name)
    if cursor is None:
        raise NothingToRecoverError(cell_name)
    await note_lost_life(engine, await Life.read(link, keys))
    begun = await begin_next(session, cell_name, cursor, reason)
    log.warning("recovery_began", cell=cell_name, reason=reason, epoch=begun.epoch, from_seq=begun.last_seq, left_behind=left)
    await empty_cell(fence)
    members_version = await fill_cell(fence, engine, on_progress)
    now_ms = (await Life.read(link, keys)).now_ms
    await fence.write(opening_commands(keys, begun, cursor.epoch, reason, now_ms, members_version))
    log.info("recovery_done", cell=cell_name, epoch=begun.epoch, seq=begun.last_seq + 1)
    return begun


async def _drain_what_goes(
    link: RedisLink, engine: AsyncEngine, cell_name: str, keys: CellKeys, new_drain: Callable[[], Drain]
) -> dict[str, Any] | None:
    """Drain what the lost life still has and Postgres lacks; what could not be drained, in words, or None."""
    if judge(await Life.read(link, keys), await read_cursor(engine, cell_name)) is not LifeCheck.GOES_ON:
        return None
    drain = new_drain()
    try:
        while await drain.step(link):
            pass
    except DrainFaultError as fault:
        return {"fault": fault.kind.value, **fault.detail}
    return None
