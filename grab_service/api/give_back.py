"""How does a member give a unit back?

Postgres decides, by a compare-and-set on the one row: until then it is held, from then on it is returned. The same transaction
queues the command that tells the cell; it is sent at once, and if that fails, again and again by the ledger's sweep.
"""

from typing import Any, Final

import structlog
from sqlalchemy import case, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from grab_service.api.claim_records import StoredClaim, find_held, find_stored
from grab_service.cell.store import Cell, CellError
from grab_service.grabpath.view import View
from grab_service.ops.refusal import RefusalError
from grab_service.sql.tables import claims, commands
from grab_service.vocabulary.campaigns import BenefitKind, decode_releases, total_of
from grab_service.vocabulary.claims import ClaimRef, ClaimState, VoucherState

BEHIND_RETRY_S: Final = 1
REASON: Final = "returned"

log = structlog.get_logger()


async def give_back(engine: AsyncEngine, view: View, cell: Cell, ref: ClaimRef, member_id: str) -> dict[str, Any]:
    """Give the unit of a member's own claim back; the claim, which is returned now or was before.

    Raises:
        RefusalError: claim-not-found; ledger-behind if it is too young to be on record; not-returnable (`state`),
            no-spare-code, voucher-already-redeemed.
        CellError: it cannot be told whether the claim is only too young, or whether there is a spare code.
    """
    async with engine.connect() as connection:
        stored = await find_stored(connection, ref, member_id)
    if stored is None:
        if await find_held(view, cell, ref, member_id) is None:
            raise RefusalError("claim-not-found")
        raise RefusalError("ledger-behind", retry_after_s=BEHIND_RETRY_S)
    if stored.state is ClaimState.FULFILLED:
        now_ms = view.now_ms()
        async with engine.begin() as connection:
            if _expired(stored, now_ms):
                raise RefusalError("not-returnable", state=VoucherState.EXPIRED.value)
            await _check_spare_code(connection, view, cell, ref.campaign_id)
            decided = await _decide(connection, ref, member_id, now_ms)
            stored = await find_stored(connection, ref, member_id)
        assert stored is not None, "a claim is never deleted"
        if decided:
            await _tell(cell, ref, member_id)
    if stored.state is not ClaimState.RETURNED:
        if stored.voucher_state is VoucherState.REDEEMED:
            raise RefusalError("voucher-already-redeemed")
        raise RefusalError("not-returnable", state=(stored.voucher_state or stored.state).value)
    return stored.body


def _expired(claim: StoredClaim, now_ms: int) -> bool:
    return claim.valid_until_ms is not None and claim.valid_until_ms <= now_ms


async def _decide(connection: AsyncConnection, ref: ClaimRef, member_id: str, now_ms: int) -> bool:
    """The compare-and-set, and the command; whether it was this call that decided."""
    taken = await connection.execute(
        update(claims)
        .where(
            claims.c.seq == ref.seq,
            claims.c.member_id == member_id,
            claims.c.state == ClaimState.FULFILLED.value,
            or_(claims.c.voucher_state == VoucherState.ACTIVE.value, claims.c.voucher_state.is_(None)),
        )
        .values(
            state=ClaimState.RETURNED.value,
            voucher_state=case((claims.c.voucher_state.is_not(None), VoucherState.RETURNED.value)),
            decided_at_ms=now_ms,
        )
    )
    if taken.rowcount != 1:
        return False
    command = {
        "kind": "return_unit",
        "campaign_id": ref.campaign_id,
        "member_id": member_id,
        "claim_seq": ref.seq,
        "reason": REASON,
        "created_at_ms": now_ms,
    }
    await connection.execute(insert(commands).values(command))
    return True


async def _check_spare_code(connection: AsyncConnection, view: View, cell: Cell, campaign_id: str) -> None:
    """A code that somebody has seen is not issued again: without a spare one the unit could not be given to anybody.

    Each return that is decided and not yet on record as done has a claim on a spare code, too. One of them may be in the
    cell already and is counted twice then: rather refuse for a moment than promise what cannot be kept.
    """
    campaign = await view.know(campaign_id)
    if campaign is None or campaign.benefit_kind is not BenefitKind.CODE_POOL:
        return
    # One return of a campaign at a time, to the end of the transaction: they count the same codes.
    await connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"return:{campaign_id}", 0))))
    undone = select(func.count()).where(commands.c.campaign_id == campaign_id, commands.c.done_seq.is_(None))
    pending = (await connection.execute(undone)).scalar_one()
    (_, releases, active, _, _, _, _, _, _, _, free_codes) = (await cell.snapshot([campaign_id]))[5][0]
    if free_codes - pending <= total_of(decode_releases(releases.decode())) - int(active):
        raise RefusalError("no-spare-code")


async def _tell(cell: Cell, ref: ClaimRef, member_id: str) -> None:
    try:
        outcome, seq = await cell.return_unit(ref.campaign_id, member_id, ref.seq, REASON)
    except CellError as error:
        log.info("return_left_to_the_sweep", claim_id=str(ref), why=str(error))
    else:
        log.info("unit_returned", claim_id=str(ref), outcome=outcome, seq=seq)
