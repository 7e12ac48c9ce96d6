"""Members learn truly whether they may take part, and ops why a grab would be refused."""

from typing import Any, Final

import httpx
import pytest

from grab_service.claims.shapes import Explanation
from grab_service.embedded.valkey import ValkeyServer
from grab_service.http.shapes import EligibilityOfMember
from grab_service.vocabulary.passes import Role
from tests.harness.proxy import Proxy, through
from tests.harness.service import Service, at, claim_of, running_service
from tests.integration.test_ops_campaigns import post, problem

ELIGIBLE: Final[dict[str, Any]] = {"eligible": True, "code": None, "failed_rules": []}
FIXED: Final = {"type", "title", "status", "detail"}
"""Of every problem; what is left are its code and its own fields."""


async def ask(service: Service, campaign_id: str, member_id: str) -> dict[str, Any]:
    """The member's answer to the question whether they may take part."""
    answer = await service.http.get(f"/v1/campaigns/{campaign_id}/eligibility", headers=service.member(member_id))
    assert answer.status_code == 200, answer.text
    EligibilityOfMember.model_validate_json(answer.content)
    body: dict[str, Any] = answer.json()
    return body


async def explained(
    service: Service, campaign_id: str, member_id: str, *, role: Role = Role.VIEWER, query: str = ""
) -> httpx.Response:
    """The answer to ops about the member."""
    path = f"/v1/ops/campaigns/{campaign_id}/explain{query or f'?member_id={member_id}'}"
    return await service.http.get(path, headers=service.ops(role))


async def seen_by_ops(service: Service, campaign_id: str, member_id: str) -> dict[str, Any]:
    """The same, without the place in the log, at which it must be true."""
    answer = await explained(service, campaign_id, member_id)
    assert answer.status_code == 200, answer.text
    Explanation.model_validate_json(answer.content)
    body: dict[str, Any] = answer.json()
    assert body.pop("as_of_seq") == int(await service.redis.hget(service.worker.cell.keys.cell, "seq") or 0)
    return body


async def refused_as_a_grab(service: Service, campaign_id: str, member_id: str) -> dict[str, Any]:
    """A refusal of a grab, in the form of the answer to a member who asks."""
    grab = await service.grab(member_id, campaign_id, **{"Idempotency-Key": "another"})
    problem(grab)
    return {"eligible": False, "failed_rules": [], **{name: said for name, said in grab.json().items() if name not in FIXED}}


async def block(service: Service, member_id: str, until: str | None) -> None:
    answer = await service.http.put(
        f"/v1/ops/blocklist/{member_id}", json={"until": until, "reason": "代抢"}, headers=service.ops()
    )
    assert answer.status_code == 200, answer.text


async def some_of_each_kind(service: Service) -> dict[str, dict[str, Any]]:
    """Members, and why a campaign for `org-1` with one unit each keeps them out."""
    await service.enrol("m-eligible", "m-blocked", "m-blocked-for-good", "m-holder")
    await service.enrol("m-elsewhere", org_id="org-2")
    await service.enrol("m-suspended", status="suspended")
    await service.enrol("m-left", status="left")
    until = at(600)
    await block(service, "m-blocked", until)
    await block(service, "m-blocked-for-good", None)
    listed = await service.http.get("/v1/ops/blocklist", headers=service.ops())
    ends = {one["member_id"]: one["until"] for one in listed.json()["items"]}
    blocked = {"eligible": False, "code": "member-blocked", "failed_rules": []}
    unknown = {"eligible": False, "code": "member-unknown", "failed_rules": []}
    return {
        "m-eligible": ELIGIBLE,
        "m-blocked": {**blocked, "until": ends["m-blocked"]},
        "m-blocked-for-good": {**blocked, "until": None},
        "m-suspended": {**blocked, "until": None},
        "m-elsewhere": {"eligible": False, "code": "not-eligible", "failed_rules": ["orgs"]},
        "m-left": unknown,
        "m-nobody": unknown,
    }


FOR_ORG_1: Final = {"orgs": ["org-1"]}
AT_THE_LIMIT: Final = {"eligible": False, "code": "per-member-limit", "failed_rules": [], "limit": 1, "used": 1}


async def test_each_member_hears_what_keeps_them_out_with_the_fields_of_the_grabs_refusal(service: Service) -> None:
    expected = await some_of_each_kind(service)
    campaign_id = await service.publish(eligibility=FOR_ORG_1)
    assert {member_id: await ask(service, campaign_id, member_id) for member_id in expected} == expected
    for member_id, body in expected.items():
        if not body["eligible"]:
            assert await refused_as_a_grab(service, campaign_id, member_id) == body
    assert (await service.grab("m-holder", campaign_id)).status_code == 201
    assert await ask(service, campaign_id, "m-holder") == AT_THE_LIMIT, "the holder"
    assert await ask(service, campaign_id, "m-eligible") == ELIGIBLE, "and nobody else"


