"""Explanation of a member's refusal: the cell applies the rules of the grab and writes nothing."""

from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncEngine

from grab_service.campaigns.service import Campaign, read_campaign
from grab_service.cell.replies import ExplainReply, Question, read_explained
from grab_service.cell.store import Cell
from grab_service.claims.export import seen_by_ops
from grab_service.refusal import RefusalError
from grab_service.vocabulary.campaigns import BenefitKind, Reveal
from grab_service.vocabulary.claim_body import claim_body
from grab_service.vocabulary.claims import ClaimRecord, Validity, VoucherState, parse_holding
from grab_service.vocabulary.outcomes import Outcome, slug
from grab_service.vocabulary.refusals import fields_of_refusal

NEW_KEY: Final = " "
"""Stands for an Idempotency-Key that is new, as that of a new wish is: a key has no space, so no member has used this one."""
NO_REFUSALS: Final = frozenset({Outcome.WON, Outcome.HELD})
"""A holder's grab is answered with the claim."""


async def eligibility(cell: Cell, campaign_id: str, member_id: str) -> dict[str, Any]:
    """What keeps the member out of the campaign, whatever the hour and the stock.

    Raises:
        RefusalError: campaign-not-found.
        CellError: the cell cannot be asked.
    """
    reply = await cell.explain(campaign_id, Question.MEMBER, (member_id, "", ""))
    if reply.phase is None:
        raise RefusalError("campaign-not-found")
    return _verdict(reply)


async def explain(engine: AsyncEngine, cell: Cell, campaign_id: str, member_id: str) -> dict[str, Any]:
    """What a new grab of the member would hear now, and what they hold, with codes masked.

    The claims are read after the answer: one with a seq above `as_of_seq` was won in between.

    Raises:
        RefusalError: campaign-not-found; wrong-state if the cell has not got it, as of a draft.
        CellError: the cell cannot be asked.
    """
    campaign = await read_campaign(engine, campaign_id)
    reply = await cell.explain(campaign_id, Question.GRAB, (member_id, NEW_KEY, ""))
    if reply.phase is None:
        raise RefusalError("wrong-state", state=campaign.state.value)
    (holding,) = await cell.read_claims(member_id, [campaign_id])
    return {
        **_verdict(reply),
        "as_of_seq": reply.seq,
        "phase": reply.phase.value,
        "claims": [_claim(campaign, member_id, record) for record in parse_holding(holding)],
    }


def _verdict(reply: ExplainReply) -> dict[str, Any]:
    outcome, rest = read_explained(reply.answers[0])
    if outcome is None or outcome in NO_REFUSALS:
        return {"eligible": True, "code": None, "failed_rules": ()}
    fields = fields_of_refusal(outcome, rest, reply.opens_at_ms, reply.next_release_at_ms, reply.now_ms)
    return {"eligible": False, "code": slug(outcome), "failed_rules": (), **fields}


def _claim(campaign: Campaign, member_id: str, record: ClaimRecord) -> dict[str, Any]:
    benefit = campaign.definition["benefit"]
    body = claim_body(
        campaign.campaign_id,
        member_id,
        record,
        VoucherState.ACTIVE,
        Validity.of_benefit(benefit),
        has_voucher=benefit["kind"] != BenefitKind.NONE,
        on_request=benefit.get("reveal") == Reveal.ON_REQUEST,
    )
    return seen_by_ops(body, record.source)
