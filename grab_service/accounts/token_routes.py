"""Calls for admins: list the holders of ops tokens, and revoke a token early."""

from typing import Any

from fastapi import APIRouter, Response

from grab_service.accounts.shapes import TokenPage
from grab_service.http.answers import json_answer
from grab_service.http.bodies import StrictRoute
from grab_service.http.contract import LEDGER, OPS_ONLY, answers
from grab_service.http.dependencies import WITH_OPS_TOKEN, Admin, TheEngine, TheLanguage
from grab_service.http.paging import Cursor, Limit, decode_cursor, encode_cursor, page_of
from grab_service.identity.tokens import RecordedToken, end_token, list_tokens
from grab_service.vocabulary.times import rfc3339

router = APIRouter(prefix="/v1/ops", tags=["ops"], dependencies=WITH_OPS_TOKEN, route_class=StrictRoute)


def token_body(token: RecordedToken) -> dict[str, Any]:
    """A token on record as JSON shows it; nothing of it lets anybody in."""
    times = {name: getattr(token, f"{name}_ms") for name in ("created_at", "expires_at", "ended_at")}
    return {
        "token_id": token.token_id,
        "actor": token.actor,
        "role": token.role,
        **{name: None if at_ms is None else rfc3339(at_ms) for name, at_ms in times.items()},
        **{f"{name}_ms": at_ms for name, at_ms in times.items()},
    }


@router.get(
    "/tokens",
    summary="Tokens of ops",
    response_model=TokenPage,
    responses=answers("validation", *OPS_ONLY, *LEDGER),
)
async def tokens(
    _identity: Admin, engine: TheEngine, language: TheLanguage, cursor: Cursor = None, limit: Limit = 20
) -> Response:
    """The newest first; those made on the command line from their first use on. They stay for 30 days after they expired."""
    place: Any = decode_cursor(cursor, language, int, str)
    page, more = page_of(await list_tokens(engine, after=place, limit=limit + 1), limit)
    next_cursor = encode_cursor(page[-1].created_at_ms, page[-1].token_id) if more else None
    return json_answer({"items": [token_body(token) for token in page], "next_cursor": next_cursor})


@router.delete(
    "/tokens/{token_id}",
    summary="End a token before its time",
    status_code=204,
    responses=answers("token-not-found", *OPS_ONLY, *LEDGER),
)
async def end(token_id: str, identity: Admin, engine: TheEngine) -> Response:
    """After the answer every worker refuses the token. No error if it was ended before."""
    await end_token(engine, identity, token_id)
    return Response(status_code=204)