async def test_a_member_at_a_limit_above_one_hears_how_many_they_hold(service: Service) -> None:
    campaign_id = await service.sale("m-1", "m-2", limit_per_member=2)
    assert await ask(service, campaign_id, "m-1") == ELIGIBLE, "no Idempotency-Key is asked for"
    for key in ("one", "two"):
        assert await ask(service, campaign_id, "m-1") == ELIGIBLE
        assert (await service.grab("m-1", campaign_id, **{"Idempotency-Key": key})).status_code == 201
    assert await ask(service, campaign_id, "m-1") == {**AT_THE_LIMIT, "limit": 2, "used": 2}
    assert await ask(service, campaign_id, "m-1") == await refused_as_a_grab(service, campaign_id, "m-1")
    assert await ask(service, campaign_id, "m-2") == ELIGIBLE


async def test_hour_and_stock_change_nothing_for_a_member_who_asks(service: Service) -> None:
    await service.enrol("m-1", "m-2")
    coming = await service.publish(releases=[{"opens_at": at(600), "quantity": 1}])
    sold_out = await service.publish(releases=[{"opens_at": at(-1), "quantity": 1}])
    assert (await service.grab("m-2", sold_out)).status_code == 201
    stopped = [await service.publish() for _ in range(3)]
    for campaign_id, action in zip(stopped, ("pause", "close", "cancel"), strict=True):
        assert (await post(service, f"{campaign_id}/{action}")).status_code == 200
    for campaign_id in (coming, sold_out, *stopped):
        assert await ask(service, campaign_id, "m-1") == ELIGIBLE
        assert (await ask(service, campaign_id, "m-3"))["code"] == "member-unknown"


async def test_a_member_asks_about_themselves_and_only_of_what_is_published(service: Service) -> None:
    await service.enrol("m-1", "m-2")
    campaign_id, draft = await service.publish(), await service.create()
    about_another = await service.http.get(
        f"/v1/campaigns/{campaign_id}/eligibility?member_id=m-2", headers=service.member("m-1")
    )
    assert problem(about_another) == (422, "validation")
    for unknown in (draft, "zzzzzzzzzz", "%00"):
        answer = await service.http.get(f"/v1/campaigns/{unknown}/eligibility", headers=service.member("m-1"))
        assert problem(answer) == (404, "campaign-not-found")


async def test_a_cell_that_cannot_be_asked_is_said_as_for_a_grab(
    valkey_server: ValkeyServer, valkey_url: str, database_url: str, cell_name: str
) -> None:
    async with Proxy(valkey_server.port) as proxy:
        by_the_proxy = through(valkey_url, proxy.port)
        async with running_service(by_the_proxy, database_url, cell_name, redis_timeout_s=0.3) as service:
            campaign_id = await service.sale("m-1")
            paths = (f"/v1/campaigns/{campaign_id}/eligibility", f"/v1/ops/campaigns/{campaign_id}/explain?member_id=m-1")
            calls = tuple(zip(paths, (service.member("m-1"), service.ops()), strict=True))
            for path, headers in calls:
                assert (await service.http.get(path, headers=headers)).status_code == 200
            proxy.weather.silent = True
            path, headers = calls[0]
            assert problem(await service.http.get(path, headers=headers)) == (503, "outcome-unknown")
            proxy.weather.refuses = True
            proxy.cut()
            for path, headers in calls:
                assert problem(await service.http.get(path, headers=headers)) == (503, "paused-for-recovery")
            proxy.fine()


async def test_a_closed_cell_is_said_as_for_a_grab(service: Service) -> None:
    campaign_id = await service.sale("m-1")
    await service.redis.hset(service.worker.cell.keys.cell, "nonce", "of another life")
    assert problem(await service.grab("m-1", campaign_id)) == (503, "paused-for-recovery")
    answer = await service.http.get(f"/v1/campaigns/{campaign_id}/eligibility", headers=service.member("m-1"))
    assert problem(answer) == (503, "paused-for-recovery")
    assert problem(await explained(service, campaign_id, "m-1")) == (503, "paused-for-recovery")


async def test_ops_hear_what_keeps_each_member_out(service: Service) -> None:
    expected = await some_of_each_kind(service)
    campaign_id = await service.publish(eligibility=FOR_ORG_1)
    for member_id, body in expected.items():
        assert await seen_by_ops(service, campaign_id, member_id) == {**body, "phase": "open", "claims": []}


