"""Calls for members: eligibility, own claims, and the return of a claim."""

from typing import Any

from fastapi import APIRouter, Response

from grab_service.campaigns.member_routes import known_campaign
from grab_service.claims.explain import eligibility
from grab_service.claims.give_back import give_back
from grab_service.claims.records import read_claim, read_my_claims
from grab_service.http.answers import json_answer
from grab_service.http.bodies import StrictRoute
from grab_service.http.contract import CELL, LEDGER, MEMBER_ONLY, answers
from grab_service.http.dependencies import WITH_PASS, MemberId, TheCell, TheEngine, TheLanguage, TheView
from grab_service.http.examples import CLAIM, ELIGIBILITY
from grab_service.http.paging import Cursor, Limit, decode_cursor, encode_cursor, page_of
from grab_service.http.shapes import Claim, ClaimPage, EligibilityOfMember
from grab_service.refusal import RefusalError
from grab_service.vocabulary.claims import ClaimRef
from grab_service.vocabulary.identifiers import is_campaign_id

router = APIRouter(prefix="/v1", tags=["members"], dependencies=WITH_PASS, route_class=StrictRoute)


def _parsed(claim_id: str) -> ClaimRef:
    ref = ClaimRef.parse(claim_id)
    if ref is None or not is_campaign_id(ref.campaign_id):
        raise RefusalError("claim-not-found")
    return ref


@router.get(
    "/campaigns/{campaign_id}/eligibility",
    summary="May I take part, and if not, why not?",
    response_model=EligibilityOfMember,
    responses=answers(
        *MEMBER_ONLY,
        "campaign-not-found",
        *CELL,
        ok={200: {"content": {"application/json": {"examples": ELIGIBILITY}}}},
    ),
)
async def read_eligibility(campaign_id: str, member_id: MemberId, view: TheView, cell: TheCell) -> Response:
    """By the rules of the grab, but for the hour and the stock: the answer is the same before opening and when it is over.

    `code` is the first refusal that a grab would hear, with its own fields; null: the caller may take part.
    """
    await known_campaign(view, campaign_id)
    return json_answer(await eligibility(cell, campaign_id, member_id))


@router.get(
    "/claims/{claim_id}",
    summary="One of my claims",
    response_model=Claim,
    responses=answers(
        *MEMBER_ONLY,
        "claim-not-found",
        "paused-for-recovery",
        "outcome-unknown",
        *LEDGER,
        ok={200: {"content": {"application/json": {"example": CLAIM}}}},
    ),
)
async def read(claim_id: str, member_id: MemberId, engine: TheEngine, view: TheView, cell: TheCell) -> Response:
    """The caller's own; others' are not found."""
    return json_answer(await read_claim(engine, view, cell, _parsed(claim_id), member_id))


@router.get(
    "/me/claims",
    summary="My claims, newest first",
    response_model=ClaimPage,
    responses=answers(*MEMBER_ONLY, "validation", "paused-for-recovery", "outcome-unknown", *LEDGER),
)
async def list_mine(
    member_id: MemberId,
    engine: TheEngine,
    view: TheView,
    cell: TheCell,
    language: TheLanguage,
    cursor: Cursor = None,
    limit: Limit = 20,
) -> Response:
    """Of all campaigns, those won a moment ago included."""
    place: Any = decode_cursor(cursor, language, int)
    before_seq = place[0] if place else None
    found = await read_my_claims(engine, view, cell, member_id, before_seq=before_seq, limit=limit + 1)
    page, more = page_of(found, limit)
    return json_answer({"items": page, "next_cursor": encode_cursor(page[-1]["seq"]) if more else None})


@router.post(
    "/claims/{claim_id}/return",
    summary="Give a unit back",
    response_model=Claim,
    responses=answers(
        *MEMBER_ONLY,
        "claim-not-found",
        "not-returnable",
        "returns-used-up",
        "rate-limited",
        "ledger-behind",
        "paused-for-recovery",
        "outcome-unknown",
        *LEDGER,
        extra={
            "not-returnable": {"reason": "state", "state": "revoked"},
            "returns-used-up": {"limit": 1, "used": 1},
        },
    ),
)
async def return_claim(claim_id: str, member_id: MemberId, engine: TheEngine, view: TheView, cell: TheCell) -> Response:
    """Before its use. The unit goes back to stock, the limit is free again; a repeat gives the same claim.

    A member may give back `returns_per_member` units of a campaign, and 10 a minute in all.
    """
    return json_answer(await give_back(engine, view, cell, _parsed(claim_id), member_id))
