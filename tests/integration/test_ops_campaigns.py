"""Ops write, arm and steer campaigns, and no change is done by halves."""

import asyncio
from typing import Any

import httpx
import pytest

from grab_service.campaigns import lifecycle as control
from grab_service.vocabulary.passes import Role
from tests.harness.service import Service, at, claim_of, definition


def problem(response: httpx.Response) -> tuple[int, str]:
    """Status and code of a problem; its other members must be what they always are."""
    body = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    assert body["status"] == response.status_code
    assert body["type"] == f"/problems/{body['code']}"
    assert body["title"]
    assert body["detail"]
    return response.status_code, body["code"]


async def post(service: Service, path: str, json: Any = None, role: Role = Role.OPERATOR) -> httpx.Response:
    return await service.http.post(f"/v1/ops/campaigns/{path}", json=json, headers=service.ops(role))


async def read(service: Service, campaign_id: str) -> dict[str, Any]:
    response = await service.http.get(f"/v1/ops/campaigns/{campaign_id}", headers=service.ops(Role.VIEWER))
    assert response.status_code == 200
    body: dict[str, Any] = response.json()
    return body


async def log_of(service: Service, campaign_id: str) -> list[dict[str, Any]]:
    response = await service.http.get(f"/v1/ops/log?object_id={campaign_id}", headers=service.ops(Role.VIEWER))
    assert response.status_code == 200
    items: list[dict[str, Any]] = response.json()["items"]
    return items


async def test_a_campaign_is_written_armed_and_won(service: Service) -> None:
    await service.enrol("m-1")
    written = await service.http.post("/v1/ops/campaigns", json=definition(), headers=service.ops())
    assert written.status_code == 201
    draft = written.json()
    assert draft["state"] == "draft"
    assert written.headers["etag"] == '"1"'
    assert written.headers["location"] == f"/v1/ops/campaigns/{draft['campaign_id']}"
    assert written.headers["x-server-time-ms"].isdigit()

    assert problem(await service.grab("m-1", draft["campaign_id"])) == (404, "campaign-not-found")

    armed = await post(service, f"{draft['campaign_id']}/schedule")
    assert armed.status_code == 200, armed.text
    assert armed.json()["state"] == "scheduled"
    assert armed.json()["published"] is True

    won = await service.grab("m-1", draft["campaign_id"])
    assert won.status_code == 201, won.text


async def test_what_is_left_out_has_the_defaults_of_a_free_rush_for_everyone(service: Service) -> None:
    campaign = await read(service, await service.create())
    assert campaign["allocation"] == "rush"
    assert campaign["price"] == {"points": 0, "cash_fen": 0}
    assert (campaign["limit_per_member"], campaign["limit_per_person"]) == (1, None)
    assert (campaign["returns_per_member"], campaign["benefit"]["reveal"]) == (1, "at_once")
    assert campaign["eligibility"] == {"orgs": None, "tags_any": [], "birthday_months": [], "joined_before": None}
    assert (campaign["shares"], campaign["caps"], campaign["waitlist"], campaign["pay_within_s"]) == (None, [], False, None)
    assert campaign["stock"] == {"total": 10, "available": 0, "active": 0}
    assert campaign["phase"] is None


