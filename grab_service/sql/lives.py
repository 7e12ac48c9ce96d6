"""Ended lives of the cell: their last known seq, and claims that were not on record, from workers that outlived them.

The log of a life tells the former as well.
"""

import time
from collections.abc import Sequence
from typing import Final

from sqlalchemy import func, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from grab_service.sql.tables import lives_seen

_CLAIMS: Final = text(
    "INSERT INTO claims_seen (epoch, seq, campaign_id, member_id) SELECT :epoch, * FROM unnest("
    "CAST(:seqs AS bigint[]), CAST(:campaign_ids AS text[]), CAST(:member_ids AS text[])) ON CONFLICT DO NOTHING"
)
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


async def note_claims(engine: AsyncEngine, epoch: int, claims: Sequence[tuple[int, str, str]]) -> None:
    """Write down claims of a life, each (seq, campaign_id, member_id), of which members may have been told; each once.

    Raises:
        sqlalchemy.exc.SQLAlchemyError, OSError: none is written down; repeating does no harm.
    """
    seqs, campaign_ids, member_ids = map(list, zip(*claims, strict=True))
    async with engine.begin() as connection:
        values = {"epoch": epoch, "seqs": seqs, "campaign_ids": campaign_ids, "member_ids": member_ids}
        await connection.execute(_CLAIMS, values)
