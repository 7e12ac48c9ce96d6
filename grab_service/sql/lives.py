"""The last known seq of ended lives of the cell, from workers that outlived them and from the log."""

import time
from typing import Final

from sqlalchemy import func
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from grab_service.sql.tables import lives_seen

_NEW: Final = insert(lives_seen)
_FARTHEST: Final = _NEW.on_conflict_do_update(
    index_elements=[lives_seen.c.epoch],
    set_={"seq": func.greatest(lives_seen.c.seq, _NEW.excluded.seq), "at_ms": _NEW.excluded.at_ms},
)


async def note_life(engine: AsyncEngine, epoch: int, seq: int) -> None:
    """Write down that a life was seen up to `seq`; of several who say so, the farthest counts.

    Raises:
        sqlalchemy.exc.SQLAlchemyError, OSError: it is not written down; repeating does no harm.
    """
    async with engine.begin() as connection:
        await connection.execute(_FARTHEST, {"epoch": epoch, "seq": seq, "at_ms": time.time_ns() // 1_000_000})
