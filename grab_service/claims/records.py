"""A member's claims: settled states from PostgreSQL, and recent wins from the cell until they are drained."""

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Row, Select, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from grab_service.campaigns.bodies import held_claim_body
from grab_service.cell.store import Cell
from grab_service.grabpath.view import View
from grab_service.refusal import RefusalError, refusal_of
from grab_service.sql.tables import campaigns, claims, log_cursor
from grab_service.vocabulary.campaigns import BenefitKind, Phase, Reveal
from grab_service.vocabulary.claim_body import claim_body
from grab_service.vocabulary.claims import ClaimRecord, ClaimRef, ClaimState, Validity, VoucherState, parse_holding

RECENT_MS: Final = 3_600_000
"""A campaign that ended longer ago than this has nothing left that is not on record, or the ledger is an hour behind."""
CAMPAIGNS_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class StoredClaim:
    """A claim as Postgres has it, and how it is shown."""

    ref: ClaimRef
    state: ClaimState
    voucher_state: VoucherState | None
    valid_until_ms: int | None
    code_seen: bool
    """Whether a code of a third party was seen by the member, and is worth money elsewhere."""

    body: dict[str, Any]

    @classmethod
    def of_row(cls, row: Row[Any]) -> "StoredClaim":
        """From a row of the table."""
        state = ClaimState(row.state)
        record = ClaimRecord(
            row.seq, row.epoch, row.unit_no, row.ordinal, row.granted_at_ms, row.code or "", row.idempotency_key or "", state
        )
        voucher_state = VoucherState(row.voucher_state) if row.voucher_state is not None else None
        on_request = row.reveal == Reveal.ON_REQUEST
        code_seen = row.benefit_kind == BenefitKind.CODE_POOL and not (on_request and row.revealed_at_ms is None)
        body = claim_body(
            row.campaign_id,
            row.member_id,
            record,
            voucher_state or VoucherState.ACTIVE,
            Validity(valid_from_ms=row.valid_from_ms, valid_until_ms=row.valid_until_ms),
            has_voucher=voucher_state is not None,
            on_request=on_request,
            revealed_at_ms=row.revealed_at_ms,
        )
        ref = ClaimRef(row.campaign_id, row.epoch, row.seq)
        return cls(ref, state, voucher_state, row.valid_until_ms, code_seen, body)


_BENEFIT: Final = campaigns.c.definition["benefit"]
_CLAIMS: Final = select(
    claims, _BENEFIT["kind"].astext.label("benefit_kind"), _BENEFIT["reveal"].astext.label("reveal")
).join_from(claims, campaigns, claims.c.campaign_id == campaigns.c.campaign_id)


def _stored(ref: ClaimRef, member_id: str) -> Select[Any]:
    return _CLAIMS.where(
        claims.c.seq == ref.seq,
        claims.c.epoch == ref.epoch,
        claims.c.campaign_id == ref.campaign_id,
        claims.c.member_id == member_id,
    )


async def find_stored(connection: AsyncConnection, ref: ClaimRef, member_id: str) -> StoredClaim | None:
    """The member's claim as it is on record; None if it is not, or is somebody else's."""
    row = (await connection.execute(_stored(ref, member_id))).one_or_none()
    return None if row is None else StoredClaim.of_row(row)


async def find_held(view: View, cell: Cell, ref: ClaimRef, member_id: str) -> dict[str, Any] | None:
    """The member's claim as the cell holds it; None if it does not.

    Raises:
        CellError: the cell cannot be asked.
        StaleViewError: it cannot be told whether the campaign exists.
    """
    campaign = await view.find(ref.campaign_id)
    if campaign is None:
        return None
    (holding,) = await cell.read_claims(member_id, [ref.campaign_id])
    for record in parse_holding(holding):
        if (record.epoch, record.seq) == (ref.epoch, ref.seq):
            return held_claim_body(campaign, member_id, record)
    return None


async def read_claim(engine: AsyncEngine, view: View, cell: Cell, ref: ClaimRef, member_id: str) -> dict[str, Any]:
    """A member's own claim, as it is now.

    Raises:
        RefusalError: claim-not-found, of others' claims too; ledger-unavailable.
        CellError: it is not on record, and the cell cannot be asked.
    """
    unavailable = None
    try:
        async with engine.connect() as connection:
            stored = await find_stored(connection, ref, member_id)
        if stored is not None:
            return stored.body
    except Exception as error:
        unavailable = refusal_of(error)
        if unavailable is None:
            raise
    held = await find_held(view, cell, ref, member_id)
    if held is None:
        raise unavailable or RefusalError("claim-not-found")
    return held


async def read_my_claims(
    engine: AsyncEngine, view: View, cell: Cell, member_id: str, *, before_seq: int | None, limit: int
) -> list[dict[str, Any]]:
    """A member's claims of all campaigns, newest first; those not on record yet come from the cell.

    Raises:
        CellError: the cell cannot be asked, so something might be missing.
    """
    # The cell first: a claim drained between the two looks is then in both, and the one in Postgres counts.
    held = await _held_now(view, cell, member_id)
    query = _CLAIMS.where(claims.c.member_id == member_id).order_by(claims.c.seq.desc()).limit(limit)
    if before_seq is not None:
        query = query.where(claims.c.seq < before_seq)
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="REPEATABLE READ")
        drained = select(log_cursor.c.last_seq).where(log_cursor.c.cell == literal(cell.name))
        last_seq = (await connection.execute(drained)).scalar_one_or_none() or 0
        stored = [StoredClaim.of_row(row).body for row in await connection.execute(query)]
    fresh = [body for body in held if body["seq"] > last_seq and (before_seq is None or body["seq"] < before_seq)]
    return sorted(fresh + stored, key=lambda body: -int(body["seq"]))[:limit]


async def _held_now(view: View, cell: Cell, member_id: str) -> list[dict[str, Any]]:
    now_ms = view.now_ms()
    recent = [
        campaign
        for campaign in view.campaigns()
        if campaign.phase(now_ms) is not Phase.UPCOMING and campaign.closes_at_ms > now_ms - RECENT_MS
    ]
    recent = sorted(recent, key=lambda campaign: -campaign.closes_at_ms)[:CAMPAIGNS_MAX]
    if not recent:
        return []
    holdings = await cell.read_claims(member_id, [campaign.campaign_id for campaign in recent])
    return [
        held_claim_body(campaign, member_id, record)
        for campaign, holding in zip(recent, holdings, strict=True)
        for record in parse_holding(holding)
    ]
