"""An assertion of the host app gives a pass once, and only if it is genuine, for us and in time."""

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs

from grab_service.cell.store import Cell
from grab_service.members import session_routes as sessions
from grab_service.publishing.publish import publish_members
from grab_service.vocabulary.passes import CLOCKS_APART_S, affiliation_in, mint
from tests.harness.service import Service, running_service
from tests.integration.test_ops_campaigns import problem

ISSUER = "https://union.example"
HOST_SECRET = "the host app's secret, of as many bytes as the longest algorithm wants"
EDWARDS = ed25519.Ed25519PrivateKey.generate()
CURVE = ec.generate_private_key(ec.SECP256R1())


def assertion(
    member_id: str = "m-1",
    *,
    key: Any = HOST_SECRET,
    algorithm: str = "HS256",
    kid: str | None = None,
    without: str = "",
    **claims: Any,
) -> str:
    now_s = int(time.time())
    said = {
        "iss": ISSUER,
        "aud": "grab-service",
        "sub": member_id,
        "jti": str(uuid.uuid4()),
        "iat": now_s,
        "exp": now_s + 120,
        **claims,
    }
    given = {name: value for name, value in said.items() if name != without}
    return jwt.encode(given, key, algorithm, headers={"kid": kid} if kid else None)


@pytest.fixture
async def service(valkey_url: str, database_url: str, cell_name: str, tmp_path: Path) -> AsyncIterator[Service]:
    keys = [
        OKPAlgorithm.to_jwk(EDWARDS.public_key(), as_dict=True) | {"kid": "ed"},
        ECAlgorithm.to_jwk(CURVE.public_key(), as_dict=True) | {"kid": "ec"},
    ]
    jwks = tmp_path / "jwks.json"
    jwks.write_bytes(orjson.dumps({"keys": keys}))
    async with running_service(
        valkey_url,
        database_url,
        cell_name,
        assertion_issuer=ISSUER,
        assertion_secret=SecretStr(HOST_SECRET),
        assertion_jwks_file=jwks,
    ) as running:
        yield running


async def exchange(service: Service, token: str) -> httpx.Response:
    return await service.http.post("/v1/sessions", json={"assertion": token})


async def test_someone_who_bound_their_account_a_minute_ago_is_registered_by_the_assertion_and_wins(
    service: Service,
) -> None:
    campaign_id = await service.publish(eligibility={"orgs": ["org-7"], "tags_any": ["劳模"], "birthday_months": [9]})
    profile: dict[str, Any] = {
        "org_id": "org-7",
        "person_id": "p-1",
        "name": "李四",
        "tags": ["劳模"],
        "birthday_month": 9,
        "joined_on": "2020-05-01",
    }
    response = await exchange(service, assertion(**profile))
    assert response.status_code == 200, response.text
    body = response.json()
    assert body["member"] == {"member_id": "m-1", "org_id": "org-7", "status": "active"}
    assert body["expires_at"].endswith("Z")
    won = await service.http.post(f"/v1/campaigns/{campaign_id}/claims", headers={"Authorization": f"Bearer {body['pass']}"})
    assert won.status_code == 201, won.text


async def union_in_pass(service: Service, member_id: str = "m-1", **profile: str) -> str | None:
    """The union that the pass names which this member gets now."""
    response = await exchange(service, assertion(member_id, **profile))
    assert response.status_code == 200, response.text
    said = affiliation_in(response.json()["pass"].encode())
    assert said is None or (said.member_id == member_id and abs(said.made_at_s - time.time()) < 5)
    return None if said is None else said.org_id


async def seen(service: Service) -> None:
    """Wait until the worker has read all of the log."""
    async with asyncio.timeout(5):
        while service.worker.view.seq < service.worker.cell.seen_seq:
            await asyncio.sleep(0.002)


async def test_a_pass_names_the_union_that_the_cell_held_before_the_member_was_looked_up(service: Service) -> None:
    await service.enrol("m-1", org_id="org-1")
    await seen(service)
    assert await union_in_pass(service) == "org-1"
    assert await union_in_pass(service, org_id="org-2") is None, "changed by this very assertion"
    await seen(service)
    assert await union_in_pass(service) == "org-2"
    assert await union_in_pass(service, "m-2", org_id="org-3") is None, "registered by this very assertion"
    await seen(service)
    assert await union_in_pass(service, "m-2") == "org-3"


