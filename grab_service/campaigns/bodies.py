"""A campaign as members see it, made from the worker's view of the log without a call to Redis or SQL."""

from random import random
from typing import Any, Final

from grab_service.grabpath.view import CampaignView
from grab_service.vocabulary.campaigns import Phase, next_release_at_ms, over_since_ms
from grab_service.vocabulary.claim_body import claim_body
from grab_service.vocabulary.claims import ClaimRecord, VoucherState
from grab_service.vocabulary.times import rfc3339

POLL_OPEN_MS: Final = 2_000
POLL_RARE_MS: Final = 30_000
POLL_MAX_MS: Final = 60_000
POLL_SPREAD: Final = 0.25


def summary_body(campaign: CampaignView, now_ms: int) -> dict[str, Any]:
    """The campaign, as lists and its own page show it."""
    display = campaign.display
    closed_at_ms = over_since_ms(campaign.closed_at_ms, campaign.closes_at_ms, now_ms)
    return {
        "campaign_id": campaign.campaign_id,
        "title": display["title"],
        "summary": display["summary"],
        "category": display["category"],
        "allocation": display["allocation"],
        "phase": campaign.phase(now_ms).value,
        "opens_at": rfc3339(campaign.opens_at_ms),
        "opens_at_ms": campaign.opens_at_ms,
        "closes_at": rfc3339(campaign.closes_at_ms),
        "closes_at_ms": campaign.closes_at_ms,
        "closed_at": None if closed_at_ms is None else rfc3339(closed_at_ms),
        "closed_at_ms": closed_at_ms,
        "releases": [
            {"opens_at": rfc3339(release.opens_at_ms), "opens_at_ms": release.opens_at_ms, "quantity": release.quantity}
            for release in campaign.releases
        ],
        "next_release_at_ms": next_release_at_ms(campaign.releases, now_ms, campaign.closes_at_ms),
        "stock": stock_body(campaign, now_ms),
        "limit_per_member": campaign.limit_per_member,
        "price": display["price"],
        "eligibility": display["eligibility"],
        "benefit": display["benefit"],
    }


def stock_body(campaign: CampaignView, now_ms: int) -> dict[str, int]:
    """The whole stock, and its part that can be had now."""
    return {"total": campaign.total, "available": campaign.available(now_ms)}


def pulse_body(campaign: CampaignView, now_ms: int) -> dict[str, Any]:
    """What changes while members wait, and when to ask again."""
    phase = campaign.phase(now_ms)
    next_at_ms = next_release_at_ms(campaign.releases, now_ms, campaign.closes_at_ms)
    return {
        "campaign_id": campaign.campaign_id,
        "phase": phase.value,
        "stock": stock_body(campaign, now_ms),
        "opens_at_ms": campaign.opens_at_ms,
        "closes_at_ms": campaign.closes_at_ms,
        "next_release_at_ms": next_at_ms,
        "now_ms": now_ms,
        "poll_after_ms": poll_after_ms(phase, None if next_at_ms is None else next_at_ms - now_ms),
    }


def poll_after_ms(phase: Phase, until_release_ms: int | None) -> int:
    """Time for a member to wait before asking again, spread so that a crowd does not ask at once.

    While open, every few seconds. Before a release less often, the further away it is, and never in its very moment, in which
    the grabs come: a waiting member knows the time and needs no answer for it.
    """
    if phase is Phase.OPEN:
        wait_ms: float = POLL_OPEN_MS
    elif phase in {Phase.ENDED, Phase.CANCELLED}:
        wait_ms = POLL_MAX_MS
    elif until_release_ms is None:
        wait_ms = POLL_OPEN_MS if phase is Phase.PAUSED else POLL_RARE_MS / 3
    else:
        wait_ms = min(max(until_release_ms / 4, POLL_OPEN_MS), POLL_MAX_MS)
        if wait_ms * (1 + POLL_SPREAD) > until_release_ms:
            wait_ms = until_release_ms + POLL_OPEN_MS
    return round(wait_ms * (1 + POLL_SPREAD * random()))  # noqa: S311 -- a spread, no secret


def held_claim_body(campaign: CampaignView, member_id: str, record: ClaimRecord) -> dict[str, Any]:
    """A claim that the cell says is held; whether its code was asked for, the cell does not know."""
    return claim_body(
        campaign.campaign_id,
        member_id,
        record,
        VoucherState.ACTIVE,
        campaign.validity,
        campaign.has_voucher,
        campaign.on_request,
    )
