"""Calls of development mode, present only if it is on: passes and ops tokens on request."""

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from grab_service.http.answers import json_answer
from grab_service.http.bodies import StrictRoute
from grab_service.http.contract import LEDGER, WRITTEN, answers
from grab_service.http.dependencies import TheWorker, now_ms_of
from grab_service.http.fields import Actor, MemberIdText
from grab_service.http.shapes import OpsSession, Session
from grab_service.identity.tokens import record_token
from grab_service.vocabulary import passes
from grab_service.vocabulary.passes import OpsToken, Role
from grab_service.vocabulary.times import rfc3339

router = APIRouter(prefix="/v1/dev", tags=["development"], route_class=StrictRoute)


class WantedSession(BaseModel):
    """The member for whom a pass is wanted."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"member_id": "m-000001"}]})

    member_id: MemberIdText


class WantedOpsSession(BaseModel):
    """The wanted role, and the name for the log of ops."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"role": "operator"}]})

    role: Role
    actor: Actor | None = Field(default=None, description="`dev-<role>` by default")


@router.post(
    "/sessions",
    summary="A pass without an assertion",
    response_model=Session,
    responses=answers(*WRITTEN),
)
async def mint_pass(wanted: WantedSession, worker: TheWorker) -> Response:
    """Whether the member is registered is found out by the grab. The pass names no union."""
    made_at_s = now_ms_of(worker) // 1000
    expires_at_s = made_at_s + worker.settings.pass_ttl_s
    token = passes.mint(worker.keys, wanted.member_id, expires_at_s, made_at_s=made_at_s)
    return json_answer({"pass": token, "expires_at": rfc3339(expires_at_s * 1000)})


@router.post(
    "/ops-sessions",
    summary="An ops token without a password",
    response_model=OpsSession,
    responses=answers(*WRITTEN, *LEDGER),
)
async def mint_ops_token(wanted: WantedOpsSession, worker: TheWorker) -> Response:
    """For `Authorization: Bearer` on `/v1/ops`."""
    now_s = now_ms_of(worker) // 1000
    expires_at_s = now_s + worker.settings.ops_token_ttl_s
    text = passes.mint_ops(worker.keys, wanted.actor or f"dev-{wanted.role}", wanted.role, now_s, expires_at_s)
    token = passes.verify_ops(worker.keys, text.encode(), now_s)
    assert isinstance(token, OpsToken)
    await record_token(worker.engine, token)
    return json_answer({"token": text, "expires_at": rfc3339(expires_at_s * 1000)})
