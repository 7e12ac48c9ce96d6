"""Which calls do ops have to write campaigns, and to arm, pause, resume, close and cancel them?"""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Header, Query, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from grab_service.api.answers import json_answer
from grab_service.api.bodies import StrictRoute
from grab_service.api.contract import CELL, ETAG, LEDGER, LOCATION, OPS_ONLY, WRITTEN, answers
from grab_service.api.dependencies import (
    WITH_OPS_TOKEN,
    Reader,
    TheCell,
    TheEngine,
    TheLanguage,
    TheView,
    TheWorker,
    Writer,
)
from grab_service.api.etags import matches_strongly, version_etag
from grab_service.api.examples import DEFINITION, FINDING
from grab_service.api.field_errors import field_errors
from grab_service.api.paging import Cursor, Limit, decode_cursor, encode_cursor, page_of
from grab_service.api.shapes import Findings, OpsCampaign, OpsCampaignPage
from grab_service.grabpath.view import View
from grab_service.ops.campaign_facts import campaign_facts
from grab_service.ops.campaigns import Campaign, change_draft, create_campaign, list_campaigns, read_campaign
from grab_service.ops.control import Action, schedule, set_state, set_stock
from grab_service.ops.definition import TOTAL_MAX, Definition
from grab_service.ops.fields import Reason, Whole
from grab_service.ops.merge_patch import merged
from grab_service.ops.preflight import Level, preflight
from grab_service.ops.refusal import RefusalError
from grab_service.vocabulary.campaigns import CampaignState

router = APIRouter(prefix="/v1/ops/campaigns", tags=["ops"], route_class=StrictRoute, dependencies=WITH_OPS_TOKEN)

_FOUND: Final = ("campaign-not-found",)

# FastAPI would answer 422 to a required header that is missing; the contract says 428.
_IF_MATCH: Final = {
    "name": "If-Match",
    "in": "header",
    "required": True,
    "description": "the ETag of what was read",
    "schema": {"type": "string"},
    "example": '"1"',
}


class Because(BaseModel):
    """Why; it stands in the log of what was done."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra={"examples": [{"reason": "一批券码有误"}]})

    reason: Reason | None = None


class StockChange(BaseModel):
    """The total that is there, the total that shall be, and why."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"expected_total": 3000, "total": 3500, "reason": "赞助商追加 500 份"}]},
    )

    expected_total: Whole = Field(ge=0, le=TOTAL_MAX)
    total: Whole = Field(ge=1, le=TOTAL_MAX)
    reason: Reason


def campaign_body(campaign: Campaign, view: View) -> dict[str, Any]:
    """A campaign as ops read it; what of the stock is given out comes from the worker's view of the log."""
    published = view.campaign(campaign.campaign_id)
    return campaign_facts(campaign, published.active if published is not None else 0, view.now_ms())


def _answer(campaign: Campaign, view: View, status: int = 200, **headers: str) -> Response:
    return json_answer(campaign_body(campaign, view), status, etag=version_etag(campaign.version), **headers)


@router.post(
    "",
    summary="Write a campaign: a draft",
    status_code=201,
    response_model=OpsCampaign,
    responses=answers(*WRITTEN, *OPS_ONLY, *LEDGER, ok={201: {"headers": ETAG | LOCATION}}),
)
async def create(
    definition: Annotated[Definition, Body(openapi_examples={"moon cakes": {"value": DEFINITION}})],
    identity: Writer,
    engine: TheEngine,
    view: TheView,
) -> Response:
    """Only `title`, `releases`, `closes_at` and `benefit` are required; the rest is a free rush for all, one each.

    What this release does not support is refused by name.
    """
    campaign = await create_campaign(engine, identity, definition)
    return _answer(campaign, view, 201, location=f"/v1/ops/campaigns/{campaign.campaign_id}")


