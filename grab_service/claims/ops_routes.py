"""Calls for ops about claims: export, explanation of one member's grab, making good, audit, and the ops log."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from grab_service.audit import AuditImpossibleError, audit_cell
from grab_service.claims.explain import explain
from grab_service.claims.export import export_claims
from grab_service.claims.make_good import make_good
from grab_service.claims.shapes import Audit, Explanation, OpsClaim, OpsLogPage
from grab_service.http.answers import NO_STORE, json_answer
from grab_service.http.bodies import StrictRoute
from grab_service.http.contract import CELL, LEDGER, OPS_ONLY, WRITTEN, answers
from grab_service.http.dependencies import (
    WITH_OPS_TOKEN,
    Reader,
    TheCell,
    TheEngine,
    TheLanguage,
    TheSettings,
    TheWorker,
    Writer,
)
from grab_service.http.examples import EXPLANATION, OPS_CLAIM
from grab_service.http.fields import MemberIdText, Moment, Reason
from grab_service.http.paging import Cursor, Limit, decode_cursor, encode_cursor, page_of
from grab_service.ops_log.log import LogFilter, read_log
from grab_service.refusal import RefusalError
from grab_service.vocabulary.claims import Codes
from grab_service.vocabulary.identifiers import ACTOR_MAX, IDEMPOTENCY_KEY_MAX, is_idempotency_key
from grab_service.vocabulary.times import parse_rfc3339, rfc3339

router = APIRouter(prefix="/v1/ops", tags=["ops"], dependencies=WITH_OPS_TOKEN, route_class=StrictRoute)

WORD_MAX: Final = 64
_EXAMPLE: Final = (
    "claim_id,campaign_id,member_id,state,unit_no,seq,granted_at_ms,code,idempotency_key,granted_at,org_id,org_name,voucher_state,"
    "valid_from,valid_until,source\r\n"
    "n4bv82kq7d.1.20417,n4bv82kq7d,m-000001,fulfilled,17,20417,1789876800012,****PC6N,,2026-09-20 12:00:00,"
    "org-001,第一工会,active,2026-09-20 12:00:00,2026-10-20 12:00:00,grab\r\n"
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
    settings: TheSettings,
    codes: Annotated[Codes, Query(description="`full` is for operators and admins; every export is in the log")] = Codes.MASKED,
) -> Response:
    """All that is on record at one moment, in the order in which they were won; safe to open in a spreadsheet.

    Codes are masked but for their last four characters, unless full ones are asked for. A cell that a spreadsheet would take
    for a formula has an apostrophe before it. `granted_at`, `valid_from` and `valid_until` are times of the cell's zone, the
    union is the member's of now.
    """
    pieces = await export_claims(engine, identity, campaign_id, codes, settings.time_zone)
    headers = {"content-disposition": f'attachment; filename="claims-{campaign_id}.csv"', **NO_STORE}
    return StreamingResponse(pieces, headers=headers, media_type="text/csv; charset=utf-8")


@router.get(
    "/campaigns/{campaign_id}/explain",
    summary="What would a member's grab hear now, and why?",
    response_model=Explanation,
    responses=answers(
        "validation",
        "campaign-not-found",
        "wrong-state",
        *OPS_ONLY,
        *LEDGER,
        *CELL,
        extra={"wrong-state": {"state": "draft"}},
        ok={200: {"content": {"application/json": {"example": EXPLANATION}}}},
    ),
)
async def explain_member(
    campaign_id: str,
    member_id: Annotated[MemberIdText, Query(description="the member that is asked about")],
    _identity: Reader,
    engine: TheEngine,
    cell: TheCell,
) -> Response:
    """By the rules of the grab, and nothing is written. Earlier answers to the member are not stored.

    `code` is the first refusal, with its own fields; null: a unit would be won, or the claim that is held would be shown again.
    """
    return json_answer(await explain(engine, cell, campaign_id, member_id))


class WantedClaim(BaseModel):
    """The member who gets a claim, and why."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [{"member_id": "m-000001", "reason": "故障中丢失的名额"}]}
    )

    member_id: MemberIdText
    reason: Reason
    beyond_stock: bool = Field(default=False, description="raise the total by one with it")


