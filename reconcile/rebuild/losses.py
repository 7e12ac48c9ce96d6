"""The claims that members may have seen and that were lost.

Workers that outlive a life of the cell write down how far they saw it and whose claims, and a recovery writes down how far its
log went. What lies above the record when the next life begins is lost. An alarm says so, names the claims that workers have
seen, and stays until somebody of ops has taken note.
"""

import time
from typing import Final

import structlog
from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from grab_service.sql.lives import note_life
from grab_service.sql.tables import alarms, claims_seen, epochs, lives_seen
from grab_service.vocabulary.claims import ClaimRef
from grab_service.vocabulary.durability import TOLD_MAX
from reconcile.alarms import AlarmKind
from reconcile.life import Life

_LOST: Final = (
    select(lives_seen.c.epoch, lives_seen.c.seq.label("told_up_to_seq"), (epochs.c.first_seq - 1).label("on_record_up_to_seq"))
    .join(epochs, epochs.c.predecessor == lives_seen.c.epoch)
    .where(lives_seen.c.seq >= epochs.c.first_seq)
)

log = structlog.get_logger()


async def note_lost_life(engine: AsyncEngine, life: Life) -> None:
    """Write down how far the log of a life goes that is about to be thrown away.

    Raises:
        sqlalchemy.exc.SQLAlchemyError, OSError: it is not written down.
    """
    if life.epoch:
        await note_life(engine, life.epoch, life.seq)


async def report_losses(engine: AsyncEngine) -> int:
    """Raise the alarm for each life of which something is lost, or bring its figures up to date; how many that were.

    Raises:
        sqlalchemy.exc.SQLAlchemyError, OSError: it could not be told.
    """
    told = 0
    async with engine.begin() as connection:
        for lost in (await connection.execute(_LOST)).mappings().all():
            claims = await _named(connection, lost["epoch"], lost["on_record_up_to_seq"])
            bound = {"claims_max": TOLD_MAX} if len(claims) == TOLD_MAX else {}
            detail = {**lost, "claims": claims, **bound}
            row = insert(alarms).values(
                raised_at_ms=time.time_ns() // 1_000_000, kind=AlarmKind.RECOVERY_LOST.value, detail=detail
            )
            changed = await connection.execute(
                row.on_conflict_do_update(
                    index_elements=[text("(detail ->> 'epoch')")],
                    index_where=text("kind = 'recovery_lost'"),
                    set_={"detail": row.excluded.detail},
                    where=alarms.c.detail != row.excluded.detail,
                )
            )
            if changed.rowcount:
                told += 1
                log.error("alarm_raised", kind=AlarmKind.RECOVERY_LOST.value, **lost, claims=len(claims))
    return told


async def _named(connection: AsyncConnection, epoch: int, on_record_up_to_seq: int) -> list[dict[str, str]]:
    """The lost claims that workers have seen, in the order of the log; if there are too many, the newest."""
    query = (
        select(claims_seen)
        .where(claims_seen.c.epoch == epoch, claims_seen.c.seq > on_record_up_to_seq)
        .order_by(claims_seen.c.seq.desc())
        .limit(TOLD_MAX)
    )
    rows = (await connection.execute(query)).all()
    return [
        {"claim_id": str(ClaimRef(row.campaign_id, row.epoch, row.seq)), "member_id": row.member_id} for row in reversed(rows)
    ]
