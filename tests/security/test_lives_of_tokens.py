"""Ops tokens: their validity, their duration, and their revocation."""

import time
from contextlib import AsyncExitStack

import httpx
import pytest
from pydantic import SecretStr, ValidationError
from typer.testing import CliRunner

from grab_service.cli.passes import app
from grab_service.server.worker import Worker
from grab_service.service.app import build_app
from grab_service.settings import Settings
from grab_service.vocabulary.identifiers import is_token_id
from grab_service.vocabulary.passes import (
    CLOCKS_APART_S,
    OPS_TTL_MAX_S,
    OpsToken,
    PassKeys,
    PassRefusal,
    Role,
    mint_ops,
    verify_ops,
)
from tests.harness.command_line import OPS_SECRET, SECRET
from tests.harness.service import Service
from tests.harness.worker import forget_metrics

NOW_S = 1_800_000_000


def written_by_hand(keys: PassKeys, created_at_s: int, expires_at_s: int) -> bytes:
    """A token that `mint_ops` would not make, with a good signature."""
    payload = f"o2.o1.{created_at_s}.{expires_at_s}.admin.0123456789abcdef.alice".encode()
    return payload + b"." + keys.ops_hmacs[b"o1"].mac(payload)


def test_no_token_of_ops_is_made_for_more_than_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings(ops_token_ttl_s=OPS_TTL_MAX_S).ops_token_ttl_s == OPS_TTL_MAX_S == 24 * 3600
    with pytest.raises(ValidationError):
        Settings(ops_token_ttl_s=OPS_TTL_MAX_S + 1)
    monkeypatch.setenv("GRAB_SECRETS", SECRET)
    monkeypatch.setenv("GRAB_OPS_SECRETS", OPS_SECRET)
    ttls = (OPS_TTL_MAX_S, OPS_TTL_MAX_S + 1)
    at_most, more = (CliRunner().invoke(app, ["ops", "alice", "--ttl-s", str(ttl_s)]) for ttl_s in ttls)
    assert at_most.exit_code == 0, at_most.output
    assert more.exit_code == 2, more.output


def test_a_token_that_says_it_lives_longer_or_begins_later_is_refused_though_signed() -> None:
    keys = PassKeys.build("district", [("k1", b"s" * 32)], [("o1", b"o" * 32)])
    for created_at_s, ttl_s, good in (
        (NOW_S, OPS_TTL_MAX_S, True),
        (NOW_S, OPS_TTL_MAX_S + 1, False),
        (NOW_S + CLOCKS_APART_S, OPS_TTL_MAX_S, True),
        (NOW_S + CLOCKS_APART_S + 1, OPS_TTL_MAX_S, False),
    ):
        opened = verify_ops(keys, written_by_hand(keys, created_at_s, created_at_s + ttl_s), NOW_S)
        assert isinstance(opened, OpsToken) is good, (created_at_s, ttl_s, opened)
        assert good or opened is PassRefusal.INVALID
    for ttl_s in (0, OPS_TTL_MAX_S + 1):
        with pytest.raises(ValueError, match="lives for"):
            mint_ops(keys, "alice", Role.ADMIN, NOW_S, NOW_S + ttl_s)


def test_the_secret_of_the_passes_is_none_for_tokens_of_ops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAB_SECRETS", "k1:another secret altogether,k2:the same secret for everything")
    monkeypatch.setenv("GRAB_OPS_SECRETS", "o1:the same secret for everything")
    with pytest.raises(ValidationError, match="each needs secrets of its own") as caught:
        Settings()
    assert "for everything" not in str(caught.value.errors(include_input=False))


def test_without_a_key_of_ops_nobody_of_ops_comes_in_but_in_development() -> None:
    given = Settings(secrets={"k1": SecretStr("a secret of these tests alone")}, dev=True)
    at_home, outside = given.pass_keys(), given.model_copy(update={"dev": False}).pass_keys()
    token = mint_ops(at_home, "alice", Role.ADMIN, NOW_S, NOW_S + 600).encode()
    assert isinstance(verify_ops(at_home, token, NOW_S), OpsToken)
    assert verify_ops(outside, token, NOW_S) is PassRefusal.INVALID
    own = given.model_copy(update={"ops_secrets": {"o1": SecretStr("o" * 32)}}).pass_keys()
    assert verify_ops(own, token, NOW_S) is PassRefusal.INVALID, "development mode takes the keys that are set"


async def test_an_ended_token_is_refused_by_every_worker_from_the_answer_on(service: Service) -> None:
    async with AsyncExitStack() as stack:
        forget_metrics()
        beside = Worker.build(service.worker.settings)
        await stack.enter_async_context(beside.running())
        transport = httpx.ASGITransport(build_app(beside), raise_app_exceptions=False)
        other = await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://grab"))
        admin, bob = service.ops(Role.ADMIN, "admin"), service.ops(Role.OPERATOR, "bob")
        for worker in (service.http, other):
            assert (await worker.get("/v1/ops/orgs", headers=bob)).status_code == 200
        listed = (await other.get("/v1/ops/tokens", headers=admin)).json()["items"]
        assert {(one["actor"], one["role"], one["ended_at"]) for one in listed} == {
            ("admin", "admin", None),
            ("bob", "operator", None),
        }
        token_id = next(one["token_id"] for one in listed if one["actor"] == "bob")
        for again in range(2):  # the second time nothing changes
            assert (await service.http.delete(f"/v1/ops/tokens/{token_id}", headers=admin)).status_code == 204
            for worker in (service.http, other):
                refused = await worker.post("/v1/ops/orgs", headers=bob, json={"org_id": "o", "name": "o"})
                assert (refused.status_code, refused.json()["code"]) == (401, "sign-in-required"), again
        assert (await other.get("/v1/ops/orgs", headers=service.ops(Role.OPERATOR, "bob"))).status_code == 200
    ended = [one for one in (await service.http.get("/v1/ops/tokens", headers=admin)).json()["items"] if one["ended_at"]]
    assert [(one["token_id"], one["ended_at_ms"] <= int(time.time() * 1000)) for one in ended] == [(token_id, True)]
    logged = (await service.http.get(f"/v1/ops/log?object_id={token_id}", headers=admin)).json()["items"]
    assert [(line["actor"], line["action"], line["outcome"], line["detail"]) for line in logged] == [
        ("admin", "end_token", "done", {"actor": "bob"})
    ] * 2


async def test_tokens_are_listed_newest_first_and_by_pages(service: Service) -> None:
    admin = service.ops(Role.ADMIN)
    for number in range(7):
        made = await service.http.post("/v1/dev/ops-sessions", json={"role": "viewer", "actor": f"v-{number}"})
        assert made.status_code == 200
    seen = await service.listed("/v1/ops/tokens", admin, limit=3)
    assert {one["actor"] for one in seen} == {"alice", *(f"v-{number}" for number in range(7))}
    assert len(seen) == 8
    assert all(is_token_id(str(one["token_id"])) for one in seen)
    order = [(one["created_at_ms"], one["token_id"]) for one in seen]
    assert order == sorted(order, reverse=True)
    for made_up in ("0123456789abcdef", "nothing", "%00", "a" * 300):
        answer = await service.http.delete(f"/v1/ops/tokens/{made_up}", headers=admin)
        assert (answer.status_code, answer.json()["code"]) == (404, "token-not-found"), made_up
