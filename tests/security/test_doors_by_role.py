"""The callers that each call admits: every described route, tried by every kind of caller, against one table."""

import re
import time
from collections.abc import AsyncIterator
from enum import Enum
from typing import Final

import httpx
import pytest

from grab_service.identity.tokens import end_token, record_token
from grab_service.vocabulary.passes import OpsToken, Role, mint, mint_ops, verify_ops
from tests.harness.service import Service, running_service

MADE_UP: Final = "zzzzzzzzzz"


class Door(Enum):
    """The callers of a call: each caller that is not named hears 401, an officer or a lesser role 403."""

    OPEN = "all, whatever they bring"
    SHOWN = "all, but a pass that is shown must be good"
    MEMBERS = "members"
    LOOK = "roles that may look"
    CHANGE = "roles that may change things"
    ADMINS = "admins"


MAY: Final = {
    Door.LOOK: {Role.VIEWER, Role.OPERATOR, Role.APPROVER, Role.ADMIN},
    Door.CHANGE: {Role.OPERATOR, Role.ADMIN},
    Door.ADMINS: {Role.ADMIN},
}

# The objects asked for do not exist, and no body is sent: a caller who is admitted gets the status in the last column.
TABLE: Final[dict[str, tuple[Door, int]]] = {
    "GET /": (Door.OPEN, 200),
    "GET /livez": (Door.OPEN, 200),
    "GET /metrics": (Door.OPEN, 200),
    "GET /problems": (Door.OPEN, 200),
    "GET /problems/{slug}": (Door.OPEN, 404),
    "GET /v1/time": (Door.OPEN, 200),
    "GET /v1/campaigns": (Door.OPEN, 200),
    "GET /v1/campaigns/{campaign_id}/state": (Door.OPEN, 404),
    "GET /v1/campaigns/{campaign_id}/chain": (Door.OPEN, 404),
    "GET /v1/campaigns/{campaign_id}/checkpoints": (Door.OPEN, 404),
    "GET /v1/keys": (Door.OPEN, 200),
    "POST /v1/sessions": (Door.OPEN, 422),
    "POST /v1/dev/sessions": (Door.OPEN, 422),
    "POST /v1/dev/ops-sessions": (Door.OPEN, 422),
    # No ledger leads here, so nothing is ready.
    "GET /readyz": (Door.OPEN, 503),
    "GET /v1/campaigns/{campaign_id}": (Door.SHOWN, 404),
    "POST /v1/campaigns/{campaign_id}/claims": (Door.MEMBERS, 404),
    "GET /v1/claims/{claim_id}": (Door.MEMBERS, 404),
    "POST /v1/claims/{claim_id}/return": (Door.MEMBERS, 404),
    "GET /v1/campaigns/{campaign_id}/eligibility": (Door.MEMBERS, 404),
    "GET /v1/me/claims": (Door.MEMBERS, 200),
    "POST /v1/me/vouchers/{voucher_id}/reveal": (Door.MEMBERS, 404),
    "GET /v1/ops/audit": (Door.LOOK, 200),
    "GET /v1/ops/blocklist": (Door.LOOK, 200),
    "GET /v1/ops/campaigns": (Door.LOOK, 200),
    "GET /v1/ops/campaigns/{campaign_id}": (Door.LOOK, 404),
    "GET /v1/ops/campaigns/{campaign_id}/claims.csv": (Door.LOOK, 404),
    "GET /v1/ops/campaigns/{campaign_id}/explain?member_id=m-1": (Door.LOOK, 404),
    "GET /v1/ops/campaigns/{campaign_id}/report": (Door.LOOK, 404),
    "GET /v1/ops/campaigns/{campaign_id}/log.jsonl": (Door.LOOK, 404),
    "GET /v1/ops/campaigns/{campaign_id}/preflight": (Door.LOOK, 404),
    "GET /v1/ops/log": (Door.LOOK, 200),
    "GET /v1/ops/orgs": (Door.LOOK, 200),
    "GET /v1/ops/campaigns/{campaign_id}/claims.csv?codes=full": (Door.CHANGE, 404),
    "GET /v1/ops/campaigns/{campaign_id}/log.jsonl?codes=full": (Door.CHANGE, 404),
    "POST /v1/ops/campaigns": (Door.CHANGE, 422),
    "PATCH /v1/ops/campaigns/{campaign_id}": (Door.CHANGE, 422),
    "POST /v1/ops/campaigns/{campaign_id}/codes": (Door.CHANGE, 404),
    "POST /v1/ops/campaigns/{campaign_id}/schedule": (Door.CHANGE, 404),
    "POST /v1/ops/campaigns/{campaign_id}/pause": (Door.CHANGE, 404),
    "POST /v1/ops/campaigns/{campaign_id}/resume": (Door.CHANGE, 404),
    "POST /v1/ops/campaigns/{campaign_id}/close": (Door.CHANGE, 404),
    "POST /v1/ops/campaigns/{campaign_id}/cancel": (Door.CHANGE, 404),
    "POST /v1/ops/campaigns/{campaign_id}/stock": (Door.CHANGE, 422),
    "POST /v1/ops/campaigns/{campaign_id}/grants": (Door.CHANGE, 422),
    "POST /v1/ops/members/import": (Door.CHANGE, 422),
    "POST /v1/ops/orgs": (Door.CHANGE, 422),
    "PUT /v1/ops/blocklist/{member_id}": (Door.CHANGE, 422),
    "DELETE /v1/ops/blocklist/{member_id}": (Door.CHANGE, 404),
    "POST /v1/ops/campaigns/{campaign_id}/copy": (Door.CHANGE, 422),
    "DELETE /v1/ops/campaigns/{campaign_id}": (Door.CHANGE, 404),
    "POST /v1/ops/preflight": (Door.LOOK, 422),
    "GET /v1/ops/members": (Door.LOOK, 200),
    "GET /v1/ops/members/{member_id}": (Door.LOOK, 404),
    "GET /v1/ops/alarms": (Door.LOOK, 200),
    "POST /v1/ops/alarms/{alarm_id}/acknowledge": (Door.CHANGE, 422),
    "GET /v1/ops/tokens": (Door.ADMINS, 200),
    "DELETE /v1/ops/tokens/{token_id}": (Door.ADMINS, 404),
}