@router.get(
    "",
    summary="All campaigns, newest first",
    response_model=OpsCampaignPage,
    responses=answers("validation", *OPS_ONLY, *LEDGER),
)
async def list_all(
    _identity: Reader,
    engine: TheEngine,
    view: TheView,
    language: TheLanguage,
    state: Annotated[CampaignState | None, Query(description="only those in this state")] = None,
    cursor: Cursor = None,
    limit: Limit = 20,
) -> Response:
    """Drafts included."""
    after: Any = decode_cursor(cursor, language, int, str)
    found = await list_campaigns(engine, after=after, limit=limit + 1, states=[state] if state else [])
    campaigns, more = page_of(found, limit)
    last = campaigns[-1] if more else None
    return json_answer(
        {
            "items": [campaign_body(campaign, view) for campaign in campaigns],
            "next_cursor": encode_cursor(last.created_at_ms, last.campaign_id) if last else None,
        }
    )


@router.get(
    "/{campaign_id}",
    summary="One campaign",
    response_model=OpsCampaign,
    responses=answers(*_FOUND, *OPS_ONLY, *LEDGER, ok={200: {"headers": ETAG}}),
)
async def read(campaign_id: str, _identity: Reader, engine: TheEngine, view: TheView) -> Response:
    """The ETag covers the configuration: what `PATCH` changes."""
    return _answer(await read_campaign(engine, campaign_id), view)


