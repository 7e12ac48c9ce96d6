"""Files of codes and members are imported row by row; each broken row is named, and the others are not lost."""

from typing import Any

import httpx
import pytest

from tests.harness.service import Service, at
from tests.integration.test_ops_campaigns import post, problem

HEADER = "member_id,org_id,person_id,name,tags,birthday_month,joined_on,status\n"


async def upload(service: Service, path: str, content: str | bytes, kind: str = "text/csv", **headers: str) -> httpx.Response:
    sent = {**service.ops(), "Content-Type": kind, **headers}
    return await service.http.post(f"/v1/ops/{path}", content=content, headers=sent)


async def pool(service: Service, quantity: int = 2) -> str:
    releases = [{"opens_at": at(-1), "quantity": quantity}]
    return await service.create(releases=releases, benefit={"kind": "code_pool", "name": "骑行券"})


async def test_codes_that_can_be_taken_are_and_the_others_are_named_by_row(service: Service) -> None:
    campaign_id = await pool(service)
    content = "\ufeffcode\r\nA1\r\nA 2\r\nA1\r\n\r\n" + "x" * 65 + "\r\n=1+1\r\n"
    response = await upload(service, f"campaigns/{campaign_id}/codes", content.encode(), **{"Accept-Language": "en"})
    assert response.status_code == 200, response.text
    body = response.json()
    assert (body["imported"], body["loaded"]) == (2, 2)
    assert [(rejected["row"], rejected["field"]) for rejected in body["rejected"]] == [
        (3, "code"),
        (4, "code"),
        (5, "code"),
        (6, "code"),
    ]
    assert body["rejected"][1]["reason"] == "stands in row 2 already"


async def test_a_code_belongs_to_one_campaign(service: Service) -> None:
    first, second = await pool(service), await pool(service)
    assert (await upload(service, f"campaigns/{first}/codes", "code\nA1\nA2\n")).json()["imported"] == 2
    again = (await upload(service, f"campaigns/{first}/codes", "code\nA2\nA3\n")).json()
    assert (again["imported"], again["loaded"], again["rejected"][0]["row"]) == (1, 3, 2)
    other = (await upload(service, f"campaigns/{second}/codes", "code\nA3\nB1\n")).json()
    assert (other["imported"], other["loaded"]) == (1, 1)
    assert other["rejected"][0]["reason"] != again["rejected"][0]["reason"]


async def test_codes_of_a_draft_stay_out_of_the_cell_until_it_is_scheduled(service: Service) -> None:
    campaign_id = await pool(service)
    keys = service.worker.cell.keys.of_campaign(campaign_id)
    assert (await upload(service, f"campaigns/{campaign_id}/codes", "code\nA1\nA2\n")).json()["loaded"] == 2
    assert not await service.redis.exists(keys.codes, keys.campaign)
    assert (await post(service, f"{campaign_id}/schedule")).status_code == 200
    assert await service.redis.lrange(keys.codes, 0, -1) == [b"A1", b"A2"]


async def test_codes_are_given_out_in_the_order_of_the_file_and_later_ones_after_them(service: Service) -> None:
    await service.enrol("m-1", "m-2", "m-3")
    campaign_id = await pool(service)
    assert (await upload(service, f"campaigns/{campaign_id}/codes", "code\nB\nA\n")).json()["loaded"] == 2
    assert (await post(service, f"{campaign_id}/schedule")).status_code == 200
    assert (await upload(service, f"campaigns/{campaign_id}/codes", "code\nC\n")).json()["loaded"] == 3
    raised = await post(service, f"{campaign_id}/stock", {"expected_total": 2, "total": 3, "reason": "追加"})
    assert raised.status_code == 200
    won = [(await service.grab(f"m-{number}", campaign_id)).json()["voucher"]["code"] for number in (1, 2, 3)]
    assert won == ["B", "A", "C"]


