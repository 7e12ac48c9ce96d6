"""How does the cell come back after a loss? Closed, drained as far as it goes, begun anew, rebuilt from Postgres.

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
from reconcile.fence import Hold
from reconcile.life import Life, LifeCheck, judge
from reconcile.rebuild.losses import note_lost_life
from reconcile.rebuild.progress import Hear
from reconcile.rebuild.rebuild import empty_cell, fill_cell
from reconcile.redis_link import Wire

log = structlog.get_logger()


class NothingToRecoverError(Exception):
    """Postgres never knew of this cell."""


async def close_cell(hold: Hold) -> None:
    """Close it, even if its scripts live: none of them answers to a nonce it was not baked with."""
    await hold.write([["HDEL", hold.keys.cell, "nonce"], ["DEL", hold.keys.scripts]])


async def recover(
    hold: Hold, engine: AsyncEngine, session: Session, cell_name: str, reason: str, new_drain: Callable[[], Drain], hear: Hear
) -> Cursor:
    """Rebuild the cell from Postgres; afterwards it is closed, and its log begins with the new epoch. The cursor before that.

    Args:
        hold: on the cell.
        engine: of Postgres; read only.
        session: the leader's own, on which the epoch begins.
        cell_name: of the cell.
        reason: for the record.
        new_drain: drains what the lost life still has.
        hear: is told how far the rebuild has come.

    Raises:
        NothingToRecoverError: there is nothing to rebuild from.
        FencedOffError, NotLeadingError, CursorMovedError: another ledger is at it; nothing of its work was touched.
        WireBrokenError, SQLAlchemyError, OSError, TimeoutError: not finished; the cell is closed. Take it again.
    """
    wire, keys = hold.wire, hold.keys
    await close_cell(hold)
    left = await _drain_what_goes(wire, engine, cell_name, keys, new_drain)
    cursor = await read_cursor(engine, cell_name)
    if cursor is None:
        raise NothingToRecoverError(cell_name)
    await note_lost_life(engine, await Life.read(wire, keys))
    begun = await begin_next(session, cell_name, cursor, reason)
    log.warning("recovery_began", cell=cell_name, reason=reason, epoch=begun.epoch, from_seq=begun.last_seq, left_behind=left)
    await empty_cell(hold)
    members_version = await fill_cell(hold, engine, hear)
    now_ms = (await Life.read(wire, keys)).now_ms
    await hold.write(opening_commands(keys, begun, cursor.epoch, reason, now_ms, members_version))
    log.info("recovery_done", cell=cell_name, epoch=begun.epoch, seq=begun.last_seq + 1)
    return begun


async def _drain_what_goes(
    wire: Wire, engine: AsyncEngine, cell_name: str, keys: CellKeys, new_drain: Callable[[], Drain]
) -> dict[str, Any] | None:
    """Drain what the lost life still has and Postgres lacks; what could not be drained, in words, or None."""
    if judge(await Life.read(wire, keys), await read_cursor(engine, cell_name)) is not LifeCheck.GOES_ON:
        return None
    drain = new_drain()
    try:
        while await drain.step(wire):
            pass
    except DrainFaultError as fault:
        return {"fault": fault.kind.value, **fault.detail}
    return None
