"""Calls for ops: list the ledger's alarms, and acknowledge them."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from grab_service.alarms.service import Alarm, AlarmState, acknowledge_alarm, list_alarms
from grab_service.alarms.shapes import AlarmPage, AlarmShape, BecauseNeeded
from grab_service.http.answers import json_answer
from grab_service.http.bodies import StrictRoute
from grab_service.http.contract import LEDGER, OPS_ONLY, WRITTEN, answers
from grab_service.http.dependencies import WITH_OPS_TOKEN, Reader, TheEngine, TheLanguage, Writer
from grab_service.http.paging import Cursor, Limit, decode_cursor, encode_cursor, page_of
from grab_service.vocabulary.times import rfc3339

router = APIRouter(prefix="/v1/ops", tags=["ops"], dependencies=WITH_OPS_TOKEN, route_class=StrictRoute)


def alarm_body(alarm: Alarm) -> dict[str, Any]:
    """An alarm as JSON shows it."""
    times = {name: getattr(alarm, f"{name}_ms") for name in ("raised_at", "acknowledged_at", "cleared_at")}
    return {
        "alarm_id": str(alarm.alarm_id),
        "kind": alarm.kind,
        "state": alarm.state.value,
        "detail": alarm.detail,
        "acknowledged_by": alarm.acknowledged_by,
        **{name: None if at_ms is None else rfc3339(at_ms) for name, at_ms in times.items()},
        **{f"{name}_ms": at_ms for name, at_ms in times.items()},
    }


@router.get(
    "/alarms",
    summary="What the ledger has found wrong",
    response_model=AlarmPage,
    responses=answers("validation", *OPS_ONLY, *LEDGER),
)
async def alarms(
    _identity: Reader,
    engine: TheEngine,
    language: TheLanguage,
    state: Annotated[AlarmState | None, Query(description="only those in this state")] = None,
    cursor: Cursor = None,
    limit: Limit = 20,
) -> Response:
    """The newest first. An alarm is open until its cause is gone; then it is cleared by itself. `recovery-lost` never is."""
    place: Any = decode_cursor(cursor, language, int)
    before = place[0] if place else None
    page, more = page_of(await list_alarms(engine, state=state, before_alarm_id=before, limit=limit + 1), limit)
    next_cursor = encode_cursor(page[-1].alarm_id) if more else None
    return json_answer({"items": [alarm_body(alarm) for alarm in page], "next_cursor": next_cursor})


@router.post(
    "/alarms/{alarm_id}/acknowledge",
    summary="Take note of an alarm",
    response_model=AlarmShape,
    responses=answers(*WRITTEN, "alarm-not-found", *OPS_ONLY, *LEDGER),
)
async def acknowledge(alarm_id: str, because: BecauseNeeded, identity: Writer, engine: TheEngine) -> Response:
    """It ends nothing by itself: the alarm stays, with who knows of it. Again: the same."""
    return json_answer(alarm_body(await acknowledge_alarm(engine, identity, alarm_id, because.reason)))
