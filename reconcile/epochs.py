"""How does a new life of the cell begin? In Postgres first, so that nothing of the life before can be drained any more."""

import time
from typing import Final

from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncEngine

from grab_service.sql.tables import epochs, log_cursor
from grab_service.vocabulary.keys import CellKeys
from reconcile.drain import Cursor
from reconcile.wire import Command

FIRST: Final = Cursor(epoch=1, last_seq=0, last_id="0-0", at_ms=0)
FIRST_REASON: Final = "first_start"


async def begin_first(engine: AsyncEngine, cell_name: str) -> Cursor:
    """Write down that the cell begins, in a database that never saw one.

    Raises:
        sqlalchemy.exc.IntegrityError: it began before.
    """
    values = {"epoch": FIRST.epoch, "last_seq": FIRST.last_seq, "last_id": FIRST.last_id, "at_ms": FIRST.at_ms}
    async with engine.begin() as connection:
        await connection.execute(insert(log_cursor).values(cell=cell_name, **values))
        await connection.execute(
            insert(epochs).values(epoch=FIRST.epoch, predecessor=0, first_seq=1, began_at_ms=_now_ms(), reason=FIRST_REASON)
        )
    return FIRST


async def begin_next(engine: AsyncEngine, cell_name: str, cursor: Cursor, reason: str) -> Cursor:
    """Write down that another life follows on what was drained so far; the cursor is of the new epoch from now on.

    A ledger that still reads the life before cannot commit any more.

    Raises:
        RuntimeError: the cursor has moved meanwhile.
    """
    async with engine.begin() as connection:
        moved = await connection.execute(
            text("UPDATE log_cursor SET epoch = :epoch + 1 WHERE cell = :cell AND epoch = :epoch AND last_seq = :last_seq"),
            {"cell": cell_name, "epoch": cursor.epoch, "last_seq": cursor.last_seq},
        )
        if moved.rowcount != 1:
            raise RuntimeError("the cursor has moved while an epoch was to begin")
        await connection.execute(
            insert(epochs).values(
                epoch=cursor.epoch + 1,
                predecessor=cursor.epoch,
                first_seq=cursor.last_seq + 1,
                began_at_ms=_now_ms(),
                reason=reason,
            )
        )
    return Cursor(cursor.epoch + 1, cursor.last_seq, cursor.last_id, cursor.at_ms)


def opening_commands(keys: CellKeys, cursor: Cursor, predecessor: int, reason: str, at_ms: int, version: int) -> list[Command]:
    """What makes a cell of `cursor.epoch` go on where the cursor stands: its hash, and the entry that says so."""
    seq = cursor.last_seq + 1
    entry: list[str | int] = ["type", "epoch_began", "epoch", cursor.epoch, "seq", seq, "last_seq", seq, "at_ms", at_ms]
    return [
        ["XADD", keys.log, f"{seq}-0", *entry, "predecessor", predecessor, "reason", reason],
        ["HSET", keys.cell, "epoch", cursor.epoch, "seq", seq, "members_version", version],
    ]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