async def test_stock_does_not_rise_above_the_codes(service: Service) -> None:
    campaign_id = await pool(service)
    await upload(service, f"campaigns/{campaign_id}/codes", "code\nB\nA\n")
    await post(service, f"{campaign_id}/schedule")
    refused = await post(service, f"{campaign_id}/stock", {"expected_total": 2, "total": 3, "reason": "追加"})
    assert problem(refused) == (409, "too-few-codes")


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ("codes\nA1\n", "code"),
        ("A1\nA2\n", "code"),
        ("", "code"),
        ("code,note\nA1,x\n", "note"),
        (b"\xff\xfec\x00o\x00", ""),
        (b"PK\x03\x04zip", ""),
    ],
)
async def test_a_file_that_is_none_is_refused_as_a_whole(service: Service, content: str | bytes, field: str) -> None:
    campaign_id = await pool(service)
    response = await upload(service, f"campaigns/{campaign_id}/codes", content)
    assert problem(response) == (422, "validation"), response.text
    assert field in [error["field"] for error in response.json()["errors"]]


async def test_codes_are_for_pools_of_campaigns_that_still_run(service: Service) -> None:
    generated = await service.create()
    assert problem(await upload(service, f"campaigns/{generated}/codes", "code\nA\n")) == (422, "validation")
    campaign_id = await pool(service)
    await post(service, f"{campaign_id}/cancel")
    assert problem(await upload(service, f"campaigns/{campaign_id}/codes", "code\nA\n")) == (409, "wrong-state")
    assert problem(await upload(service, "campaigns/nowhere/codes", "code\nA\n")) == (404, "campaign-not-found")


async def test_a_file_may_come_in_a_form(service: Service) -> None:
    campaign_id = await pool(service)
    url = f"/v1/ops/campaigns/{campaign_id}/codes"
    files = {"file": ("codes.csv", b"code\r\nA1\r\nA2\r\n", "text/csv")}
    response = await service.http.post(url, files=files, headers=service.ops())
    assert response.json()["imported"] == 2, response.text
    two = await service.http.post(url, files=[("a", files["file"]), ("b", files["file"])], headers=service.ops())
    assert problem(two) == (400, "malformed")
    broken = await upload(service, f"campaigns/{campaign_id}/codes", b"x", "multipart/form-data")
    assert problem(broken) == (400, "malformed")


async def test_other_types_are_not_taken_for_a_file(service: Service) -> None:
    campaign_id = await pool(service)
    for kind in ("application/json", "application/x-www-form-urlencoded", "application/vnd.ms-excel"):
        response = await upload(service, f"campaigns/{campaign_id}/codes", "code\nA\n", kind)
        assert problem(response) == (415, "unsupported-media-type")
        assert problem(await upload(service, "members/import", HEADER, kind)) == (415, "unsupported-media-type")


async def test_members_come_in_and_win_and_broken_rows_are_named(service: Service) -> None:
    content = (
        HEADER + "m-1,org-1,p-1,张三,劳模|model-worker,9,2020-01-31,active\n"
        "m-2,org-2,,李四,,,,active\n"
        "m 3,org-2,,王五,,,,active\n"
        "m-4,org-2,,赵六,,13,,active\n"
        "m-1,org-2,,孙七,,,,active\n"
        "m-5,org-2,,周八,,,,retired\n"
    )
    response = await upload(service, "members/import", content)
    assert response.status_code == 200, response.text
    body = response.json()
    assert (body["imported"], body["updated"], body["published"]) == (2, 0, True)
    assert [(rejected["row"], rejected["field"]) for rejected in body["rejected"]] == [
        (4, "member_id"),
        (5, "birthday_month"),
        (6, "member_id"),
        (7, "status"),
    ]
    campaign_id = await service.publish(eligibility={"orgs": ["org-1"], "tags_any": ["劳模"]})
    assert (await service.grab("m-1", campaign_id)).status_code == 201
    assert problem(await service.grab("m-2", campaign_id)) == (403, "not-eligible")
    orgs = (await service.http.get("/v1/ops/orgs", headers=service.ops())).json()["items"]
    assert [org["org_id"] for org in orgs] == ["org-1", "org-2"]