def expected(door: Door, who: str) -> str | None:
    """The code of the problem that this caller hears at this door; None for one who is let in."""
    if door is Door.OPEN or (door is Door.SHOWN and who in {"nobody", "member"}):
        return None
    if door in {Door.SHOWN, Door.MEMBERS}:
        return {"member": None, "expired-pass": "pass-expired"}.get(who, "pass-invalid")
    if who not in set(Role):
        return "sign-in-required"
    return None if Role(who) in MAY[door] else "forbidden"


def heard(answer: httpx.Response) -> tuple[int, str | None, str | None]:
    """The status; of a refusal at the door its code, and what else it takes to come in."""
    if answer.status_code not in {401, 403}:
        return answer.status_code, None, None
    return answer.status_code, answer.json()["code"], answer.headers.get("WWW-Authenticate")


@pytest.fixture
async def service(valkey_url: str, database_url: str, cell_name: str) -> AsyncIterator[Service]:
    async with running_service(valkey_url, database_url, cell_name, rate_burst=10_000) as running:
        yield running


async def callers(service: Service) -> dict[str, dict[str, str]]:
    """The headers of everybody who might come."""
    keys, now_s = service.worker.keys, int(time.time())
    others = service.worker.settings.model_copy(update={"cell": f"{keys.cell[:8]}-other"}).pass_keys()
    ended = mint_ops(keys, "alice", Role.ADMIN, now_s, now_s + 600)
    opened = verify_ops(keys, ended.encode(), now_s)
    assert isinstance(opened, OpsToken)
    await record_token(service.worker.engine, opened)
    await end_token(service.worker.engine, opened.identity, opened.token_id)
    tokens = {
        "rubbish": "rubbish",
        "member": mint(keys, "m-1", now_s + 600),
        "expired-pass": mint(keys, "m-1", now_s - 1),
        "other-cells-pass": mint(others, "m-1", now_s + 600),
        "ended-token": ended,
        "expired-token": mint_ops(keys, "alice", Role.ADMIN, now_s - 600, now_s - 1),
        "other-cells-token": mint_ops(others, "alice", Role.ADMIN, now_s, now_s + 600),
        **{role.value: mint_ops(keys, "alice", role, now_s, now_s + 600) for role in Role},
    }
    headers = {who: {"Authorization": f"Bearer {token}"} for who, token in tokens.items()}
    return {"nobody": {}, "another scheme": {"Authorization": "Basic YQ=="}, **headers}


async def test_each_call_lets_in_those_whom_the_table_names_and_nobody_else(service: Service) -> None:
    described = (await service.http.get("/openapi.json")).json()["paths"]
    routes = {f"{method.upper()} {path}" for path, methods in described.items() for method in methods}
    lines = {line.partition("?")[0] for line in TABLE}
    assert routes - lines == set(), "routes without a line"
    assert lines - routes == set(), "lines without a route"
    wrong, coming = [], await callers(service)
    for line, (door, inside) in TABLE.items():
        method, _, path = line.partition(" ")
        url = re.sub(r"\{\w+\}", MADE_UP, path)
        for who, headers in coming.items():
            said = heard(await service.http.request(method, url, headers=headers))
            match expected(door, who):
                case None:
                    meant: tuple[int, str | None, str | None] = (inside, None, None)
                case "forbidden":
                    meant = (403, "forbidden", None)
                case code:
                    meant = (401, code, "Bearer")
            if said != meant:
                wrong.append((line, who, said, meant))
    assert wrong == []
