"""A new life of the cell began: it must be the one that the guard wrote down beforehand."""

from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from grab_service.vocabulary.events import EpochBegan
from reconcile.drain.appliers.statement import WrongEntryError

_EPOCH: Final = text("SELECT count(*) FROM epochs WHERE epoch = :epoch AND predecessor = :predecessor AND first_seq = :seq")


async def apply(connection: AsyncConnection, event: EpochBegan) -> None:
    """Raises WrongEntryError if no such epoch was begun."""
    values = {"epoch": event.epoch, "predecessor": event.predecessor, "seq": event.seq}
    if (await connection.execute(_EPOCH, values)).scalar_one() != 1:
        raise WrongEntryError("no such epoch was begun", event)