async def test_the_contracts_own_example_is_taken_once_what_is_not_supported_is_left_out(service: Service) -> None:
    example = {
        "title": "中秋抢", "summary": "…", "category": "food", "allocation": "rush",
        "releases": [{"opens_at": "2099-09-20T04:00:00Z", "quantity": 3000}], "closes_at": "2099-09-21T04:00:00Z",
        "price": {"points": 0, "cash_fen": 0}, "limit_per_member": 1, "limit_per_person": None,
        "eligibility": {"orgs": None, "tags_any": [], "birthday_months": [], "joined_before": None},
        "shares": None, "caps": [], "waitlist": False,
        "benefit": {"kind": "generated_code", "name": "月饼一盒", "valid_from": None, "valid_until": None, "valid_days": 30,
                    "stores": []},
    }  # fmt: skip
    assert (await read(service, await service.create(**example)))["releases"][0]["quantity"] == 3000


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("title", {"title": ""}),
    ("title", {"title": "x" * 101}),
    ("title", {"title": "a\x00b"}),
    ("title", {"title": 7}),
    ("colour", {"colour": "red"}),
    ("closes_at", {"closes_at": "2099-01-01T00:00:00"}),
    ("closes_at", {"closes_at": 4_070_908_800}),
    ("closes_at", {"closes_at": at(-7200)}),
    ("releases", {"releases": []}),
    ("releases", {"releases": [{"opens_at": at(20), "quantity": 1}, {"opens_at": at(10), "quantity": 1}]}),
    ("releases", {"releases": [{"opens_at": "2099-01-01T00:00:00Z", "quantity": 1}] * 2}),
    ("releases", {"releases": [{"opens_at": at(1), "quantity": 9_999_999}, {"opens_at": at(2), "quantity": 9_999_999}]}),
    ("releases.0.quantity", {"releases": [{"opens_at": at(1), "quantity": 0}]}),
    ("releases.0.quantity", {"releases": [{"opens_at": at(1), "quantity": True}]}),
    ("releases.0.opens_at", {"releases": [{"opens_at": "tomorrow", "quantity": 1}]}),
    ("limit_per_member", {"limit_per_member": 0}),
    ("limit_per_member", {"limit_per_member": 101}),
    ("limit_per_member", {"limit_per_member": "1"}),
    ("benefit.kind", {"benefit": {"kind": "cash", "name": "x"}}),
    ("benefit.name", {"benefit": {"kind": "none"}}),
    ("benefit.reveal", {"benefit": {"kind": "none", "name": "x", "reveal": "on_request"}}),
    ("benefit.reveal", {"benefit": {"kind": "code_pool", "name": "x", "reveal": "later"}}),
    ("returns_per_member", {"returns_per_member": -1}),
    ("returns_per_member", {"returns_per_member": 101}),
    ("benefit.valid_days", {"benefit": {"kind": "none", "name": "x", "valid_days": 0}}),
    ("benefit.valid_until", {"benefit": {"kind": "none", "name": "x", "valid_from": at(9), "valid_until": at(8)}}),
    ("eligibility.orgs", {"eligibility": {"orgs": []}}),
    ("eligibility.orgs.0", {"eligibility": {"orgs": ["a,b"]}}),
    ("eligibility.birthday_months.0", {"eligibility": {"birthday_months": [13]}}),
    ("eligibility.tags_any", {"eligibility": {"tags_any": ["a", "a"]}}),
    ("eligibility.joined_before", {"eligibility": {"joined_before": "2020-02-30"}}),
]
UNSUPPORTED: list[tuple[str, dict[str, Any]]] = [
    ("allocation", {"allocation": "draw"}),
    ("price.cash_fen", {"price": {"cash_fen": 100}}),
    ("price.points", {"price": {"points": 5}}),
    ("pay_within_s", {"pay_within_s": 900}),
    ("limit_per_person", {"limit_per_person": 1}),
    ("shares", {"shares": {"by_org": {"org-1": 20}}}),
    ("caps", {"caps": ["monthly"]}),
    ("waitlist", {"waitlist": True}),
    ("benefit.stores", {"benefit": {"kind": "none", "name": "x", "stores": ["s-1"]}}),
]


async def test_what_is_wrong_or_not_supported_is_refused_by_its_field(service: Service) -> None:
    for field, changes in WRONG + UNSUPPORTED:
        response = await service.http.post("/v1/ops/campaigns", json=definition(**changes), headers=service.ops())
        assert problem(response) == (422, "validation"), changes
        assert [error["field"] for error in response.json()["errors"]] == [field], changes
        assert all(error["reason"] for error in response.json()["errors"])
    listed = await service.http.get("/v1/ops/campaigns", headers=service.ops())
    assert listed.json() == {"items": [], "next_cursor": None}


async def test_what_is_not_supported_is_said_so_in_both_languages(service: Service) -> None:
    headers = service.ops()
    wish = definition(waitlist=True)
    zh = await service.http.post("/v1/ops/campaigns", json=wish, headers=headers)
    en = await service.http.post("/v1/ops/campaigns", json=wish, headers={**headers, "Accept-Language": "en"})
    assert zh.json()["errors"] == [{"field": "waitlist", "reason": "本版本不支持 True"}]
    assert en.json()["errors"] == [{"field": "waitlist", "reason": "this release does not support True"}]


async def test_every_required_field_that_is_missing_is_named_at_once(service: Service) -> None:
    response = await service.http.post("/v1/ops/campaigns", json={}, headers=service.ops())
    assert {error["field"] for error in response.json()["errors"]} == {"title", "releases", "closes_at", "benefit"}


