"""The work of ops on the day after: copies, changes of drafts, members and the log looked up, files that people can read."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from grab_service.campaigns.drafts import delete_draft
from grab_service.campaigns.service import read_campaign
from grab_service.refusal import RefusalError
from grab_service.vocabulary.passes import OpsIdentity, Role
from tests.harness.command_line import OPS_SECRET, SECRET, CommandLine
from tests.harness.service import Service, at, definition

CAMPAIGNS = "/v1/ops/campaigns"


async def written(service: Service, **changes: Any) -> dict[str, Any]:
    answer = await service.http.post(CAMPAIGNS, json=definition(**changes), headers=service.ops())
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def patched(service: Service, campaign: dict[str, Any], changes: dict[str, Any]) -> Any:
    head = service.ops() | {"if-match": f'"{campaign["version"]}"'}
    return await service.http.patch(f"{CAMPAIGNS}/{campaign['campaign_id']}", json=changes, headers=head)


def errors_of(answer: Any) -> dict[str, str]:
    assert (answer.status_code, answer.json()["code"]) == (422, "validation"), answer.text
    return {error["field"]: error["reason"] for error in answer.json()["errors"]}


async def test_what_get_gives_can_be_sent_back_as_it_is(service: Service) -> None:
    first = await written(service, title="骑行券", summary="a\nb")
    again = await service.http.post(CAMPAIGNS, json=first, headers=service.ops())
    assert again.status_code == 201, again.text
    second = again.json()
    assert second["campaign_id"] != first["campaign_id"]
    own = {"campaign_id", "created_at", "created_at_ms"}
    assert {k: v for k, v in second.items() if k not in own} == {k: v for k, v in first.items() if k not in own}
    unchanged = await patched(service, first, first)
    assert unchanged.status_code == 200, unchanged.text
    changed = await patched(service, unchanged.json(), unchanged.json() | {"title": "另一个"})
    assert (changed.json()["title"], changed.json()["version"]) == ("另一个", 3)


async def test_a_read_only_field_that_differs_is_refused_by_name_and_so_is_a_twin_that_disagrees(service: Service) -> None:
    draft = await written(service)
    for name, other in {"state": "scheduled", "campaign_id": "x", "version": 9, "stock": {"total": 1}, "phase": "open"}.items():
        assert errors_of(await patched(service, draft, {name: other})) == {name: "只读字段，不能修改"}
    later = draft["closes_at_ms"] + 60_000
    assert set(errors_of(await patched(service, draft, {"closes_at_ms": later}))) == {"closes_at_ms"}
    release = draft["releases"][0] | {"opens_at_ms": draft["releases"][0]["opens_at_ms"] + 1}
    assert set(errors_of(await patched(service, draft, {"releases": [release]}))) == {"releases.0.opens_at_ms"}
    moved = draft | {"closes_at": at(7200)}
    assert set(errors_of(await service.http.post(CAMPAIGNS, json=moved, headers=service.ops()))) == {"closes_at_ms"}


async def test_a_copy_moves_all_times_along_and_is_a_draft_of_its_own(service: Service) -> None:
    benefit = {"kind": "generated_code", "name": "券", "valid_from": at(60), "valid_until": at(9000)}
    releases = [{"opens_at": at(60), "quantity": 5}, {"opens_at": at(120), "quantity": 7}]
    source = await written(service, releases=releases, closes_at=at(3600), benefit=benefit, limit_per_member=2)
    url = f"{CAMPAIGNS}/{source['campaign_id']}/copy"
    plain = await service.http.post(url, json={}, headers=service.ops())
    assert plain.status_code == 201, plain.text
    assert plain.headers["location"] == f"{CAMPAIGNS}/{plain.json()['campaign_id']}"
    assert plain.json()["releases"] == source["releases"]
    moved = await service.http.post(url, json={"title": "十月", "opens_at": at(100_060)}, headers=service.ops())
    body = moved.json()
    by_ms = body["opens_at_ms"] - source["opens_at_ms"]
    assert by_ms == 100_000_000 or abs(by_ms - 100_000_000) < 5_000
    assert body["closes_at_ms"] - source["closes_at_ms"] == by_ms
    assert [r["opens_at_ms"] for r in body["releases"]] == [r["opens_at_ms"] + by_ms for r in source["releases"]]
    assert (body["title"], body["state"], body["limit_per_member"], body["version"]) == ("十月", "draft", 2, 1)
    assert body["benefit"]["valid_until"] != source["benefit"]["valid_until"]
    assert (await service.http.post(f"{CAMPAIGNS}/nowhere/copy", json={}, headers=service.ops())).status_code == 404
    assert set(errors_of(await service.http.post(url, json={"opens_at": "soon"}, headers=service.ops()))) == {"opens_at"}
    log = await service.http.get("/v1/ops/log?action=campaign.create&limit=1", headers=service.ops())
    assert log.json()["items"][0]["detail"]["copied_from"] == source["campaign_id"]


async def test_a_draft_can_be_deleted_with_its_codes_and_nothing_else_can(service: Service) -> None:
    benefit = {"kind": "code_pool", "name": "券"}
    draft = await written(service, benefit=benefit)
    url = f"{CAMPAIGNS}/{draft['campaign_id']}"
    await service.http.post(f"{url}/codes", content="code\nA-1\nA-2\n", headers=service.ops() | {"content-type": "text/csv"})
    assert (await service.http.delete(url, headers=service.ops())).status_code == 428
    stale = await service.http.delete(url, headers=service.ops() | {"if-match": '"7"'})
    assert (stale.status_code, stale.json()["code"]) == (412, "precondition-failed")
    good = service.ops() | {"if-match": '"1"'}
    assert (await service.http.delete(url, headers=service.ops(Role.VIEWER) | {"if-match": '"1"'})).status_code == 403
    assert (await service.http.delete(url, headers=good)).status_code == 204
    assert (await service.http.get(url, headers=service.ops())).status_code == 404
    assert (await service.http.delete(url, headers=good)).status_code == 404
    other = await written(service, benefit=benefit)
    again = await service.http.post(
        f"{CAMPAIGNS}/{other['campaign_id']}/codes",
        content="code\nA-1\n",
        headers=service.ops() | {"content-type": "text/csv"},
    )
    assert again.json()["imported"] == 1, "the codes are free again"
    cancelled = await service.http.post(f"{CAMPAIGNS}/{other['campaign_id']}/cancel", json={}, headers=service.ops())
    assert cancelled.json()["closed_at_ms"] is not None
    refused = await service.http.delete(f"{CAMPAIGNS}/{other['campaign_id']}", headers=good)
    assert (refused.status_code, refused.json()["code"]) == (409, "wrong-state")


async def test_a_campaign_is_looked_at_before_it_is_written(service: Service) -> None:
    async def ahead(body: dict[str, Any]) -> dict[str, Any]:
        head = service.ops(Role.VIEWER) | {"accept-language": "en"}
        answer = await service.http.post("/v1/ops/preflight", json=body, headers=head)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    missing = await ahead({"title": "券"})
    assert not missing["ok"]
    assert {(one["code"], one["field"]) for one in missing["findings"]} == {
        ("missing", "releases"),
        ("missing", "closes_at"),
        ("missing", "benefit"),
    }
    unsupported = await ahead(definition(waitlist=True))
    assert [(one["code"], one["field"]) for one in unsupported["findings"]] == [("invalid", "waitlist")]
    pool = await ahead(definition(benefit={"kind": "code_pool", "name": "券"}))
    assert "too-few-codes" in {one["code"] for one in pool["findings"]}
    before = (await service.http.get(CAMPAIGNS, headers=service.ops())).json()["items"]
    await ahead(definition())
    assert (await service.http.get(CAMPAIGNS, headers=service.ops())).json()["items"] == before, "nothing is stored"


async def test_members_are_found_by_the_start_of_their_id_a_part_of_their_name_and_their_union(service: Service) -> None:
    rows = [
        "d-1,org-1,,王小明,骑手|党员,3,2020-01-31,active",
        "d-2,org-1,p-9,王芳,,,,suspended",
        "d-3,org-2,,李%四,,,,active",
        "e-1,org-2,,Zoë_Ann,,,,left",
    ]
    head = service.ops() | {"content-type": "text/csv"}
    names = "member_id,org_id,person_id,name,tags,birthday_month,joined_on,status"
    await service.http.post("/v1/ops/members/import", content="\n".join([names, *rows]), headers=head)

    async def found(**asked: str) -> list[str]:
        answer = await service.http.get("/v1/ops/members", params=asked, headers=service.ops(Role.VIEWER))
        assert answer.status_code == 200, answer.text
        return [one["member_id"] for one in answer.json()["items"]]

    assert await found(q="d-") == ["d-1", "d-2", "d-3"]
    assert await found(q="王") == ["d-1", "d-2"]
    assert await found(q="%") == ["d-3"], "what SQL takes for any text is a letter like others"
    assert await found(q="_") == ["e-1"]
    assert await found(org="org-2") == ["d-3", "e-1"]
    assert await found(org="org-2", q="e") == ["e-1"]
    assert await found(q="nobody") == []
    page = await service.http.get("/v1/ops/members?q=d-&limit=2", headers=service.ops())
    cursor = page.json()["next_cursor"]
    assert await found(q="d-", limit="2", cursor=cursor) == ["d-3"]
    await service.http.put("/v1/ops/blocklist/d-1", json={"until": at(600), "reason": "代抢"}, headers=service.ops())
    one = (await service.http.get("/v1/ops/members/d-1", headers=service.ops())).json()
    assert one["blocked"]["reason"] == "代抢"
    assert {name: one[name] for name in ("org_id", "person_id", "name", "tags", "birthday_month", "joined_on", "status")} == {
        "org_id": "org-1",
        "person_id": None,
        "name": "王小明",
        "tags": ["骑手", "党员"],
        "birthday_month": 3,
        "joined_on": "2020-01-31",
        "status": "active",
    }
    assert (await service.http.get("/v1/ops/members/d-2", headers=service.ops())).json()["blocked"] is None
    for nobody in ("d-9", "a b", "x" * 80):
        answer = await service.http.get(f"/v1/ops/members/{nobody}", headers=service.ops())
        assert (answer.status_code, answer.json()["code"]) == (404, "member-not-found")


async def test_the_log_is_narrowed_by_who_what_how_it_ended_and_when(service: Service) -> None:
    alice, bob = service.ops(Role.OPERATOR, "王小明"), service.ops(Role.OPERATOR, "bob")
    first = (await service.http.post(CAMPAIGNS, json=definition(), headers=alice)).json()
    await service.http.post(f"{CAMPAIGNS}/{first['campaign_id']}/cancel", json={"reason": "x"}, headers=bob)
    await service.http.post(f"{CAMPAIGNS}/nowhere/cancel", json={}, headers=bob)

    async def lines(**asked: str) -> list[tuple[str, str, str]]:
        answer = await service.http.get("/v1/ops/log", params=asked, headers=service.ops(Role.VIEWER))
        assert answer.status_code == 200, answer.text
        return [(line["actor"], line["action"], line["outcome"]) for line in answer.json()["items"]]

    assert await lines(actor="王小明") == [("王小明", "campaign.create", "done")]
    assert await lines(actor="bob", outcome="done") == [("bob", "campaign.cancel", "done")]
    assert await lines(action="campaign.cancel") == [
        ("bob", "campaign.cancel", "campaign-not-found"),
        ("bob", "campaign.cancel", "done"),
    ]
    assert len(await lines(**{"from": at(-60), "to": at(60)})) == 3
    assert await lines(**{"from": at(60)}) == []
    assert await lines(to=at(-60)) == []
    wrong = await service.http.get("/v1/ops/log?from=yesterday", headers=service.ops())
    assert set(errors_of(wrong)) == {"from"}


async def test_claims_as_a_file_have_times_and_unions_that_people_can_read(service: Service) -> None:
    head = service.ops() | {"content-type": "text/csv"}
    names = "member_id,org_id,person_id,name,tags,birthday_month,joined_on,status"
    await service.http.post("/v1/ops/members/import", content=f"{names}\nd-1,org-1,,王小明,,,,active\n", headers=head)
    await service.http.post("/v1/ops/orgs", json={"org_id": "org-1", "name": "第一工会"}, headers=service.ops())
    benefit = {"kind": "generated_code", "name": "券", "valid_days": 30}
    campaign_id = await service.publish(releases=[{"opens_at": at(-1), "quantity": 2}], benefit=benefit)
    won = await service.grab("d-1", campaign_id)
    assert won.status_code == 201, won.text
    await service.drained()
    answer = await service.http.get(f"{CAMPAIGNS}/{campaign_id}/claims.csv", headers=service.ops())
    (row,) = csv.DictReader(io.StringIO(answer.text))
    assert (row["org_id"], row["org_name"], row["voucher_state"]) == ("org-1", "第一工会", "active")
    assert row["granted_at"] == row["valid_from"]
    assert row["valid_until"] > row["valid_from"]
    assert int(row["granted_at_ms"]) == won.json()["granted_at_ms"]


def command_line(service: Service, home: Path) -> CommandLine:
    settings = service.worker.settings
    addresses = {"REDIS_URL": settings.redis_url, "DATABASE_URL": settings.database_url, "GRAB_CELL": settings.cell}
    return CommandLine(home, **addresses, GRAB_SECRETS=SECRET, GRAB_OPS_SECRETS=OPS_SECRET)


async def test_the_same_on_the_command_line(service: Service, tmp_path: Path) -> None:
    grab = command_line(service, tmp_path)
    await service.enrol("d-1")
    draft = await written(service, title="骑行券")
    campaign_id = draft["campaign_id"]
    copied = await grab.run("campaign", "copy", campaign_id, "--title", "十月", "--opens-at", at(100_000), "--json")
    assert copied.json["title"] == "十月"
    shown = await grab.run("campaign", "show", campaign_id, "--json")
    whole = grab.file("whole.json", json.dumps(shown.json | {"title": "改名"}))
    assert (await grab.run("campaign", "edit", campaign_id, whole)).status == 0
    assert (await grab.run("campaign", "edit", campaign_id, whole)).is_refusal("Somebody changed it meanwhile")
    patch = await grab.run("campaign", "edit", campaign_id, "-", stdin='{"summary": "新"}')
    assert patch.status == 0, patch
    wrong = await grab.run("campaign", "edit", campaign_id, "-", stdin='{"state": "open"}')
    assert wrong.is_refusal("state: it is read-only")
    assert (await grab.run("campaign", "edit", campaign_id, "-", stdin="[]")).is_refusal("no JSON object")
    assert (await grab.run("campaign", "copy", campaign_id, "--opens-at", "soon")).status == 2
    assert (await grab.run("campaign", "delete", campaign_id)).status == 2, "nobody can be asked"
    assert (await grab.run("campaign", "delete", campaign_id, "--yes")).status == 0
    assert (await grab.run("campaign", "show", campaign_id)).is_refusal("There is no such campaign")
    blocked = await grab.run("block", "d-1", "--until", at(600), "--reason", "代抢")
    assert blocked.status == 0, blocked
    past = await grab.run("block", "d-1", "--until", at(-600), "--reason", "代抢")
    assert past.is_refusal("--until is in the past")
    assert (await grab.run("unblock", "d-1")).status == 0
    assert (await grab.run("block", "nobody-here", "--reason", "x")).is_refusal("There is no such member")
    log = await grab.run("log", "--action", "blocklist.set", "--json")
    assert [line["outcome"] for line in log.json["items"]] == ["member-not-found", "done"]
    table = await grab.run("log", "--object", campaign_id, "--limit", "1")
    assert "campaign.delete" in table.out
    assert "raise --limit" in table.err


@pytest.mark.parametrize("actor", ["王小明", "工会办公室"])
async def test_an_actor_may_have_a_chinese_name(service: Service, tmp_path: Path, actor: str) -> None:
    grab = command_line(service, tmp_path)
    token = (await grab.run("passes", "ops", actor, "--role", "operator")).out.strip()
    answer = await service.http.get("/v1/ops/orgs", headers={"authorization": f"Bearer {token}"})
    assert answer.status_code in (200, 401), answer.text
    assert (await grab.run("passes", "ops", "王 小明")).is_refusal("letters or digits of any script")


async def test_a_draft_that_changed_since_it_was_read_is_not_deleted_and_one_that_is_none_any_more_neither(
    service: Service,
) -> None:
    draft = await written(service)
    engine, alice = service.worker.engine, OpsIdentity("alice", Role.ADMIN)
    read = await read_campaign(engine, draft["campaign_id"])
    await patched(service, draft, {"title": "another"})
    with pytest.raises(RefusalError, match="precondition-failed"):
        await delete_draft(engine, alice, read)
    read = await read_campaign(engine, draft["campaign_id"])
    cancelled = await service.http.post(f"{CAMPAIGNS}/{draft['campaign_id']}/cancel", json={}, headers=service.ops())
    assert cancelled.status_code == 200
    with pytest.raises(RefusalError, match="wrong-state"):
        await delete_draft(engine, alice, read)
    assert (await service.http.get(f"{CAMPAIGNS}/{draft['campaign_id']}", headers=service.ops())).status_code == 200
