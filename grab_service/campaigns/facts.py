"""The state of a campaign for ops, over HTTP and on the command line."""

from typing import Any

from grab_service.campaigns.service import Campaign
from grab_service.vocabulary.campaigns import CampaignState, over_since_ms, phase_of, released_by
from grab_service.vocabulary.times import rfc3339


def campaign_facts(campaign: Campaign, active: int, now_ms: int) -> dict[str, Any]:
    """The campaign as JSON shows it.

    Args:
        campaign: as Postgres has it.
        active: units that are held now.
        now_ms: Redis' clock, which decides what is open.
    """
    draft = campaign.state is CampaignState.DRAFT
    closed_at_ms = None if draft else over_since_ms(campaign.closed_at_ms, campaign.closes_at_ms, now_ms)
    never_open = draft or (campaign.published_seq is None and campaign.state is CampaignState.CANCELLED)
    available = 0 if never_open else max(0, released_by(campaign.releases, now_ms) - active)
    return {
        "campaign_id": campaign.campaign_id,
        "state": campaign.state.value,
        "phase": None if draft else phase_of(campaign.state, campaign.releases, campaign.closes_at_ms, active, now_ms).value,
        "version": campaign.version,
        "published": campaign.published_seq is not None,
        **campaign.definition,
        "releases": [
            {"opens_at": rfc3339(release.opens_at_ms), "opens_at_ms": release.opens_at_ms, "quantity": release.quantity}
            for release in campaign.releases
        ],
        "opens_at": rfc3339(campaign.opens_at_ms),
        "opens_at_ms": campaign.opens_at_ms,
        "closes_at_ms": campaign.closes_at_ms,
        "closed_at": None if closed_at_ms is None else rfc3339(closed_at_ms),
        "closed_at_ms": closed_at_ms,
        "stock": {"total": campaign.total, "available": available, "active": active},
        "created_at": rfc3339(campaign.created_at_ms),
        "created_at_ms": campaign.created_at_ms,
    }