async def test_a_draft_is_changed_only_by_a_caller_who_saw_its_latest_version(service: Service) -> None:
    campaign_id = await service.create()
    url, headers = f"/v1/ops/campaigns/{campaign_id}", service.ops()

    assert problem(await service.http.patch(url, json={"title": "b"}, headers=headers)) == (428, "precondition-required")
    stale = await service.http.patch(url, json={"title": "b"}, headers={**headers, "If-Match": '"7"'})
    assert problem(stale) == (412, "precondition-failed")
    stale = await service.http.patch(url, json={"title": "b"}, headers={**headers, "If-Match": 'W/"7"'})
    assert problem(stale) == (412, "precondition-failed")

    changed = await service.http.patch(
        url, json={"title": "b", "benefit": {"valid_days": None}}, headers={**headers, "If-Match": 'W/"1"'}
    )
    assert changed.status_code == 200
    assert changed.headers["etag"] == '"2"'
    assert changed.json()["title"] == "b"
    assert changed.json()["benefit"]["valid_days"] is None
    assert changed.json()["benefit"]["name"] == "月饼一盒"

    wrong = await service.http.patch(url, json={"limit_per_member": 0}, headers={**headers, "If-Match": '"2"'})
    assert problem(wrong) == (422, "validation")
    assert (await read(service, campaign_id))["version"] == 2


async def test_of_two_who_change_the_same_version_one_is_told(service: Service) -> None:
    url, headers = f"/v1/ops/campaigns/{await service.create()}", {**service.ops(), "If-Match": '"1"'}
    both = await asyncio.gather(*(service.http.patch(url, json={"title": title}, headers=headers) for title in "ab"))
    assert sorted(response.status_code for response in both) == [200, 412]


async def test_what_is_armed_is_not_changed_any_more(service: Service) -> None:
    campaign_id = await service.publish()
    response = await service.http.patch(
        f"/v1/ops/campaigns/{campaign_id}", json={"title": "b"}, headers={**service.ops(), "If-Match": '"1"'}
    )
    assert problem(response) == (409, "wrong-state")
    assert response.json()["state"] == "scheduled"


async def test_a_campaign_is_armed_once(service: Service) -> None:
    campaign_id = await service.publish()
    again = await post(service, f"{campaign_id}/schedule")
    assert problem(again) == (409, "wrong-state")


async def test_of_many_who_arm_at_once_one_is_told_it_was_them_or_all_see_it_armed(service: Service) -> None:
    campaign_id = await service.create()
    answers = await asyncio.gather(*(post(service, f"{campaign_id}/schedule") for _ in range(4)))
    assert all(answer.status_code in {200, 409} for answer in answers)
    assert any(answer.status_code == 200 for answer in answers)
    assert (await read(service, campaign_id))["published"] is True


async def test_preflight_says_everything_at_once(service: Service) -> None:
    await service.enrol("m-1")
    campaign_id = await service.create(
        releases=[{"opens_at": at(-20), "quantity": 3}, {"opens_at": at(7200), "quantity": 2}],
        closes_at=at(3600),
        benefit={"kind": "code_pool", "name": "骑行券", "valid_until": at(60)},
        eligibility={"orgs": ["org-1", "org-9"]},
    )
    response = await service.http.get(f"/v1/ops/campaigns/{campaign_id}/preflight", headers=service.ops(Role.APPROVER))
    body = response.json()
    assert body["ok"] is False
    of_campaign = [finding for finding in body["findings"] if finding["field"]]  # the others are of the servers
    assert {(finding["level"], finding["code"]) for finding in of_campaign} == {
        ("error", "release-after-closing"),
        ("error", "too-few-codes"),
        ("warning", "opens-in-the-past"),
        ("warning", "voucher-ends-before-closing"),
        ("warning", "unknown-orgs"),
        ("warning", "fewer-eligible-than-units"),
    }
    refused = await post(service, f"{campaign_id}/schedule")
    assert problem(refused) == (409, "preflight-failed")
    assert refused.json()["findings"] == body["findings"]
    assert (await read(service, campaign_id))["state"] == "draft"


async def test_a_closing_in_the_past_is_an_error_an_opening_in_the_past_a_warning(service: Service) -> None:
    over = await service.create(releases=[{"opens_at": at(-20), "quantity": 3}], closes_at=at(-10))
    assert problem(await post(service, f"{over}/schedule")) == (409, "preflight-failed")
    late = await service.create(releases=[{"opens_at": at(-20), "quantity": 3}], closes_at=at(60))
    assert (await post(service, f"{late}/schedule")).status_code == 200


