"""Calls for ops about what was answered."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from grab_service.counts.report import campaign_report
from grab_service.counts.shapes import Report
from grab_service.http.answers import json_answer
from grab_service.http.bodies import StrictRoute
from grab_service.http.contract import LEDGER, OPS_ONLY, answers
from grab_service.http.dependencies import WITH_OPS_TOKEN, Reader, TheEngine
from grab_service.http.examples import REPORT
from grab_service.http.fields import Moment
from grab_service.vocabulary.times import parse_rfc3339

router = APIRouter(prefix="/v1/ops/campaigns", tags=["ops"], dependencies=WITH_OPS_TOKEN, route_class=StrictRoute)


@router.get(
    "/{campaign_id}/report",
    summary="What happened in a campaign, second by second",
    response_model=Report,
    responses=answers(
        "validation",
        "campaign-not-found",
        *OPS_ONLY,
        *LEDGER,
        ok={200: {"content": {"application/json": {"example": REPORT}}}},
    ),
)
async def report(
    campaign_id: str,
    _identity: Reader,
    engine: TheEngine,
    from_time: Annotated[
        Moment | None, Query(alias="from", description="show one hour from then on; else from a minute before the opening")
    ] = None,
) -> Response:
    """As far as it is on record: a second or two behind. `exact` and `lower_bound` name the fields that are so.

    A lower bound may be too low, never too high: what a worker counted in its last second is gone with it if it is killed.
    """
    from_ms = None if from_time is None else parse_rfc3339(from_time)
    return json_answer(await campaign_report(engine, campaign_id, from_ms))
