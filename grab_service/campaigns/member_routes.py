"""Calls for members: the time and the campaigns, answered from the worker's view without SQL."""

from typing import Annotated, Any, Final, Literal

import orjson
from fastapi import APIRouter, Header, Query, Response

from grab_service.campaigns.bodies import held_claim_body, pulse_body, summary_body
from grab_service.cell.store import Cell, CellError
from grab_service.grabpath.view import CampaignView, View
from grab_service.http.answers import json_answer
from grab_service.http.bodies import StrictRoute
from grab_service.http.contract import ETAG, MEMBER_ONLY, answers
from grab_service.http.dependencies import WITH_PASS, AnyMember, TheCell, TheLanguage, TheView, TheWorker
from grab_service.http.etags import content_etag, matches_weakly
from grab_service.http.paging import Cursor, Limit, decode_cursor, encode_cursor, page_of
from grab_service.http.shapes import CampaignPage, CampaignWithMyClaims, Now, Pulse
from grab_service.refusal import RefusalError
from grab_service.vocabulary.campaigns import Phase
from grab_service.vocabulary.claims import parse_holding
from grab_service.vocabulary.identifiers import is_campaign_id

router = APIRouter(prefix="/v1", tags=["members"], route_class=StrictRoute)

WantedPhase = Literal["upcoming", "open", "ended"]
_PHASES: Final[dict[str, frozenset[Phase]]] = {
    "upcoming": frozenset({Phase.UPCOMING}),
    "open": frozenset({Phase.OPEN, Phase.SOLD_OUT, Phase.PAUSED}),
    "ended": frozenset({Phase.ENDED, Phase.CANCELLED}),
}
CLOCK_MARGIN_MS: Final = 1_000
_REVALIDATED: Final = "private, no-cache"


async def known_campaign(view: View, campaign_id: str) -> CampaignView:
    """A published campaign.

    Raises:
        RefusalError: campaign-not-found.
        StaleViewError: this worker does not know it, and its view is not fresh.
    """
    campaign = await view.find(campaign_id) if is_campaign_id(campaign_id) else None
    if campaign is None:
        raise RefusalError("campaign-not-found")
    return campaign


@router.get("/time", summary="The time", response_model=Now, responses=answers())
async def now(view: TheView) -> Response:
    """For clock synchronisation: the clock by which everything opens and closes."""
    return json_answer({"now_ms": view.now_ms()})


@router.get(
    "/campaigns", summary="Campaigns", response_model=CampaignPage, responses=answers("validation", "paused-for-recovery")
)
async def list_campaigns(
    view: TheView,
    language: TheLanguage,
    phase: Annotated[
        WantedPhase | None, Query(description="`open` has those sold out or paused, `ended` those cancelled")
    ] = None,
    cursor: Cursor = None,
    limit: Limit = 20,
) -> Response:
    """Those to come with the soonest first; all others with the latest opening first."""
    if not view.is_built:
        raise RefusalError("paused-for-recovery")
    now_ms = view.now_ms()
    wanted = _PHASES[phase] if phase else frozenset(Phase)
    sign = 1 if phase == "upcoming" else -1
    keyed = [
        ((sign * campaign.opens_at_ms, campaign.campaign_id), campaign)
        for campaign in view.campaigns()
        if campaign.phase(now_ms) in wanted
    ]
    after: Any = decode_cursor(cursor, language, int, str)
    keyed = sorted((entry for entry in keyed if after is None or entry[0] > after), key=lambda entry: entry[0])
    page, more = page_of(keyed[: limit + 1], limit)
    return json_answer(
        {
            "items": [summary_body(campaign, now_ms) for _, campaign in page],
            "next_cursor": encode_cursor(*page[-1][0]) if more else None,
        }
    )


@router.get(
    "/campaigns/{campaign_id}",
    summary="One campaign",
    dependencies=WITH_PASS,
    response_model=CampaignWithMyClaims,
    responses=answers(
        *MEMBER_ONLY,
        "campaign-not-found",
        "paused-for-recovery",
        ok={200: {"headers": ETAG}, 304: {"description": "What you have is what there is.", "headers": ETAG}},
    ),
    openapi_extra={"security": [{}]},  # beside the pass: it may be left out
)
async def read_campaign(
    campaign_id: str,
    member_id: AnyMember,
    view: TheView,
    cell: TheCell,
    worker: TheWorker,
    if_none_match: Annotated[str | None, Header(description="the ETag of an earlier answer")] = None,
) -> Response:
    """With a pass also what the caller holds of it. Drafts are not found."""
    campaign = await known_campaign(view, campaign_id)
    worker.metrics.opened[campaign_id] += 1
    now_ms = view.now_ms()
    body = summary_body(campaign, now_ms)
    body["my_claims"] = None if member_id is None else await _my_claims(cell, campaign, member_id, now_ms)
    written = orjson.dumps(body)
    etag = content_etag(written)
    headers = {"etag": etag, "cache-control": _REVALIDATED, "vary": "Authorization"}
    if if_none_match is not None and matches_weakly(if_none_match, etag):
        return Response(status_code=304, headers=headers)
    return Response(written, headers=headers, media_type="application/json")


@router.get(
    "/campaigns/{campaign_id}/state",
    summary="What changes while members wait",
    response_model=Pulse,
    responses=answers("campaign-not-found", "paused-for-recovery"),
)
async def read_state(campaign_id: str, view: TheView) -> Response:
    """Small and cheap; says when to ask again."""
    campaign = await known_campaign(view, campaign_id)
    return json_answer(pulse_body(campaign, view.now_ms()))


async def _my_claims(cell: Cell, campaign: CampaignView, member_id: str, now_ms: int) -> list[dict[str, Any]] | None:
    if now_ms < campaign.opens_at_ms - CLOCK_MARGIN_MS:
        return []  # the crowd that waits for the opening costs the cell nothing
    try:
        (holding,) = await cell.read_claims(member_id, [campaign.campaign_id])
    except CellError:
        return None  # the campaign can still be shown; what the caller holds, their own list will say
    return [held_claim_body(campaign, member_id, record) for record in parse_holding(holding)]
