"""Lifecycle calls for ops: preflight, arm, pause, resume, close, cancel, and change of stock."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from grab_service.campaigns.definition import TOTAL_MAX, Definition
from grab_service.campaigns.lifecycle import Action, schedule, set_state, set_stock
from grab_service.campaigns.ops_routes import campaign_answer
from grab_service.campaigns.preflight import Level, preflight
from grab_service.campaigns.preflight import look_ahead as ahead
from grab_service.campaigns.service import read_campaign
from grab_service.campaigns.shapes import Findings, OpsCampaign
from grab_service.http.answers import json_answer
from grab_service.http.bodies import StrictRoute
from grab_service.http.contract import CELL, ETAG, LEDGER, OPS_ONLY, WRITTEN, answers
from grab_service.http.dependencies import WITH_OPS_TOKEN, Reader, TheCell, TheEngine, TheLanguage, TheWorker, Writer
from grab_service.http.examples import DEFINITION, FINDING
from grab_service.http.field_errors import ERRORS_MAX, field_of, reason_of
from grab_service.http.fields import Reason, Whole

router = APIRouter(prefix="/v1/ops/campaigns", tags=["ops"], route_class=StrictRoute, dependencies=WITH_OPS_TOKEN)

preflights = APIRouter(prefix="/v1/ops", tags=["ops"], route_class=StrictRoute, dependencies=WITH_OPS_TOKEN)

_FOUND: Final = ("campaign-not-found",)


class Because(BaseModel):
    """The reason, for the log of ops."""

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


@preflights.post(
    "/preflight",
    summary="What would go wrong with a campaign that nobody has written down yet",
    response_model=Findings,
    responses=answers(*WRITTEN, *OPS_ONLY, *LEDGER, *CELL),
)
async def look_ahead_of(
    definition: Annotated[
        dict[str, Any],
        Body(
            description="as for writing a campaign; it may be incomplete",
            openapi_examples={"moon cakes": {"value": DEFINITION}},
        ),
    ],
    _identity: Reader,
    engine: TheEngine,
    cell: TheCell,
    language: TheLanguage,
) -> Response:
    """Nothing is stored. Each missing or impossible field is a finding of its own; the rest is checked once all are there."""
    try:
        whole = Definition.model_validate(definition)
    except ValidationError as error:
        found = [
            {
                "level": Level.ERROR.value,
                "code": "missing" if one["type"] == "missing" else "invalid",
                "field": field_of(one["loc"]),
                "message": reason_of(one, language),
            }
            for one in error.errors()[:ERRORS_MAX]
        ]
        return json_answer({"ok": False, "findings": found})
    findings = await ahead(engine, cell, whole)
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
    return campaign_answer(campaign, worker.view)


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
    return campaign_answer(campaign, worker.view)


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
    """For good; a draft, too. Vouchers already issued stay valid: nothing is taken back."""
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
    """`expected_total` must be the total in force. Added units are there at once; removed ones come off the last release."""
    campaign = await set_stock(
        worker.engine,
        worker.cell,
        identity,
        campaign_id,
        expected_total=change.expected_total,
        total=change.total,
        reason=change.reason,
    )
    return campaign_answer(campaign, worker.view)