async def test_a_pass_names_no_union_that_the_cell_does_not_hold_yet(service: Service) -> None:
    await service.enrol("m-1", org_id="org-1")
    await seen(service)
    change = "UPDATE members SET org_id = 'org-2', version = nextval('members_version') WHERE member_id = 'm-1'"
    async with service.worker.engine.begin() as connection:
        await connection.execute(text("INSERT INTO orgs (org_id, name) VALUES ('org-2', 'org-2')"))
        await connection.execute(text(change))
    assert await union_in_pass(service) is None
    await publish_members(service.worker.engine, service.worker.cell)
    await seen(service)
    assert await union_in_pass(service) == "org-2"


async def test_what_the_cell_comes_to_hold_after_the_member_was_looked_up_does_not_count(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else may have changed the member again in between, and this pass would name a union of the past."""

    async def and_seen(engine: AsyncEngine, cell: Cell) -> None:
        await publish_members(engine, cell)
        await seen(service)

    monkeypatch.setattr(sessions, "publish_members", and_seen)
    assert await union_in_pass(service, org_id="org-2") is None
    assert await union_in_pass(service) == "org-2"


async def test_a_change_of_union_by_an_assertion_reaches_every_worker(service: Service) -> None:
    await service.enrol("m-1", org_id="org-1")
    began_s = int(time.time()) + 1
    await asyncio.sleep(began_s + 0.01 - time.time())
    made_at_s = began_s + CLOCKS_APART_S  # by a clock that is as far ahead as it may be
    token = mint(service.worker.keys, "m-1", made_at_s + 600, made_at_s=made_at_s, org_id="org-1").encode()
    await seen(service)
    assert service.worker.view.org_of(token) == "org-1"
    await union_in_pass(service, org_id="org-2")
    await seen(service)
    assert service.worker.view.org_of(token) is None


@pytest.mark.parametrize(
    ("key", "algorithm", "kid"), [(HOST_SECRET, "HS256", None), (EDWARDS, "EdDSA", "ed"), (CURVE, "ES256", "ec")]
)
async def test_each_way_of_signing_is_taken(service: Service, key: Any, algorithm: str, kid: str | None) -> None:
    await service.enrol("m-1")
    response = await exchange(service, assertion(key=key, algorithm=algorithm, kid=kid))
    assert response.status_code == 200, response.text


async def test_an_assertion_is_good_once_even_if_sent_many_times_at_once(service: Service) -> None:
    token = assertion(org_id="org-1")
    answers = await asyncio.gather(*(exchange(service, token) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] + [401] * 7
    assert {problem(answer) for answer in answers if answer.status_code == 401} == {(401, "assertion-used")}


async def test_two_assertions_of_a_new_member_at_once_register_one_member(service: Service) -> None:
    answers = await asyncio.gather(*(exchange(service, assertion(org_id="org-1")) for _ in range(4)))
    assert {answer.status_code for answer in answers} == {200}


async def test_what_is_not_genuine_or_not_for_us_or_not_in_time_is_refused(service: Service) -> None:
    await service.enrol("m-1")
    now_s = int(time.time())
    other = ed25519.Ed25519PrivateKey.generate()
    refused = [
        "nonsense",
        "a.b.c",
        assertion(key="another secret, also of 32 bytes or more"),
        assertion(key=other, algorithm="EdDSA", kid="ed"),
        assertion(key=EDWARDS, algorithm="EdDSA", kid="ec"),
        assertion(key=EDWARDS, algorithm="EdDSA", kid="nobody"),
        assertion(key=HOST_SECRET, algorithm="HS384"),
        assertion(key=rsa.generate_private_key(65537, 2048), algorithm="RS256", kid="ed"),
        jwt.encode({"sub": "m-1"}, "", "none"),
        assertion(iss="https://elsewhere.example"),
        assertion(aud="somebody-else"),
        assertion(exp=now_s - 1),
        assertion(iat=now_s + 60, exp=now_s + 120),
        assertion(iat=now_s, exp=now_s + 301),
        assertion(exp=10**30),
        assertion(iat=now_s + 0.5, exp=10**400),
        assertion(iat=float("nan")),
        assertion(exp=float("nan")),
        assertion(nbf=float("nan")),
        assertion(nbf=now_s + 60),
        assertion(jti=""),
        assertion(jti="a\0b"),
        assertion(jti="\ud800"),
        assertion(jti="x" * 201),
        *(assertion(without=name) for name in ("iss", "aud", "sub", "jti", "iat", "exp")),
    ]
    for token in refused:
        assert problem(await exchange(service, token)) == (401, "assertion-invalid"), jwt_payload(token)
    assert problem(await exchange(service, "x" * 9000)) == (422, "validation")


def jwt_payload(token: str) -> Any:
    try:
        return jwt.decode(token, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        return token


async def test_a_public_key_is_no_shared_secret(service: Service) -> None:
    public = EDWARDS.public_key().public_bytes_raw()
    assert problem(await exchange(service, assertion(key=public))) == (401, "assertion-invalid")


async def test_a_profile_that_is_wrong_is_named_and_the_assertion_not_used_up(service: Service) -> None:
    for claims, field in (
        ({"org_id": "a b"}, "org_id"),
        ({"birthday_month": 13}, "birthday_month"),
        ({"tags": ["a,b"]}, "tags.0"),
        ({"joined_on": "yesterday"}, "joined_on"),
        ({"name": ""}, "name"),
        ({"name": "\ud800"}, "name"),
        ({"name": "a\0b"}, "name"),
    ):
        response = await exchange(service, assertion(**claims))
        assert problem(response) == (422, "validation"), claims
        assert response.json()["errors"][0]["field"] == field
    response = await exchange(service, assertion(member_id="a b"))
    assert response.json()["errors"][0]["field"] == "sub"


async def test_who_is_not_registered_and_names_no_union_is_unknown(service: Service) -> None:
    token = assertion()
    assert problem(await exchange(service, token)) == (403, "member-unknown")
    await service.enrol("m-1")
    assert (await exchange(service, token)).status_code == 200


async def test_who_has_left_gets_no_pass_and_who_is_suspended_wins_nothing(service: Service) -> None:
    await service.enrol("m-1", status="left")
    await service.enrol("m-2", status="suspended")
    assert problem(await exchange(service, assertion("m-1"))) == (403, "member-unknown")
    body = (await exchange(service, assertion("m-2"))).json()
    campaign_id = await service.publish()
    refused = await service.http.post(
        f"/v1/campaigns/{campaign_id}/claims", headers={"Authorization": f"Bearer {body['pass']}"}
    )
    assert problem(refused) == (403, "member-blocked")


async def test_a_later_assertion_changes_what_it_names_and_nothing_else(service: Service) -> None:
    await service.enrol("m-1", org_id="org-1", tags=["劳模"])
    assert (await exchange(service, assertion(org_id="org-2"))).json()["member"]["org_id"] == "org-2"
    for eligibility, status in (({"orgs": ["org-2"]}, 201), ({"orgs": ["org-1"]}, 403), ({"tags_any": ["劳模"]}, 201)):
        campaign_id = await service.publish(eligibility=eligibility)
        assert (await service.grab("m-1", campaign_id)).status_code == status


async def test_without_a_configured_issuer_no_assertion_is_taken(valkey_url: str, database_url: str, cell_name: str) -> None:
    async with running_service(valkey_url, database_url, cell_name + "x", assertion_secret=SecretStr(HOST_SECRET)) as service:
        assert problem(await exchange(service, assertion())) == (401, "assertion-invalid")


async def test_an_assertion_without_a_body_of_its_own_is_malformed_or_invalid(service: Service) -> None:
    assert problem(await service.http.post("/v1/sessions", content=b"{")) == (400, "malformed")
    wrong: list[Any] = [{}, {"assertion": ""}, {"assertion": 7}, {"assertion": "x", "more": 1}]
    for body in wrong:
        assert problem(await service.http.post("/v1/sessions", json=body)) == (422, "validation")


async def test_refused_sign_ins_are_counted_and_logged_as_one_line_a_reason(service: Service) -> None:
    with capture_logs() as logs:
        for _ in range(20):
            await service.http.post("/v1/sessions", json={"assertion": "x.y.z"})
            await service.http.get("/v1/me/claims", headers={"Authorization": "Bearer nonsense"})
            await service.http.get("/v1/me/claims", headers={"Authorization": "Basic x"})
            await service.http.get("/v1/ops/campaigns", headers={"Authorization": "Bearer nonsense"})
            await service.http.get("/v1/ops/campaigns")
        service.worker.refused.log_counts()
    counted: Counter[str] = Counter()
    for line in logs:
        if line["event"] == "sign_ins_refused":
            counted[line["reason"]] += line["count"]
    assert counted == {
        "assertion: DecodeError": 20,
        "pass-invalid": 40,
        "ops-pass-invalid": 20,
        "ops-token-missing": 20,
    }
    lines = [line for line in logs if line["log_level"] in {"info", "warning", "error"}]
    assert len(lines) <= 4 * 3, "a line for each of them would fill the log"
    figures = (await service.http.get("/metrics")).text
    assert 'grab_sign_ins_refused_total{reason="pass-invalid"} 40.0' in figures
