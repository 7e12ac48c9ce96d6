"""Claims that ops make good: given to a member whatever limit, eligibility and window say, once for each key of ops.

A key stands for one member of one campaign, which Postgres keeps; whether its claim was made before is decided by Lua, in the
step that makes it. So whoever does not hear the end, asks again with the same key.
"""

import time
from typing import Any, Final, assert_never

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from grab_service.campaigns.lifecycle import in_the_cell, recorded
from grab_service.campaigns.service import read_campaign
from grab_service.cell.store import Cell
from grab_service.claims.export import seen_by_ops
from grab_service.claims.records import find_stored
from grab_service.ops_log.log import logged
from grab_service.refusal import RefusalError
from grab_service.sql.tables import make_good_keys
from grab_service.vocabulary.campaigns import CampaignState
from grab_service.vocabulary.claims import ClaimRecord, ClaimRef, make_good_key
from grab_service.vocabulary.outcomes import MakeGoodOutcome, slug
from grab_service.vocabulary.passes import OpsIdentity
from grab_service.vocabulary.voucher_codes import generate

ACTION: Final = "campaign.grant"
_OVER: Final = frozenset({CampaignState.SETTLED, CampaignState.ARCHIVED})


async def make_good(
    engine: AsyncEngine,
    cell: Cell,
    identity: OpsIdentity,
    campaign_id: str,
    member_id: str,
    *,
    key: str,
    beyond_stock: bool,
    reason: str,
) -> tuple[dict[str, Any], bool]:
    """Give the member a claim; the claim as ops see it, once it is on record, and whether it is new.

    Args:
        engine: of Postgres.
        cell: that of the campaign.
        identity: who asks.
        campaign_id: whose unit it is.
        member_id: who gets it.
        key: with the same one, the same claim.
        beyond_stock: the total is raised by one with it.
        reason: for the log of ops.

    Raises:
        RefusalError: campaign-not-found, wrong-state, idempotency-key-reused, member-unknown, sold-out, too-few-codes;
            outcome-unknown: it may be made, and repeating tells.
        CellError: the cell cannot be asked; with CellSilentError it may be made, and repeating tells.
    """
    detail = {"member_id": member_id, "idempotency_key": key, "beyond_stock": beyond_stock}
    async with logged(engine, identity, ACTION, campaign_id, reason=reason, detail=detail) as entry:
        campaign = await read_campaign(engine, campaign_id)
        scheduled = campaign.published_seq is not None or campaign.state is CampaignState.SCHEDULED
        if not scheduled or campaign.state in _OVER:
            raise RefusalError("wrong-state", state=campaign.state.value)
        await _bind(engine, key, campaign_id, member_id)
        await in_the_cell(engine, cell, campaign)
        reply = await cell.make_good(campaign_id, member_id, make_good_key(key), generate(1)[0], beyond_stock=beyond_stock)
        match reply.outcome:
            case MakeGoodOutcome.MADE_GOOD | MakeGoodOutcome.ALREADY:
                pass
            case MakeGoodOutcome.WRONG_STATE | MakeGoodOutcome.CAMPAIGN_NOT_FOUND:
                raise RefusalError("wrong-state", state=CampaignState.CANCELLED.value)
            case MakeGoodOutcome.SOLD_OUT:
                raise RefusalError("sold-out", next_release_at_ms=None, waitlist=False)
            case MakeGoodOutcome.MEMBER_UNKNOWN | MakeGoodOutcome.TOO_FEW_CODES:
                raise RefusalError(slug(reply.outcome))
            case _:
                assert_never(reply.outcome)
        record = ClaimRecord.parse(reply.record)
        ref = ClaimRef(campaign_id, record.epoch, record.seq)
        body = await _on_record(engine, cell, ref, member_id)
        entry.detail["claim_id"] = str(ref)
        return seen_by_ops(body, record.source), reply.outcome is MakeGoodOutcome.MADE_GOOD


async def _bind(engine: AsyncEngine, key: str, campaign_id: str, member_id: str) -> None:
    """Let the key stand for this member of this campaign, unless it stands for another one."""
    row = {"idempotency_key": key, "campaign_id": campaign_id, "member_id": member_id}
    bound = select(make_good_keys.c.campaign_id, make_good_keys.c.member_id).where(make_good_keys.c.idempotency_key == key)
    async with engine.begin() as connection:
        created = {"created_at_ms": time.time_ns() // 1_000_000}
        await connection.execute(insert(make_good_keys).values(row | created).on_conflict_do_nothing())
        if tuple((await connection.execute(bound)).one()) != (campaign_id, member_id):
            raise RefusalError("idempotency-key-reused")


async def _on_record(engine: AsyncEngine, cell: Cell, ref: ClaimRef, member_id: str) -> dict[str, Any]:
    """The claim as it is on record. One that may still be lost with Redis is not told of."""
    try:
        await recorded(engine, cell.name, ref.seq)
    except RefusalError as error:
        raise RefusalError("outcome-unknown") from error
    async with engine.connect() as connection:
        stored = await find_stored(connection, ref, member_id)
    if stored is None:  # another life has begun, without it
        raise RefusalError("outcome-unknown")
    return stored.body