# FastAPI would answer 422 to a required header that is missing; the contract says 400.
_IDEMPOTENCY_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": True,
    "description": "It stands for one claim of one member, for good: a repeat with it gets the same claim.",
    "schema": {"type": "string", "minLength": 1, "maxLength": IDEMPOTENCY_KEY_MAX, "pattern": "^[!-~]*$"},
    "example": "make-good-17",
}


@router.post(
    "/campaigns/{campaign_id}/grants",
    summary="Make good: give a member a claim",
    status_code=201,
    response_model=OpsClaim,
    responses=answers(
        *WRITTEN,
        "idempotency-key-missing",
        "idempotency-key-reused",
        "campaign-not-found",
        "wrong-state",
        "member-unknown",
        "sold-out",
        "too-few-codes",
        "ledger-behind",
        *OPS_ONLY,
        *LEDGER,
        *CELL,
        extra={"wrong-state": {"state": "draft"}, "sold-out": {"next_release_at_ms": None, "waitlist": False}},
        ok={
            201: {"description": "Made.", "content": {"application/json": {"example": OPS_CLAIM}}},
            200: {
                "model": OpsClaim,
                "description": "Made before, with the same `Idempotency-Key`: the same claim, as it is now.",
                "content": {"application/json": {"example": OPS_CLAIM}},
            },
        },
    ),
    openapi_extra={"parameters": [_IDEMPOTENCY_KEY]},
)
async def make_good_claim(
    campaign_id: str,
    wanted: WantedClaim,
    identity: Writer,
    worker: TheWorker,
    idempotency_key: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> Response:
    """Limit, eligibility, blocks and window are not asked; a unit of a release still to come may be given.

    It is answered once it is on record. After a 503, repeat it with the same key: there is never a second claim.
    """
    if not idempotency_key:
        raise RefusalError("idempotency-key-missing")
    if not is_idempotency_key(idempotency_key):
        raise RefusalError("malformed", reason="Idempotency-Key")
    claim, is_new = await make_good(
        worker.engine,
        worker.cell,
        identity,
        campaign_id,
        wanted.member_id,
        key=idempotency_key,
        beyond_stock=wanted.beyond_stock,
        reason=wanted.reason,
    )
    return json_answer(claim, 201 if is_new else 200)


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
    actor: Annotated[str | None, Query(max_length=ACTOR_MAX, description="only what this one did")] = None,
    action: Annotated[str | None, Query(max_length=WORD_MAX, description="only this, such as `campaign.pause`")] = None,
    outcome: Annotated[str | None, Query(max_length=WORD_MAX, description="only what ended so, such as `done`")] = None,
    from_time: Annotated[Moment | None, Query(alias="from", description="only what was asked for then or later")] = None,
    to_time: Annotated[Moment | None, Query(alias="to", description="only what was asked for before then")] = None,
    cursor: Cursor = None,
    limit: Limit = 20,
) -> Response:
    """Newest first. `outcome` is `requested`, then `done`, or the problem it was refused with."""
    place: Any = decode_cursor(cursor, language, int)
    before = place[0] if place else None
    from_ms, to_ms = (None if moment is None else parse_rfc3339(moment) for moment in (from_time, to_time))
    wanted = LogFilter(object_id, actor, action, outcome, from_ms, to_ms)
    page, more = page_of(await read_log(engine, before_entry_id=before, limit=limit + 1, wanted=wanted), limit)
    items = [line | {"at": rfc3339(line["at_ms"])} for line in page]
    return json_answer({"items": items, "next_cursor": encode_cursor(page[-1]["entry_id"]) if more else None})