async def test_a_second_import_changes_what_is_different_and_is_obeyed_at_once(service: Service) -> None:
    rows = ["m-1,org-1,,张三,,,,active\n", "m-2,org-1,,李四,,,,active\n"]
    await upload(service, "members/import", HEADER + "".join(rows))
    campaign_id = await service.publish()
    changed = [rows[0], "m-2,org-1,,李四,,,,suspended\n", "m-3,org-1,,王五,,,,active\n"]
    body = (await upload(service, "members/import", HEADER + "".join(changed))).json()
    assert (body["imported"], body["updated"], body["unchanged"]) == (1, 2, 1)
    assert problem(await service.grab("m-2", campaign_id)) == (403, "member-blocked")
    for member_id in ("m-1", "m-3"):
        assert (await service.grab(member_id, campaign_id)).status_code == 201


async def test_many_members_come_in_whole(service: Service) -> None:
    rows = "".join(f"m-{number:06},org-{number % 50},,张三,a|b,{number % 12 + 1},,active\n" for number in range(12_000))
    body = (await upload(service, "members/import", HEADER + rows)).json()
    assert (body["imported"], body["rejected"]) == (12_000, [])
    campaign_id = await service.publish()
    for member_id in ("m-000000", "m-005000", "m-011999"):
        assert (await service.grab(member_id, campaign_id)).status_code == 201


async def test_a_file_without_its_columns_changes_nobody(service: Service) -> None:
    response = await upload(service, "members/import", "member_id,org_id\nm-1,org-1\n")
    assert problem(response) == (422, "validation")
    missing = {error["field"] for error in response.json()["errors"]}
    assert missing == {"person_id", "name", "tags", "birthday_month", "joined_on", "status"}


async def test_uploads_are_in_the_log_with_their_figures(service: Service) -> None:
    campaign_id = await pool(service)
    await upload(service, f"campaigns/{campaign_id}/codes", "code\nA\nA\n")
    await upload(service, "members/import", HEADER + "m-1,org-1,,张三,,,,active\n")
    lines: list[dict[str, Any]] = (await service.http.get("/v1/ops/log", headers=service.ops())).json()["items"]
    figures = {"imported": 1, "updated": 0, "rejected": 0, "new_orgs": ["org-1"]}
    assert (lines[0]["action"], lines[0]["detail"]) == ("members.import", figures)
    assert (lines[1]["action"], lines[1]["detail"]) == ("campaign.codes", {"imported": 1, "rejected": 1, "loaded": 1})


async def test_a_single_change_of_a_single_member_is_obeyed(service: Service) -> None:
    row = HEADER + "m-1,org-1,,张三,,,,{}\n"
    assert (await upload(service, "members/import", row.format("active"))).json()["imported"] == 1
    campaign_id = await service.publish()
    for status, expected in (("suspended", 403), ("active", 201)):
        assert (await upload(service, "members/import", row.format(status))).json()["updated"] == 1
        assert (await service.grab("m-1", campaign_id)).status_code == expected


@pytest.mark.parametrize("count", [999, 1000, 1001, 2000])
async def test_a_page_of_members_or_codes_may_be_just_full(count: int, service: Service) -> None:
    # The names fall while the versions rise, so that no page can go by the one instead of the other.
    rows = "".join(f"m-{number:04},org-1,,张三,,,,active\n" for number in reversed(range(count)))
    assert (await upload(service, "members/import", HEADER + rows)).json()["imported"] == count
    keys = service.worker.cell.keys
    assert await service.redis.hlen(keys.members) == count
    campaign_id = await pool(service, count)
    codes = "".join(f"C-{number:04}\n" for number in range(count))
    assert (await upload(service, f"campaigns/{campaign_id}/codes", "code\n" + codes)).json()["loaded"] == count
    assert (await post(service, f"{campaign_id}/schedule")).status_code == 200
    assert await service.redis.llen(keys.of_campaign(campaign_id).codes) == count