async def test_ops_hear_of_hour_and_stock_before_anything_about_the_member(service: Service) -> None:
    await service.enrol("m-1", "m-2")
    opens_at, more_at = at(600), at(1200)
    coming = await service.publish(releases=[{"opens_at": opens_at, "quantity": 1}])
    said = await seen_by_ops(service, coming, "m-1")
    assert 0 < said.pop("opens_in_ms") <= 600_000
    campaign = (await service.http.get(f"/v1/campaigns/{coming}")).json()
    refused = {"eligible": False, "failed_rules": [], "claims": []}
    assert said == {**refused, "code": "not-open-yet", "phase": "upcoming", "opens_at_ms": campaign["opens_at_ms"]}

    releases = [{"opens_at": at(-1), "quantity": 1}, {"opens_at": more_at, "quantity": 1}]
    sold_out = await service.publish(releases=releases, closes_at=at(3600))
    assert (await service.grab("m-2", sold_out)).status_code == 201
    campaign = (await service.http.get(f"/v1/campaigns/{sold_out}")).json()
    more = {"next_release_at_ms": campaign["releases"][1]["opens_at_ms"], "waitlist": False}
    assert await seen_by_ops(service, sold_out, "m-1") == {**refused, "code": "sold-out", "phase": "sold_out", **more}
    unknown = await seen_by_ops(service, sold_out, "m-3")
    assert (unknown["code"], unknown["phase"]) == ("member-unknown", "sold_out"), "as a grab that reaches the rules"

    for action, code in (("pause", "paused"), ("close", "ended"), ("cancel", "cancelled")):
        stopped = await service.publish()
        assert (await post(service, f"{stopped}/{action}")).status_code == 200
        assert await seen_by_ops(service, stopped, "m-1") == {**refused, "code": code, "phase": code}


async def test_ops_see_a_holders_claims_without_their_codes_and_no_refusal(service: Service) -> None:
    campaign_id = await service.sale("m-1", "m-2")
    won = claim_of(await service.grab("m-1", campaign_id))
    code = won["voucher"]["code"]
    masked = {**won, "source": "grab", "voucher": {**won["voucher"], "code": f"****{code[-4:]}"}}
    for role in (Role.VIEWER, Role.ADMIN):
        answer = await explained(service, campaign_id, "m-1", role=role)
        assert code not in answer.text
        assert answer.json() == {**ELIGIBLE, "as_of_seq": won["seq"], "phase": "open", "claims": [masked]}
    assert await seen_by_ops(service, campaign_id, "m-2") == {**ELIGIBLE, "phase": "open", "claims": []}
    assert (await post(service, f"{campaign_id}/close")).status_code == 200
    assert (await seen_by_ops(service, campaign_id, "m-1"))["eligible"], "the grab of a holder is answered with the claim"
    on_request = await service.publish(benefit={"kind": "generated_code", "name": "月饼一盒", "reveal": "on_request"})
    assert (await service.grab("m-1", on_request)).status_code == 201
    assert (await seen_by_ops(service, on_request, "m-1"))["claims"][0]["voucher"]["code"] is None
    plain = await service.publish(benefit={"kind": "none", "name": "参观"})
    won = claim_of(await service.grab("m-1", plain))
    assert (await seen_by_ops(service, plain, "m-1"))["claims"] == [won | {"source": "grab"}]


@pytest.mark.parametrize("key", ["tap-1", "1", "explain", "~"])
async def test_where_a_member_may_hold_several_ops_hear_of_a_new_wish_whatever_keys_were_used(
    service: Service, key: str
) -> None:
    campaign_id = await service.sale("m-1", limit_per_member=2)
    assert (await seen_by_ops(service, campaign_id, "m-1")) == {**ELIGIBLE, "phase": "open", "claims": []}
    for used in (key, f"{key}-again"):
        assert (await service.grab("m-1", campaign_id, **{"Idempotency-Key": used})).status_code == 201
    said = await seen_by_ops(service, campaign_id, "m-1")
    assert len(said.pop("claims")) == 2
    assert said == {**AT_THE_LIMIT, "limit": 2, "used": 2, "phase": "open"}


async def test_an_explanation_takes_no_unit_and_no_place_in_the_log(service: Service) -> None:
    campaign_id = await service.sale("m-1", "m-2", releases=[{"opens_at": at(-1), "quantity": 1}])
    before = await service.redis.hgetall(service.worker.cell.keys.cell)
    for _ in range(3):
        assert (await seen_by_ops(service, campaign_id, "m-1"))["eligible"]
        assert await ask(service, campaign_id, "m-1") == ELIGIBLE
    assert await service.redis.hgetall(service.worker.cell.keys.cell) == before
    assert (await service.grab("m-2", campaign_id)).status_code == 201


async def test_ops_hear_of_a_campaign_that_is_not_published_by_its_state_and_of_a_wrong_question(service: Service) -> None:
    await service.enrol("m-1")
    draft, given_up = await service.create(), await service.create()
    assert (await post(service, f"{given_up}/cancel")).status_code == 200
    for campaign_id, state in ((draft, "draft"), (given_up, "cancelled")):
        answer = await explained(service, campaign_id, "m-1")
        assert problem(answer) == (409, "wrong-state")
        assert answer.json()["state"] == state
    for unknown in ("zzzzzzzzzz", "%00"):
        assert problem(await explained(service, unknown, "m-1")) == (404, "campaign-not-found")
    for query in ("?", "?member_id=", "?member_id=m%201", f"?member_id={'m' * 65}", "?member_id=m-1&org=org-1"):
        assert problem(await explained(service, draft, "", query=query)) == (422, "validation")
