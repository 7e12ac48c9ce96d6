"""Calls for members: the voucher that is presented at the counter."""

from fastapi import APIRouter, Response

from grab_service.claims.reveal import reveal
from grab_service.http.answers import json_answer
from grab_service.http.bodies import StrictRoute
from grab_service.http.contract import CELL, LEDGER, MEMBER_ONLY, answers
from grab_service.http.dependencies import WITH_PASS, MemberId, TheCell, TheEngine, TheView
from grab_service.http.examples import REVEALED
from grab_service.http.shapes import Voucher
from grab_service.refusal import RefusalError
from grab_service.vocabulary.claim_body import VOUCHER_PREFIX
from grab_service.vocabulary.claims import ClaimRef
from grab_service.vocabulary.identifiers import is_campaign_id

router = APIRouter(prefix="/v1/me/vouchers", tags=["members"], dependencies=WITH_PASS, route_class=StrictRoute)


@router.post(
    "/{voucher_id}/reveal",
    summary="Show the code of a voucher",
    response_model=Voucher,
    responses=answers(
        *MEMBER_ONLY,
        "voucher-not-found",
        "voucher-returned",
        "voucher-revoked",
        "ledger-behind",
        *CELL,
        *LEDGER,
        ok={200: {"content": {"application/json": {"example": REVEALED}}}},
    ),
)
async def show_code(voucher_id: str, member_id: MemberId, engine: TheEngine, view: TheView, cell: TheCell) -> Response:
    """Where a campaign shows codes on request. A member who has seen a code of a third party cannot give its unit back."""
    ref = ClaimRef.parse(voucher_id.removeprefix(VOUCHER_PREFIX)) if voucher_id.startswith(VOUCHER_PREFIX) else None
    if ref is None or not is_campaign_id(ref.campaign_id):
        raise RefusalError("voucher-not-found")
    return json_answer(await reveal(engine, view, cell, ref, member_id))
