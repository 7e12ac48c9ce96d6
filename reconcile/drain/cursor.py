"""The cursor: the last entry of the log that is in Postgres."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from grab_service.sql.tables import log_cursor
from grab_service.vocabulary.durability import Recorded


@dataclass(frozen=True, slots=True)
class Cursor:
    """Up to where the log is in Postgres; `at_ms` is the time of that entry, `head` the head of the chain there."""

    epoch: int
    last_seq: int
    last_id: str
    at_ms: int
    head: bytes

    @property
    def note(self) -> str:
        """The cursor as the ledger leaves it in the cell for the workers."""
        return str(Recorded(self.epoch, self.last_seq, self.head.hex()))


class CursorMovedError(Exception):
    """Somebody else has drained meanwhile; nothing was written."""


async def read_cursor(engine: AsyncEngine, cell_name: str) -> Cursor | None:
    """The cursor as Postgres has it; None if the cell never began."""
    async with engine.connect() as connection:
        row = (await connection.execute(select(log_cursor).where(log_cursor.c.cell == cell_name))).one_or_none()
    return None if row is None else Cursor(row.epoch, row.last_seq, row.last_id, row.at_ms, row.head)