async def test_eligible_members_are_counted_by_the_rules_that_lua_has(service: Service) -> None:
    await service.enrol("m-1", "m-2", tags=["劳模"], birthday_month=9)
    await service.enrol("m-3", birthday_month=9)
    findings = {}
    for eligibility in ({"tags_any": ["劳模"], "birthday_months": [9]}, {"joined_before": "2020-01-01"}):
        campaign_id = await service.create(eligibility=eligibility)
        response = await service.http.get(f"/v1/ops/campaigns/{campaign_id}/preflight", headers=service.ops())
        for finding in response.json()["findings"]:
            findings[finding["code"]] = finding
    assert findings["fewer-eligible-than-units"]["claims"] == 2
    assert "nobody-eligible" in findings


async def test_pause_resume_close_are_obeyed_by_the_next_grab_and_may_be_repeated(service: Service) -> None:
    campaign_id = await service.sale("m-1", "m-2", "m-3")
    assert (await service.grab("m-1", campaign_id)).status_code == 201

    for _ in range(2):
        paused = await post(service, f"{campaign_id}/pause", {"reason": "券码有误"})
        assert (paused.status_code, paused.json()["state"], paused.json()["phase"]) == (200, "paused", "paused")
    assert problem(await service.grab("m-2", campaign_id)) == (409, "paused")
    assert (await service.grab("m-1", campaign_id)).status_code == 200  # who holds one is shown it, whatever the state

    resumed = await post(service, f"{campaign_id}/resume")
    assert resumed.json()["state"] == "scheduled"
    assert (await service.grab("m-2", campaign_id)).status_code == 201

    closed = await post(service, f"{campaign_id}/close")
    assert (closed.json()["state"], closed.json()["phase"]) == ("closed", "ended")
    assert problem(await service.grab("m-3", campaign_id)) == (410, "ended")
    assert (await post(service, f"{campaign_id}/close")).status_code == 200
    assert problem(await post(service, f"{campaign_id}/resume")) == (409, "wrong-state")


async def test_a_cancelled_campaign_says_so(service: Service) -> None:
    campaign_id = await service.sale("m-1", "m-2")
    won = await service.grab("m-1", campaign_id)
    assert (await post(service, f"{campaign_id}/cancel", {"reason": "停办"})).json()["state"] == "cancelled"
    assert problem(await service.grab("m-2", campaign_id)) == (410, "cancelled")
    assert claim_of(await service.grab("m-1", campaign_id)) == claim_of(won)


async def test_a_draft_can_be_cancelled_and_nothing_else(service: Service) -> None:
    campaign_id = await service.create()
    for action in ("pause", "resume", "close"):
        assert problem(await post(service, f"{campaign_id}/{action}")) == (409, "wrong-state")
    for _ in range(2):
        assert (await post(service, f"{campaign_id}/cancel")).json()["state"] == "cancelled"
    assert problem(await post(service, f"{campaign_id}/schedule")) == (409, "wrong-state")


async def test_stock_is_changed_from_the_total_that_was_seen_and_never_below_what_is_issued(service: Service) -> None:
    await service.enrol(*(f"m-{number}" for number in range(4)))
    campaign_id = await service.publish()
    for number in range(3):
        assert (await service.grab(f"m-{number}", campaign_id)).status_code == 201

    changed = await post(service, f"{campaign_id}/stock", {"expected_total": 10, "total": 12, "reason": "追加"})
    assert changed.json()["stock"] == {"total": 12, "available": 9, "active": 3}
    stale = await post(service, f"{campaign_id}/stock", {"expected_total": 10, "total": 11, "reason": "追加"})
    assert problem(stale) == (409, "stock-changed")
    assert (stale.json()["total"], stale.json()["issued"]) == (12, 3)
    low = await post(service, f"{campaign_id}/stock", {"expected_total": 12, "total": 2, "reason": "收回"})
    assert problem(low) == (409, "below-issued")
    assert (low.json()["total"], low.json()["issued"]) == (12, 3)
    exact = await post(service, f"{campaign_id}/stock", {"expected_total": 12, "total": 3, "reason": "收回"})
    assert exact.json()["stock"] == {"total": 3, "available": 0, "active": 3}
    assert problem(await service.grab("m-3", campaign_id)) == (409, "sold-out")
    more = await post(service, f"{campaign_id}/stock", {"expected_total": 3, "total": 4, "reason": "追加"})
    assert more.status_code == 200
    assert (await service.grab("m-3", campaign_id)).status_code == 201


