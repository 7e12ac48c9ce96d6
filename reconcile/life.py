"""The life of the cell in Redis, and the check of that life against the records of Postgres."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

from grab_service.vocabulary.keys import CellKeys
from reconcile.drain.cursor import Cursor
from reconcile.redis_link import RedisLink


class LifeCheck(StrEnum):
    """The result of the check of a cell whose scripts Redis does not know."""

    FIRST_START = "first_start"  # neither knows of a cell: begin one
    GOES_ON = "goes_on"  # nothing is missing, as far as the numbers say: drain what there is, and audit
    EMPTIED = "emptied"
    WENT_BACK = "went_back"
    OLDER_EPOCH = "older_epoch"
    NEWER_EPOCH = "newer_epoch"
    UNKNOWN_TO_POSTGRES = "unknown_to_postgres"


REBUILD: Final = frozenset({LifeCheck.EMPTIED, LifeCheck.WENT_BACK, LifeCheck.OLDER_EPOCH})
"""Redis has nothing that Postgres lacks: the cell may be rebuilt from Postgres without losing anything more.

In the other cases it is Postgres that lies behind, and throwing Redis away would lose what members were told: somebody decides.
"""


@dataclass(frozen=True, slots=True)
class Life:
    """The cell's own state at one moment; `epoch` and `seq` are 0 if there is no cell."""

    epoch: int
    seq: int
    nonce: str | None
    table: dict[bytes, bytes]
    is_empty: bool
    now_ms: int
    records: str | None
    """The version of the records that it holds; None: written before they had one."""

    @classmethod
    async def read(cls, link: RedisLink, keys: CellKeys) -> Self:
        """Ask for all of it in one transaction."""
        time, cell, table, known = await link.transaction(
            [
                ["TIME"],
                ["HMGET", keys.cell, "epoch", "seq", "nonce", "records"],
                ["HGETALL", keys.scripts],
                ["EXISTS", keys.cell, keys.log, keys.members, keys.campaigns],
            ]
        )
        return cls(
            epoch=int(cell[0] or 0),
            seq=int(cell[1] or 0),
            nonce=None if cell[2] is None else cell[2].decode(),
            table=dict(zip(table[::2], table[1::2], strict=True)),
            is_empty=known == 0,
            now_ms=int(time[0]) * 1000 + int(time[1]) // 1000,
            records=None if cell[3] is None else cell[3].decode(),
        )


def judge(life: Life, cursor: Cursor | None) -> LifeCheck:
    """Compare what the cell says of itself with the cursor in Postgres."""
    if cursor is None:
        return LifeCheck.FIRST_START if life.is_empty else LifeCheck.UNKNOWN_TO_POSTGRES
    if life.epoch == 0:
        return LifeCheck.EMPTIED
    if life.epoch != cursor.epoch:
        return LifeCheck.OLDER_EPOCH if life.epoch < cursor.epoch else LifeCheck.NEWER_EPOCH
    return LifeCheck.GOES_ON if life.seq >= cursor.last_seq else LifeCheck.WENT_BACK
