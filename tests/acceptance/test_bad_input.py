"""Everything wrong that people send to the running service gets a clear problem answer, and nothing is half done."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from grab_service.vocabulary.passes import PassKeys, mint
from grab_service.vocabulary.times import rfc3339
from tests.harness.district import District, Site, running_district

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(120),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.xdist_group("a district that is sent bad input"),
]

HEADER = "member_id,org_id,person_id,name,tags,birthday_month,joined_on,status\n"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def district(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[District]:
    """One for all tests here: each has campaigns of its own, and none breaks anything."""
    async with running_district(tmp_path_factory.mktemp("district"), Site(workers=1), members=20) as district:
        yield district


def draft(**changes: Any) -> dict[str, Any]:
    now_ms = time.time_ns() // 1_000_000
    return {
        "title": "月饼",
        "releases": [{"opens_at": rfc3339(now_ms - 1_000), "quantity": 5}],
        "closes_at": rfc3339(now_ms + 3_600_000),
        "benefit": {"kind": "generated_code", "name": "月饼一盒"},
        **changes,
    }


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The answer is this problem, whole and well formed."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert int(answer.headers["X-Server-Time-Ms"]) > 0
    body: dict[str, Any] = answer.json()
    assert body["code"] == code, body
    assert body["type"] == f"/problems/{code}"
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    return body


async def test_grabs_that_cannot_be(district: District) -> None:
    async with district.ops() as ops, district.http() as client:
        campaign_id = await district.open_campaign(5)
        path = f"/v1/campaigns/{campaign_id}/claims"
        mine = await district.member(client, "m-1")
        keys = district.settings.pass_keys()
        forged = mint(PassKeys.build(district.settings.cell, [("k1", b"not the secret of the service")]), "m-1", 9_999_999_999)
        expired = mint(keys, "m-1", int(time.time()) - 1)
        problem(await client.post("/v1/campaigns/unknown/claims", headers=mine), 404, "campaign-not-found")
        problem(await client.post(path), 401, "pass-invalid")
        for token, code in (("nonsense", "pass-invalid"), (forged, "pass-invalid"), (expired, "pass-expired")):
            problem(await client.post(path, headers={"Authorization": f"Bearer {token}"}), 401, code)
        as_json = {**mine, "Content-Type": "application/json"}
        problem(await client.post(path, headers=as_json, content=b"x" * 1_048_576), 413, "too-large")
        problem(await client.post(path, headers=as_json, content=b"{nope"), 400, "malformed")
        problem(
            await client.post(path, headers={**mine, "Content-Type": "text/xml"}, content=b"<a/>"),
            415,
            "unsupported-media-type",
        )
        problem(await client.post(path, headers=await district.member(client, "nobody")), 403, "member-unknown")
        problem(await client.put(path, headers=mine), 405, "method-not-allowed")
        created = await ops.post("/v1/ops/campaigns", json=draft())
        drafted = created.json()["campaign_id"]
        problem(await client.post(f"/v1/campaigns/{drafted}/claims", headers=mine), 404, "campaign-not-found")
        # After all that, nothing is taken and a proper grab wins.
        audit = (await ops.get("/v1/ops/audit")).json()
        assert {campaign["campaign_id"]: campaign["active"] for campaign in audit["campaigns"]}[campaign_id] == 0
        assert (await client.post(path, headers=mine)).status_code == 201


async def test_a_chunked_body_without_end_is_cut_off(district: District) -> None:
    async with district.http() as client:
        campaign_id = await district.open_campaign(5)
        mine = await district.member(client, "m-1")
        reader, writer = await asyncio.open_connection("127.0.0.1", district.settings.port)
        writer.write(
            f"POST /v1/campaigns/{campaign_id}/claims HTTP/1.1\r\nHost: x\r\nAuthorization: {mine['Authorization']}\r\n"
            "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        )
        for _ in range(64):
            writer.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
        async with asyncio.timeout(10):
            status = await reader.readline()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        assert status.split()[1] == b"413"


async def test_campaigns_that_cannot_be(district: District) -> None:
    now_ms = time.time_ns() // 1_000_000
    async with district.ops() as ops:
        before = (await ops.get("/v1/ops/campaigns")).json()["items"]
        wrong: dict[str, dict[str, Any]] = {
            "title": draft(title=""),
            "releases": draft(releases=[]),
            "closes_at": draft(closes_at=rfc3339(now_ms - 5_000)),
            "price": draft(price={"points": 5, "cash_fen": 0}),
            "allocation": draft(allocation="draw"),
            "shares": draft(shares={"spill_at": rfc3339(now_ms), "by_org": {"org-1": 2}}),
            "caps": draft(caps=["monthly"]),
            "waitlist": draft(waitlist=True),
            "limit_per_person": draft(limit_per_person=1),
            "limit_per_member": draft(limit_per_member=0),
            "surprise": draft(surprise=1),
        }
        for field, body in wrong.items():
            answer = problem(await ops.post("/v1/ops/campaigns", json=body), 422, "validation")
            assert any(field in error["field"] for error in answer["errors"]), (field, answer)
        assert (await ops.get("/v1/ops/campaigns")).json()["items"] == before


async def test_a_campaign_cannot_be_published_twice_nor_without_its_codes(district: District) -> None:
    async with district.ops() as ops, district.http() as client:
        campaign_id = await district.open_campaign(5)
        again = await ops.post(f"/v1/ops/campaigns/{campaign_id}/schedule", json={"reason": "again"})
        problem(again, 409, "wrong-state")
        created = await ops.post("/v1/ops/campaigns", json=draft(benefit={"kind": "code_pool", "name": "骑行券"}))
        pool_id = created.json()["campaign_id"]
        refused = problem(
            await ops.post(f"/v1/ops/campaigns/{pool_id}/schedule", json={"reason": "go"}), 409, "preflight-failed"
        )
        assert any(finding["level"] == "error" for finding in refused["findings"])
        assert (await ops.get(f"/v1/ops/campaigns/{pool_id}")).json()["state"] == "draft"
        codes = await ops.post(
            f"/v1/ops/campaigns/{pool_id}/codes",
            content=b"code\nA1\nA2\n\nA2\nA 3\nA4\nA5\nA6\n",
            headers={"Content-Type": "text/csv"},
        )
        assert codes.status_code == 200, codes.text
        assert codes.json()["imported"] == 5
        assert [rejection["row"] for rejection in codes.json()["rejected"]] == [4, 5, 6]
        assert (await ops.post(f"/v1/ops/campaigns/{pool_id}/schedule", json={"reason": "go"})).status_code == 200
        won = await client.post(f"/v1/campaigns/{pool_id}/claims", headers=await district.member(client, "m-1"))
        assert (won.status_code, won.json()["voucher"]["code"]) == (201, "A1")


async def test_the_stock_cannot_fall_below_what_is_issued_nor_change_behind_ones_back(district: District) -> None:
    async with district.ops() as ops, district.http() as client:
        campaign_id = await district.open_campaign(5)
        for number in (1, 2, 3):
            headers = await district.member(client, f"m-{number}")
            assert (await client.post(f"/v1/campaigns/{campaign_id}/claims", headers=headers)).status_code == 201
        path = f"/v1/ops/campaigns/{campaign_id}/stock"
        problem(await ops.post(path, json={"expected_total": 5, "total": 2, "reason": "less"}), 409, "below-issued")
        problem(await ops.post(path, json={"expected_total": 4, "total": 9, "reason": "more"}), 409, "stock-changed")
        problem(await ops.post(path, json={"expected_total": 5, "total": -1, "reason": "?"}), 422, "validation")
        assert (await ops.post(path, json={"expected_total": 5, "total": 3, "reason": "less"})).status_code == 200
        headers = await district.member(client, "m-4")
        problem(await client.post(f"/v1/campaigns/{campaign_id}/claims", headers=headers), 409, "sold-out")
        assert (await ops.post(path, json={"expected_total": 3, "total": 4, "reason": "more"})).status_code == 200
        assert (await client.post(f"/v1/campaigns/{campaign_id}/claims", headers=headers)).status_code == 201


async def test_broken_rows_are_named_and_the_others_are_taken(district: District) -> None:
    rows = (
        "new-1,org-1,,张三,,5,2020-01-31,active\n"
        "bad id,org-1,,李四,,5,2020-01-31,active\n"
        "new-3,org-1,,王五,,13,2020-01-31,active\n"
        "new-4,org-1,,赵六,,5,31.01.2020,active\n"
        "new-5,org-1,,孙七,,5,2020-01-31,asleep\n"
        "new-1,org-1,,张三,,5,2020-01-31,active\n"
        "new-7,org-1\n"
        "new-8,org-2,,周八,劳模|new-worker,12,2020-01-31,active\n"
    )
    as_csv = {"Content-Type": "text/csv"}
    async with district.ops() as ops:
        answer = await ops.post("/v1/ops/members/import", content=(HEADER + rows).encode(), headers=as_csv)
        assert answer.status_code == 200, answer.text
        assert (answer.json()["imported"], answer.json()["updated"]) == (2, 0)
        assert {(r["row"], r["field"]) for r in answer.json()["rejected"]} >= {
            (3, "member_id"),
            (4, "birthday_month"),
            (5, "joined_on"),
            (6, "status"),
        }
        assert {r["row"] for r in answer.json()["rejected"]} == {3, 4, 5, 6, 7, 8}
        again = await ops.post("/v1/ops/members/import", content=(HEADER + rows).encode(), headers=as_csv)
        assert (again.json()["imported"], again.json()["updated"]) == (0, 2)
        problem(await ops.post("/v1/ops/members/import", content=b"a,b\n1,2\n", headers=as_csv), 422, "validation")
        problem(
            await ops.post("/v1/ops/members/import", content=b"{}", headers={"Content-Type": "application/pdf"}),
            415,
            "unsupported-media-type",
        )


async def test_ops_calls_are_for_ops(district: District) -> None:
    async with district.http() as client, district.ops("viewer") as viewer, district.ops() as admin:
        mine = await district.member(client, "m-1")
        problem(await client.get("/v1/ops/campaigns"), 401, "sign-in-required")
        problem(await client.get("/v1/ops/campaigns", headers=mine), 401, "sign-in-required")
        problem(await viewer.post("/v1/ops/campaigns", json=draft()), 403, "forbidden")
        assert (await viewer.get("/v1/ops/campaigns")).status_code == 200
        token = {"Authorization": admin.headers["Authorization"]}
        campaign_id = await district.open_campaign(1)
        problem(await client.post(f"/v1/campaigns/{campaign_id}/claims", headers=token), 401, "pass-invalid")
