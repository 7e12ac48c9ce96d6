"""Which calls show ops what happened? Claims as a file, the audit, and who did what."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse

from grab_service.api.answers import NO_STORE, json_answer
from grab_service.api.bodies import StrictRoute
from grab_service.api.contract import CELL, LEDGER, OPS_ONLY, answers
from grab_service.api.dependencies import WITH_OPS_TOKEN, Reader, TheEngine, TheLanguage, TheWorker
from grab_service.api.ops_shapes import Audit, OpsLogPage
from grab_service.api.paging import Cursor, Limit, decode_cursor, encode_cursor, page_of
from grab_service.ops.audit import AuditImpossibleError, audit_cell
from grab_service.ops.claims_export import export_claims
from grab_service.ops.ops_log import read_log
from grab_service.ops.refusal import RefusalError
from grab_service.vocabulary.claims import Codes
from grab_service.vocabulary.times import rfc3339

router = APIRouter(prefix="/v1/ops", tags=["ops"], dependencies=WITH_OPS_TOKEN, route_class=StrictRoute)

_EXAMPLE = (
    "claim_id,campaign_id,member_id,state,unit_no,seq,granted_at_ms,code,idempotency_key\r\n"
    "n4bv82kq7d.1.20417,n4bv82kq7d,m-000001,fulfilled,17,20417,1789876800012,****5N8D,\r\n"
)


@router.get(
    "/campaigns/{campaign_id}/claims.csv",
    summary="The claims of a campaign, as a file",
    response_class=StreamingResponse,
    responses=answers(
        "validation",
        "campaign-not-found",
        *OPS_ONLY,
        *LEDGER,
        ok={200: {"content": {"text/csv": {"schema": {"type": "string"}, "example": _EXAMPLE}}}},
    ),
)
async def claims_csv(
    campaign_id: str,
    identity: Reader,
    engine: TheEngine,
    codes: Annotated[Codes, Query(description="`full` is for operators and admins; every export is in the log")] = Codes.MASKED,
) -> Response:
    """All that is on record at one moment, in the order in which they were won; safe to open in a spreadsheet.

    Codes are masked but for their last four characters, unless full ones are asked for. A cell that a spreadsheet would take
    for a formula has an apostrophe before it.
    """
    pieces = await export_claims(engine, identity, campaign_id, codes)
    headers = {"content-disposition": f'attachment; filename="claims-{campaign_id}.csv"', **NO_STORE}
    return StreamingResponse(pieces, headers=headers, media_type="text/csv; charset=utf-8")


@router.get(
    "/audit",
    summary="Is the stock conserved, and is Redis equal to Postgres?",
    response_model=Audit,
    responses=answers("ledger-behind", *OPS_ONLY, *LEDGER, *CELL),
)
async def audit(_identity: Reader, worker: TheWorker) -> Response:
    """Now, at one consistent cut of the log, beside the running sale. `holds`: all that could be judged holds."""
    try:
        report = await audit_cell(worker.cell, worker.engine, worker.redis)
    except AuditImpossibleError as error:
        raise RefusalError("ledger-behind") from error
    return json_answer(report.as_json())


@router.get(
    "/log",
    summary="Who did what, when and why",
    response_model=OpsLogPage,
    responses=answers("validation", *OPS_ONLY, *LEDGER),
)
async def log(
    _identity: Reader,
    engine: TheEngine,
    language: TheLanguage,
    object_id: Annotated[
        str | None, Query(max_length=100, description="only what was done to this campaign, member or union")
    ] = None,
    cursor: Cursor = None,
    limit: Limit = 20,
) -> Response:
    """Newest first. `outcome` is `requested`, then `done`, or the problem it was refused with."""
    place: Any = decode_cursor(cursor, language, int)
    before = place[0] if place else None
    page, more = page_of(await read_log(engine, before_entry_id=before, limit=limit + 1, object_id=object_id), limit)
    items = [line | {"at": rfc3339(line["at_ms"])} for line in page]
    return json_answer({"items": items, "next_cursor": encode_cursor(page[-1]["entry_id"]) if more else None})
