"""Calls by which everybody checks the log: its chain, signed checkpoints, the keys of the signatures; for ops, the entries."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from grab_service.chain.reading import log_lines, read_checkpoints, read_links, span_of
from grab_service.chain.shapes import ChainPage, CheckpointPage, PublicKeys
from grab_service.claims.export import SEES_CODES
from grab_service.http.answers import NO_STORE, json_answer
from grab_service.http.bodies import StrictRoute
from grab_service.http.contract import LEDGER, OPS_ONLY, answers
from grab_service.http.dependencies import WITH_OPS_TOKEN, Reader, TheEngine, TheLanguage
from grab_service.http.examples import PROOF
from grab_service.http.paging import Cursor, decode_cursor, encode_cursor, page_of
from grab_service.ops_log.log import logged
from grab_service.refusal import RefusalError
from grab_service.vocabulary.claims import Codes

router = APIRouter(prefix="/v1", tags=["members"], route_class=StrictRoute)
ops_router = APIRouter(prefix="/v1/ops", tags=["ops"], dependencies=WITH_OPS_TOKEN, route_class=StrictRoute)

SEQ_MAX: Final = 2**62
ACTION: Final = "log.export"
Limit = Annotated[int, Query(ge=1, le=1000, description="entries a page")]
_LINK: Final[dict[str, Any]] = {"first_seq": 20418, "last_seq": 20431, "digest": PROOF["head"], "break": None}
_CHECKPOINT: Final = {
    "seq": 20431,
    "head": PROOF["head"],
    "at": "2026-09-20T04:00:01.003Z",
    "signature": "eyJhbGciOiJFZERTQSIsImtpZCI6InM3ZjAxYTIifQ..c2lnbmF0dXJl",
}
_EXAMPLE: Final = (
    '{"first_seq":20417,"last_seq":20417,"digest":"5891b5b5…","break":null,"entry":["20417-0","type","granted",…],"masked":true}\n'
    '{"first_seq":20418,"last_seq":20418,"digest":"a1c0d7e2…","break":null}\n'
)


@router.get(
    "/campaigns/{campaign_id}/chain",
    summary="The chain of the log",
    response_model=ChainPage,
    responses=answers(
        "validation",
        "campaign-not-found",
        *LEDGER,
        ok={200: {"content": {"application/json": {"example": {"items": [_LINK], "next_cursor": None}}}}},
    ),
)
async def read_chain(
    campaign_id: str,
    engine: TheEngine,
    language: TheLanguage,
    from_seq: Annotated[int, Query(ge=1, le=SEQ_MAX, description="only entries that end there or later")] = 1,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Response:
    """Of all entries of the cell in the campaign's time: their places and digests, what they say is not shown.

    It begins behind the checkpoint before the campaign was published: from there on, answers with `head` can be folded.
    """
    span = await span_of(engine, campaign_id)
    place: Any = decode_cursor(cursor, language, int)
    found = await read_links(engine, span, after_seq=place[0] if place else from_seq - 1, limit=limit + 1)
    page, more = page_of(found, limit)
    return json_answer({"items": page, "next_cursor": encode_cursor(page[-1]["last_seq"]) if more else None})


@router.get(
    "/campaigns/{campaign_id}/checkpoints",
    summary="The signed heads of the chain",
    response_model=CheckpointPage,
    responses=answers(
        "validation",
        "campaign-not-found",
        *LEDGER,
        ok={200: {"content": {"application/json": {"example": {"items": [_CHECKPOINT], "next_cursor": None}}}}},
    ),
)
async def list_checkpoints(
    campaign_id: str, engine: TheEngine, language: TheLanguage, cursor: Cursor = None, limit: Limit = 100
) -> Response:
    """Of every second in which the log moved, from that before the campaign was published to that behind its end."""
    span = await span_of(engine, campaign_id)
    place: Any = decode_cursor(cursor, language, int)
    found = await read_checkpoints(engine, span, after_seq=place[0] if place else -1, limit=limit + 1)
    page, more = page_of(found, limit)
    return json_answer({"items": page, "next_cursor": encode_cursor(page[-1]["seq"]) if more else None})


@router.get("/keys", summary="The keys of the service's signatures", response_model=PublicKeys, responses=answers())
async def keys(request: Request) -> Response:
    """A JWK set (RFC 7517): the first key signs, the others have signed. Empty where the operator has set none."""
    return json_answer({"keys": request.app.state.signing_keys.public}, cache_control="public, max-age=300")


@ops_router.get(
    "/campaigns/{campaign_id}/log.jsonl",
    summary="The log in a campaign's time, line by line",
    response_class=StreamingResponse,
    responses=answers(
        "validation",
        "campaign-not-found",
        *OPS_ONLY,
        *LEDGER,
        ok={200: {"content": {"application/jsonl": {"schema": {"type": "string"}, "example": _EXAMPLE}}}},
    ),
)
async def log_jsonl(
    campaign_id: str,
    identity: Reader,
    engine: TheEngine,
    codes: Annotated[Codes, Query(description="`full` is for operators and admins; every export is in the log")] = Codes.MASKED,
) -> Response:
    """The lines of the chain; those of the campaign's own entries with `entry`: the texts whose bytes the digest is of.

    Where codes are masked, the line says `masked`, and its digest cannot be worked out from it.
    """
    async with logged(engine, identity, ACTION, campaign_id, detail={"codes": codes.value}):
        if codes is Codes.FULL and identity.role not in SEES_CODES:
            raise RefusalError("forbidden", role=identity.role.value)
        span = await span_of(engine, campaign_id)
    headers = {"content-disposition": f'attachment; filename="log-{campaign_id}.jsonl"', **NO_STORE}
    lines = log_lines(engine, span, campaign_id, full_codes=codes is Codes.FULL)
    return StreamingResponse(lines, headers=headers, media_type="application/jsonl")