@router.patch(
    "/{campaign_id}",
    summary="Change a draft",
    response_model=OpsCampaign,
    responses=answers(
        *WRITTEN,
        *_FOUND,
        "wrong-state",
        "precondition-failed",
        "precondition-required",
        *OPS_ONLY,
        *LEDGER,
        extra={"wrong-state": {"state": "scheduled"}},
        ok={200: {"headers": ETAG}},
    ),
    openapi_extra={"parameters": [_IF_MATCH]},
)
async def change(
    campaign_id: str,
    changes: Annotated[
        dict[str, Any],
        Body(
            description="A merge patch (RFC 7396): what is left out stays, null goes back to its default.",
            openapi_examples={"a better title": {"value": {"title": "中秋月饼（第二批）"}}},
        ),
    ],
    identity: Writer,
    engine: TheEngine,
    view: TheView,
    language: TheLanguage,
    if_match: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> Response:
    """The whole must be valid afterwards. Once scheduled, the configuration is fixed."""
    campaign = await read_campaign(engine, campaign_id)
    if if_match is None:
        raise RefusalError("precondition-required")
    if not matches_strongly(if_match, version_etag(campaign.version)):
        raise RefusalError("precondition-failed")
    if campaign.state is not CampaignState.DRAFT:
        raise RefusalError("wrong-state", state=campaign.state.value)
    try:
        definition = Definition.model_validate(merged(campaign.definition, changes))
    except ValidationError as error:
        errors = field_errors(error.errors(), language)
        raise RefusalError("validation", errors=errors) from error
    return _answer(await change_draft(engine, identity, campaign, definition), view)


@router.get(
    "/{campaign_id}/preflight",
    summary="What would go wrong",
    response_model=Findings,
    responses=answers(*_FOUND, *OPS_ONLY, *LEDGER, *CELL),
)
async def look_ahead(campaign_id: str, _identity: Reader, engine: TheEngine, cell: TheCell, language: TheLanguage) -> Response:
    """Everything, before it does. Errors keep the campaign from being scheduled, warnings are advice."""
    findings = await preflight(engine, cell, await read_campaign(engine, campaign_id))
    ok = not any(finding.level is Level.ERROR for finding in findings)
    return json_answer({"ok": ok, "findings": [finding.in_language(language) for finding in findings]})


@router.post(
    "/{campaign_id}/schedule",
    summary="Arm a draft",
    response_model=OpsCampaign,
    responses=answers(
        *WRITTEN,
        *_FOUND,
        "preflight-failed",
        "wrong-state",
        "precondition-failed",
        "too-few-codes",
        "ledger-behind",
        *OPS_ONLY,
        *LEDGER,
        *CELL,
        extra={"wrong-state": {"state": "scheduled"}, "preflight-failed": {"findings": [FINDING]}},
        ok={200: {"headers": ETAG}},
    ),
)
async def arm(
    campaign_id: str,
    identity: Writer,
    worker: TheWorker,
    because: Because | None = None,
) -> Response:
    """From the answer on, members see it; it opens by the clock, with nobody touching anything."""
    reason = because.reason if because else None
    campaign = await schedule(worker.engine, worker.cell, identity, campaign_id, reason=reason)
    return _answer(campaign, worker.view)


_CONTROLLED: Final = answers(
    *WRITTEN,
    *_FOUND,
    "wrong-state",
    "ledger-behind",
    *OPS_ONLY,
    *LEDGER,
    *CELL,
    extra={"wrong-state": {"state": "draft"}},
    ok={200: {"headers": ETAG}},
)


async def _control(worker: TheWorker, identity: Writer, campaign_id: str, action: Action, because: Because | None) -> Response:
    reason = because.reason if because else None
    campaign = await set_state(worker.engine, worker.cell, identity, campaign_id, action, reason=reason)
    return _answer(campaign, worker.view)


@router.post(
    "/{campaign_id}/pause", summary="Pause: nobody wins until resumed", response_model=OpsCampaign, responses=_CONTROLLED
)
async def pause(campaign_id: str, identity: Writer, worker: TheWorker, because: Because | None = None) -> Response:
    """Claims already made stay. Being paused already is no error. When this has answered, no later grab escapes it."""
    return await _control(worker, identity, campaign_id, Action.PAUSE, because)


@router.post("/{campaign_id}/resume", summary="Resume what is paused", response_model=OpsCampaign, responses=_CONTROLLED)
async def resume(campaign_id: str, identity: Writer, worker: TheWorker, because: Because | None = None) -> Response:
    """It goes on where the clock is: a release that came due meanwhile is there."""
    return await _control(worker, identity, campaign_id, Action.RESUME, because)


@router.post("/{campaign_id}/close", summary="Close before its time", response_model=OpsCampaign, responses=_CONTROLLED)
async def close(campaign_id: str, identity: Writer, worker: TheWorker, because: Because | None = None) -> Response:
    """For good. Claims already made stay, and so do their vouchers."""
    return await _control(worker, identity, campaign_id, Action.CLOSE, because)


@router.post("/{campaign_id}/cancel", summary="Cancel", response_model=OpsCampaign, responses=_CONTROLLED)
async def cancel(campaign_id: str, identity: Writer, worker: TheWorker, because: Because | None = None) -> Response:
    """For good; a draft, too. Vouchers already issued stay valid: what was given away is not taken back."""
    return await _control(worker, identity, campaign_id, Action.CANCEL, because)


@router.post(
    "/{campaign_id}/stock",
    summary="Change the stock, by compare-and-set",
    response_model=OpsCampaign,
    responses=answers(
        *WRITTEN,
        *_FOUND,
        "wrong-state",
        "stock-changed",
        "below-issued",
        "too-few-codes",
        "ledger-behind",
        *OPS_ONLY,
        *LEDGER,
        *CELL,
        extra={
            "wrong-state": {"state": "closed"},
            "stock-changed": {"total": 3500, "issued": 1200},
            "below-issued": {"total": 3000, "issued": 1200},
        },
        ok={200: {"headers": ETAG}},
    ),
)
async def change_stock(campaign_id: str, change: StockChange, identity: Writer, worker: TheWorker) -> Response:
    """`expected_total` must be the total in force. What is added is there at once; what is taken comes off the last release."""
    campaign = await set_stock(
        worker.engine,
        worker.cell,
        identity,
        campaign_id,
        expected_total=change.expected_total,
        total=change.total,
        reason=change.reason,
    )
    return _answer(campaign, worker.view)
