"""The beginning of an epoch: in Postgres first, so that nothing of the epoch before can be drained any more."""

import time
from dataclasses import asdict, replace
from typing import Any, Final, Protocol

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from grab_service.sql.tables import epochs, log_cursor
from grab_service.vocabulary.chain import START
from grab_service.vocabulary.claims import RECORDS
from grab_service.vocabulary.keys import CellKeys
from reconcile.drain.cursor import Cursor, CursorMovedError
from reconcile.redis_link import Command

FIRST: Final = Cursor(epoch=1, last_seq=0, last_id="0-0", at_ms=0, head=START)
FIRST_REASON: Final = "first_start"

COUNTED_SINCE_S: Final = 1_577_836_800
"""2020-01-01. Epochs are numbered by the seconds since then: no number comes twice, to whatever Postgres is restored."""

_NEXT: Final = """
    WITH moved AS (
        UPDATE log_cursor SET epoch = greatest(epoch + 1, $6) WHERE cell = $1 AND epoch = $2 AND last_seq = $3
        RETURNING epoch, last_seq
    )
    INSERT INTO epochs (epoch, predecessor, first_seq, began_at_ms, reason)
    SELECT epoch, $2, last_seq + 1, $4, $5 FROM moved RETURNING epoch"""


class Session(Protocol):
    """A session in Postgres that carries out one statement; see `Leader.fetchval`."""

    async def fetchval(self, query: str, *values: Any) -> Any:
        """The first value of the first row, or None."""


async def begin_first(engine: AsyncEngine, cell_name: str) -> Cursor:
    """Write down that the cell begins, in a database that never saw one.

    Raises:
        sqlalchemy.exc.IntegrityError: it began before.
    """
    async with engine.begin() as connection:
        await connection.execute(insert(log_cursor).values(cell=cell_name, **asdict(FIRST)))
        await connection.execute(
            insert(epochs).values(epoch=FIRST.epoch, predecessor=0, first_seq=1, began_at_ms=_now_ms(), reason=FIRST_REASON)
        )
    return FIRST


async def begin_next(session: Session, cell_name: str, cursor: Cursor, reason: str) -> Cursor:
    """Write down that another life follows on what was drained so far; the cursor is of the new epoch from now on.

    A ledger that still reads the life before cannot commit any more. It is one statement, on the session of the leader: a
    ledger that slept through its replacement cannot end the life in which its successor sells.

    Raises:
        CursorMovedError: somebody has drained, or begun an epoch, meanwhile.
        NotLeadingError: this ledger does not lead any more.
    """
    now_ms = _now_ms()
    least = now_ms // 1000 - COUNTED_SINCE_S
    epoch = await session.fetchval(_NEXT, cell_name, cursor.epoch, cursor.last_seq, now_ms, reason, least)
    if epoch is None:
        raise CursorMovedError("the cursor has moved while an epoch was to begin")
    return replace(cursor, epoch=epoch)


def opening_commands(keys: CellKeys, cursor: Cursor, predecessor: int, reason: str, at_ms: int, version: int) -> list[Command]:
    """Commands after which a cell of `cursor.epoch` goes on at the cursor: its hash, and the entry that says so."""
    seq = cursor.last_seq + 1
    entry: list[str | int] = ["type", "epoch_began", "epoch", cursor.epoch, "seq", seq, "last_seq", seq, "at_ms", at_ms]
    return [
        ["XADD", keys.log, f"{seq}-0", *entry, "predecessor", predecessor, "reason", reason],
        ["HSET", keys.cell, "epoch", cursor.epoch, "seq", seq, "members_version", version, "records", RECORDS],
        ["HSET", keys.cell, "recorded", cursor.note],
    ]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
