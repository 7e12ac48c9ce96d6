"""The unit of a claim went back to stock: the claim's row, and the command that asked for it, get the seq."""

from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from grab_service.sql.tables import HELD
from grab_service.vocabulary.events import Returned
from reconcile.drain.appliers.statement import change_one

# A code that went back to the pool is no longer the claim's: it may be granted again, further down the same log.
# Postgres has decided before the cell was told; where it has not, the log is what happened, and the reason names the state.
_RETURNED: Final = text(
    "UPDATE claims SET returned_seq = :seq,"  # noqa: S608 -- put together from constants
    f" state = CASE WHEN {HELD} THEN :reason ELSE state END,"
    f" voucher_state = CASE WHEN {HELD} AND voucher_state = 'active' THEN 'returned' ELSE voucher_state END,"
    " decided_at_ms = coalesce(decided_at_ms, :at_ms),"
    " code = CASE WHEN :code = '' THEN code END "
    "WHERE seq = :claim_seq AND campaign_id = :campaign_id AND member_id = :member_id AND unit_no = :unit_no"
    " AND returned_seq IS NULL AND :code IN ('', code)"
)
_DONE: Final = text("UPDATE commands SET done_seq = :seq WHERE claim_seq = :claim_seq AND done_seq IS NULL")


async def apply(connection: AsyncConnection, event: Returned) -> None:
    """Raises WrongEntryError if there is no such claim, or its unit came back before."""
    values = {
        "seq": event.seq,
        "campaign_id": event.campaign_id,
        "member_id": event.member_id,
        "unit_no": event.unit_no,
        "claim_seq": event.claim_seq,
        "reason": event.reason,
        "code": event.code,
        "at_ms": event.at_ms,
    }
    await change_one(connection, _RETURNED, values, event, "no such claim, or its unit came back before")
    await connection.execute(_DONE, {"seq": event.seq, "claim_seq": event.claim_seq})