async def test_a_change_of_stock_needs_its_reason(service: Service) -> None:
    campaign_id = await service.publish()
    response = await post(service, f"{campaign_id}/stock", {"expected_total": 10, "total": 12})
    assert problem(response) == (422, "validation")
    assert response.json()["errors"][0]["field"] == "reason"


async def test_everything_that_was_asked_for_is_in_the_log_with_its_reason_and_outcome(service: Service) -> None:
    campaign_id = await service.create()
    await post(service, f"{campaign_id}/pause", {"reason": "太早"})
    await post(service, f"{campaign_id}/schedule", {"reason": "已核对"})
    await post(service, f"{campaign_id}/pause", {"reason": "券码有误"}, role=Role.ADMIN)
    lines = [(line["action"], line["reason"], line["outcome"], line["role"]) for line in await log_of(service, campaign_id)]
    assert lines == [
        ("campaign.pause", "券码有误", "done", "admin"),
        ("campaign.schedule", "已核对", "done", "operator"),
        ("campaign.pause", "太早", "wrong-state", "operator"),
        ("campaign.create", None, "done", "operator"),
    ]


async def test_an_unrecorded_change_is_not_answered_as_done(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grab_service.campaigns.lifecycle.RECORDED_WAIT_S", 0.1)
    campaign_id = await service.publish()
    await service.drain.stop()
    late = await post(service, f"{campaign_id}/pause")
    assert problem(late) == (503, "ledger-behind")
    assert late.headers["retry-after"].isdigit()
    service.drain.start()
    again = await post(service, f"{campaign_id}/pause")
    assert (again.status_code, again.json()["state"]) == (200, "paused")


async def test_a_change_is_answered_when_no_view_can_be_older(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though it is on record at once."""
    assert service.worker.settings.view_age_max_s <= control.SETTLE_S
    monkeypatch.setattr(control, "SETTLE_S", 1.0)
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    await control.recorded(service.worker.engine, service.worker.settings.cell, 0)
    assert loop.time() - began_s >= 1.0


async def test_a_closed_cell_arms_nothing_and_a_repeat_does(service: Service) -> None:
    campaign_id = await service.create()
    keys = service.worker.cell.keys
    nonce = await service.redis.hget(keys.cell, "nonce")
    await service.redis.hset(keys.cell, "nonce", "another life")
    closed = await post(service, f"{campaign_id}/schedule")
    assert problem(closed) == (503, "paused-for-recovery")
    assert (await read(service, campaign_id))["state"] == "draft"
    assert nonce is not None
    await service.redis.hset(keys.cell, "nonce", nonce)
    await asyncio.sleep(0.15)
    assert (await post(service, f"{campaign_id}/schedule")).status_code == 200


async def test_campaigns_are_listed_newest_first_page_by_page(service: Service) -> None:
    written = [await service.create(title=f"第 {number} 个") for number in range(5)]
    seen = [campaign["campaign_id"] for campaign in await service.listed("/v1/ops/campaigns", service.ops())]
    assert sorted(seen) == sorted(written)
    assert len(seen) == 5
    for wrong in ("limit=0", "limit=101", "limit=x", "cursor=x", "cursor=WzFd", "state=open"):
        response = await service.http.get(f"/v1/ops/campaigns?{wrong}", headers=service.ops())
        assert problem(response) == (422, "validation"), wrong


async def test_unknown_campaigns_are_not_found_by_any_call(service: Service) -> None:
    for campaign_id in ("nowhere", "NO", "a" * 200, "%00"):
        for method, path, json in (
            ("GET", "", None),
            ("PATCH", "", {"title": "b"}),
            ("GET", "/preflight", None),
            ("GET", "/claims.csv", None),
            ("POST", "/schedule", None),
            ("POST", "/pause", None),
            ("POST", "/cancel", None),
            ("POST", "/stock", {"expected_total": 1, "total": 2, "reason": "x"}),
        ):
            url = f"/v1/ops/campaigns/{campaign_id}{path}"
            response = await service.http.request(method, url, json=json, headers=service.ops())
            assert problem(response) == (404, "campaign-not-found"), (method, url)
