"""The grab in OpenAPI.

The lane in front of FastAPI answers it; this route leads to the same `GrabPath`, says what it may answer, and serves where
there is no lane.
"""

from typing import Any, Final

from fastapi import APIRouter, Request, Response

from grab_service.grabpath.answers import Answer
from grab_service.http.bodies import StrictRoute
from grab_service.http.contract import LOCATION, WRITTEN, answers
from grab_service.http.dependencies import WITH_PASS, TheLanguage, TheWorker, bearer_token
from grab_service.http.examples import GRABBED, PROOF
from grab_service.http.shapes import GrabbedClaim
from grab_service.server.lane import refusal_of_body
from grab_service.vocabulary.identifiers import IDEMPOTENCY_KEY_MAX
from grab_service.vocabulary.outcomes import REFUSALS, slug

router = APIRouter(tags=["members"], route_class=StrictRoute)

_REFUSALS: Final = (
    *WRITTEN,
    "idempotency-key-missing",
    "pass-invalid",
    "pass-expired",
    "rate-limited",
    *map(slug, REFUSALS),
    "overloaded",
    "paused-for-recovery",
    "outcome-unknown",
)
_EXTRA: Final[dict[str, dict[str, Any]]] = {
    "not-open-yet": {"opens_at_ms": 1_789_876_800_000, "opens_in_ms": 1500},
    "sold-out": {"next_release_at_ms": 1_789_963_200_000, "waitlist": False, **PROOF},
    "member-blocked": {"until": "2026-10-01T00:00:00.000Z"},
    "not-eligible": {"failed_rules": ["orgs"]},
    "per-member-limit": {"limit": 2, "used": 2},
}
_IDEMPOTENCY_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Optional where the limit is one, required where it is more: it binds member and campaign to the first "
    "claim made with it, for good.",
    "schema": {"type": "string", "maxLength": IDEMPOTENCY_KEY_MAX, "pattern": "^[!-~]*$"},
    "example": "tap-1",
}


@router.post(
    "/v1/campaigns/{campaign_id}/claims",
    summary="Grab",
    dependencies=WITH_PASS,
    openapi_extra={"parameters": [_IDEMPOTENCY_KEY]},
    responses=answers(
        *_REFUSALS,
        extra=_EXTRA,
        ok={
            201: {
                "model": GrabbedClaim,
                "description": "Won.",
                "headers": LOCATION,
                "content": {"application/json": {"example": GRABBED}},
            },
            200: {
                "model": GrabbedClaim,
                "description": "You already hold it, or the same `Idempotency-Key`: the same claim, also after closing.",
                "headers": LOCATION,
                "content": {"application/json": {"example": GRABBED}},
            },
        },
    ),
    status_code=201,
)
async def grab(campaign_id: str, request: Request, worker: TheWorker, language: TheLanguage) -> Response:
    """No body is needed. The first problem that applies, in this order, is the answer.

    Malformed, pass, rate, campaign, *the claim already held*, cancelled, ended, not open yet, paused, member, eligibility,
    limits, sold out, won. Refusals are not stored: a repeat may be answered differently. After a 503, repeat: if a claim was
    made, the repeat returns it.
    """
    kind = request.headers.get("content-type", "").encode("latin-1")
    refused = refusal_of_body(await request.body(), kind, language)
    if refused is not None:
        return _response(refused)
    key = request.headers.get("idempotency-key", "").encode("latin-1")
    answer = await worker.path.answer(campaign_id, bearer_token(request.headers), key, language)
    return _response(answer)


def _response(answer: Answer) -> Response:
    response = Response(answer.body, answer.status)
    response.raw_headers = list(answer.headers)
    return response
