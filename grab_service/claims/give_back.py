"""Return of a unit by its holder.

Postgres decides, by a compare-and-set on the one row: until then it is held, from then on it is returned. The same statement
counts the member's earlier returns, under a lock of the member's own, so that parallel calls cannot get past a bound.
The same transaction queues the command that tells the cell; it is sent at once, and if that fails, again and again by the
ledger's sweep.
"""

from math import ceil
from typing import Any, Final

import structlog
from sqlalchemy import ColumnElement, Integer, ScalarSelect, and_, case, cast, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from grab_service.cell.store import Cell, CellError
from grab_service.claims.records import StoredClaim, find_held, find_stored
from grab_service.grabpath.view import View
from grab_service.refusal import RefusalError
from grab_service.sql.tables import campaigns, claims, commands
from grab_service.vocabulary.campaigns import BenefitKind, Reveal
from grab_service.vocabulary.claims import ClaimRef, ClaimState, VoucherState

BEHIND_RETRY_S: Final = 1
RETURNS_A_MINUTE: Final = 10
"""Of one member, over all campaigns and workers."""
MINUTE_MS: Final = 60_000
REASON: Final = "returned"

_before = claims.alias("before")

log = structlog.get_logger()


async def give_back(engine: AsyncEngine, view: View, cell: Cell, ref: ClaimRef, member_id: str) -> dict[str, Any]:
    """Give the unit of a member's own claim back; the claim, which is returned now or was before.

    Raises:
        RefusalError: claim-not-found; ledger-behind if it is too young to be on record; not-returnable (`reason`),
            returns-used-up, rate-limited.
        CellError: it cannot be told whether the claim is only too young.
    """
    async with engine.connect() as connection:
        stored = await find_stored(connection, ref, member_id)
    if stored is None:
        if await find_held(view, cell, ref, member_id) is None:
            raise RefusalError("claim-not-found")
        raise RefusalError("ledger-behind", retry_after_s=BEHIND_RETRY_S)
    if stored.state is ClaimState.RETURNED:
        return stored.body
    now_ms = view.now_ms()
    async with engine.begin() as connection:
        # One return of a member at a time, to the end of the transaction: each counts those before it.
        await connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"return:{member_id}", 0))))
        decided = await _decide(connection, ref, member_id, now_ms)
        stored = await find_stored(connection, ref, member_id)
        assert stored is not None, "a claim is never deleted"
        if stored.state is not ClaimState.RETURNED:
            raise await _why_not(connection, stored, member_id, now_ms)
    if decided:
        await _notify_cell(cell, ref, member_id)
    return stored.body


def _of_campaign(campaign_id: str, column: ColumnElement[Any]) -> ScalarSelect[Any]:
    return select(column).where(campaigns.c.campaign_id == campaign_id).scalar_subquery()


def _limit(campaign_id: str) -> ScalarSelect[int]:
    """Number of units of the campaign that a member may give back."""
    return _of_campaign(campaign_id, cast(campaigns.c.definition["returns_per_member"].astext, Integer))


def _code_unseen(campaign_id: str) -> ColumnElement[bool]:
    """A code of a third party that somebody has seen is worth money elsewhere: its unit stays where it is."""
    benefit = campaigns.c.definition["benefit"]
    return or_(
        _of_campaign(campaign_id, benefit["kind"].astext) != BenefitKind.CODE_POOL.value,
        and_(_of_campaign(campaign_id, benefit["reveal"].astext) == Reveal.ON_REQUEST.value, claims.c.revealed_at_ms.is_(None)),
    )


def _returns(member_id: str, *which: ColumnElement[bool]) -> ScalarSelect[int]:
    """Number of units that the member has given back."""
    given = and_(_before.c.member_id == member_id, _before.c.state == ClaimState.RETURNED.value, *which)
    return select(func.count()).select_from(_before).where(given).scalar_subquery()


async def _decide(connection: AsyncConnection, ref: ClaimRef, member_id: str, now_ms: int) -> bool:
    """The compare-and-set, and the command; whether it was this call that decided."""
    taken = await connection.execute(
        update(claims)
        .where(
            claims.c.seq == ref.seq,
            claims.c.member_id == member_id,
            claims.c.state == ClaimState.FULFILLED.value,
            or_(claims.c.voucher_state == VoucherState.ACTIVE.value, claims.c.voucher_state.is_(None)),
            or_(claims.c.valid_until_ms > now_ms, claims.c.valid_until_ms.is_(None)),
            _code_unseen(ref.campaign_id),
            _returns(member_id, _before.c.campaign_id == ref.campaign_id) < _limit(ref.campaign_id),
            _returns(member_id, _before.c.decided_at_ms > now_ms - MINUTE_MS) < RETURNS_A_MINUTE,
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


async def _why_not(connection: AsyncConnection, claim: StoredClaim, member_id: str, now_ms: int) -> RefusalError:
    """The first of the reasons for which the compare-and-set left the claim as it was."""
    if claim.state is not ClaimState.FULFILLED or claim.voucher_state is VoucherState.REVOKED:
        return RefusalError("not-returnable", reason="state", state=(claim.voucher_state or claim.state).value)
    if claim.voucher_state is VoucherState.EXPIRED or (claim.valid_until_ms is not None and claim.valid_until_ms <= now_ms):
        return RefusalError("not-returnable", reason="expired")
    if claim.voucher_state is VoucherState.REDEEMED:
        return RefusalError("not-returnable", reason="redeemed")
    if claim.code_seen:
        return RefusalError("not-returnable", reason="code-seen")
    campaign_id = claim.ref.campaign_id
    used = _returns(member_id, _before.c.campaign_id == campaign_id)
    row = (await connection.execute(select(_limit(campaign_id).label("limit"), used.label("used")))).one()
    if row.used >= row.limit:
        return RefusalError("returns-used-up", limit=row.limit, used=row.used)
    return RefusalError("rate-limited", retry_after_s=await _window_ends_in_s(connection, member_id, now_ms))


async def _window_ends_in_s(connection: AsyncConnection, member_id: str, now_ms: int) -> int:
    """In how many seconds the first of the last returns is a minute old."""
    given = select(claims.c.decided_at_ms).where(claims.c.member_id == member_id, claims.c.state == ClaimState.RETURNED.value)
    first_of_last = given.order_by(claims.c.decided_at_ms.desc()).offset(RETURNS_A_MINUTE - 1).limit(1)
    began_at_ms = (await connection.execute(first_of_last)).scalar_one_or_none() or now_ms
    return max(1, ceil((began_at_ms + MINUTE_MS - now_ms) / 1000))


async def _notify_cell(cell: Cell, ref: ClaimRef, member_id: str) -> None:
    try:
        outcome, seq = await cell.return_unit(ref.campaign_id, member_id, ref.seq, REASON)
    except CellError as error:
        log.info("return_left_to_the_sweep", claim_id=str(ref), why=str(error))
    else:
        log.info("unit_returned", claim_id=str(ref), outcome=outcome, seq=seq)
