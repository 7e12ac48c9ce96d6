"""Ops see the record of all changes; the unions and blocks that they write take effect."""

import csv
import io
from collections import Counter
from typing import Any

import httpx

from grab_service.claims.export import masked
from grab_service.http.paging import encode_cursor
from grab_service.members.service import list_blocks
from grab_service.vocabulary.passes import Role
from grab_service.vocabulary.times import parse_rfc3339
from tests.harness.service import Service, at
from tests.integration.test_ops_campaigns import post, problem


async def ops(service: Service, method: str, path: str, json: Any = None, role: Role = Role.OPERATOR) -> httpx.Response:
    return await service.http.request(method, f"/v1/ops/{path}", json=json, headers=service.ops(role))


async def test_the_claims_of_a_campaign_come_as_a_file(service: Service) -> None:
    campaign_id = await service.sale("m-1", "m-2")
    won = [(await service.grab(member_id, campaign_id)).json() for member_id in ("m-1", "m-2")]
    await service.drained()
    await service.http.post(f"/v1/claims/{won[0]['claim_id']}/return", headers=service.member("m-1"))
    response = await ops(service, "GET", f"campaigns/{campaign_id}/claims.csv?codes=full")
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(response.text, newline="")))
    columns = "claim_id,campaign_id,member_id,state,unit_no,seq,granted_at_ms,code,idempotency_key"
    columns += ",granted_at,org_id,org_name,voucher_state,valid_from,valid_until,source"
    assert response.text.splitlines()[0] == columns
    assert [(row["claim_id"], row["member_id"], row["state"], row["code"]) for row in rows] == [
        (won[0]["claim_id"], "m-1", "returned", won[0]["voucher"]["code"]),
        (won[1]["claim_id"], "m-2", "fulfilled", won[1]["voucher"]["code"]),
    ]
    assert int(rows[1]["granted_at_ms"]) == won[1]["granted_at_ms"]


async def test_codes_in_exports_need_a_right_of_their_own_and_every_export_is_in_the_log(service: Service) -> None:
    campaign_id = await service.sale("m-1")
    code = (await service.grab("m-1", campaign_id)).json()["voucher"]["code"]
    await service.drained()
    for role in (Role.VIEWER, Role.APPROVER, Role.OPERATOR, Role.ADMIN):
        for query in ("", "?codes=masked"):
            answer = await ops(service, "GET", f"campaigns/{campaign_id}/claims.csv{query}", role=role)
            assert answer.status_code == 200
            assert f",****{code[-4:]}," in answer.text
            assert code not in answer.text
        full = await ops(service, "GET", f"campaigns/{campaign_id}/claims.csv?codes=full", role=role)
        if role in {Role.OPERATOR, Role.ADMIN}:
            assert code in full.text
        else:
            assert (full.status_code, full.json()["code"]) == (403, "forbidden")
    assert (await ops(service, "GET", f"campaigns/{campaign_id}/claims.csv?codes=some")).status_code == 422
    lines = (await ops(service, "GET", "log?limit=100")).json()["items"]
    exports = [(line["role"], line["outcome"], line["detail"]["codes"]) for line in lines if line["action"] == "claims.export"]
    assert Counter(exports) == {
        **{(role, "done", "masked"): 2 for role in ("viewer", "approver", "operator", "admin")},
        **{(role, "done", "full"): 1 for role in ("operator", "admin")},
        **{(role, "forbidden", "full"): 1 for role in ("viewer", "approver")},
    }


def test_little_is_shown_of_a_short_code() -> None:
    assert [masked(code) for code in ("AB12-CD34-EF", "12345678", "1", "", None)] == ["****4-EF", "****", "****", "****", None]


async def test_the_file_is_safe_to_open_in_a_spreadsheet(service: Service) -> None:
    await service.enrol("-m", "m-2")
    campaign_id = await service.create(
        releases=[{"opens_at": at(-1), "quantity": 2}], benefit={"kind": "code_pool", "name": "x"}, limit_per_member=2
    )
    headers = {**service.ops(), "Content-Type": "text/csv"}
    codes = "code\n=1+1\n@SUM\n"
    await service.http.post(f"/v1/ops/campaigns/{campaign_id}/codes", content=codes, headers=headers)
    await post(service, f"{campaign_id}/schedule")
    assert (await service.grab("-m", campaign_id, **{"Idempotency-Key": "+1"})).status_code == 201
    assert (await service.grab("m-2", campaign_id, **{"Idempotency-Key": "a;=1"})).status_code == 201
    await service.drained()
    text = (await ops(service, "GET", f"campaigns/{campaign_id}/claims.csv?codes=full")).text
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert (rows[0]["member_id"], rows[0]["code"], rows[0]["idempotency_key"]) == ("'-m", "'=1+1", "'+1")
    assert (rows[1]["member_id"], rows[1]["code"], rows[1]["idempotency_key"]) == ("m-2", "'@SUM", "a;'=1")
    assert '"a;\'=1"' in text


async def test_a_large_file_is_complete(service: Service) -> None:
    members = [f"m-{number}" for number in range(2500)]
    await service.enrol(*members)
    campaign_id = await service.publish(releases=[{"opens_at": at(-1), "quantity": 2500}])
    triples = [text for number, member_id in enumerate(members) for text in (member_id, "", f"code-{number}")]
    for start in range(0, len(triples), 600):
        await service.worker.cell.grab(campaign_id, b"b%d" % start, triples[start : start + 600])
    await service.drained()
    text = (await ops(service, "GET", f"campaigns/{campaign_id}/claims.csv")).text
    assert [row["member_id"] for row in csv.DictReader(io.StringIO(text, newline=""))] == members


async def test_the_audit_says_that_redis_equals_postgres(service: Service) -> None:
    campaign_id = await service.sale("m-1", "m-2")
    for member_id in ("m-1", "m-2"):
        await service.grab(member_id, campaign_id)
    response = await ops(service, "GET", "audit", role=Role.VIEWER)
    assert response.status_code == 200, response.text
    body = response.json()
    assert (body["holds"], body["redis_equals_postgres"]) == (True, True)
    assert body["campaigns"][0]["postgres_active"] == 2


async def test_the_audit_sees_a_claim_that_is_missing_on_one_side(service: Service) -> None:
    campaign_id = await service.sale("m-1")
    await service.grab("m-1", campaign_id)
    await service.drained()
    await service.redis.hdel(service.worker.cell.keys.of_campaign(campaign_id).claims, "m-1")
    body = (await ops(service, "GET", "audit")).json()
    assert (body["holds"], body["redis_equals_postgres"]) == (False, False)


async def test_a_blocked_member_wins_nothing_from_the_answer_on_until_the_block_is_lifted(service: Service) -> None:
    campaign_id = await service.sale("m-1", "m-2")
    until = "2099-01-01T00:00:00.000Z"
    blocked = await ops(service, "PUT", "blocklist/m-1", {"until": until, "reason": "代抢"})
    assert (blocked.status_code, blocked.json()) == (200, {"member_id": "m-1", "until": until, "reason": "代抢"})
    refused = await service.grab("m-1", campaign_id)
    assert problem(refused) == (403, "member-blocked")
    assert refused.json()["until"] == until
    forever = await ops(service, "PUT", "blocklist/m-2", {"reason": "冒名"})
    assert forever.json()["until"] is None
    assert problem(await service.grab("m-2", campaign_id)) == (403, "member-blocked")
    listed = (await ops(service, "GET", "blocklist", role=Role.VIEWER)).json()
    assert [entry["member_id"] for entry in listed["items"]] == ["m-1", "m-2"]

    for _ in range(2):
        assert (await ops(service, "DELETE", "blocklist/m-1")).status_code == 204
    assert (await service.grab("m-1", campaign_id)).status_code == 201
    listed = (await ops(service, "GET", "blocklist")).json()
    assert [entry["member_id"] for entry in listed["items"]] == ["m-2"]


async def test_a_block_is_listed_until_it_ends(service: Service) -> None:
    await service.enrol("m-1")
    until = "2099-01-01T00:00:00.000Z"
    assert (await ops(service, "PUT", "blocklist/m-1", {"until": until, "reason": "代抢"})).status_code == 200
    until_ms = parse_rfc3339(until)
    for now_ms, listed in ((until_ms - 1, ["m-1"]), (until_ms, [])):
        blocks = await list_blocks(service.worker.engine, now_ms=now_ms, after=None, limit=1)
        assert [entry.member_id for entry in blocks] == listed


async def test_a_block_needs_a_member_a_reason_and_a_time_to_come(service: Service) -> None:
    await service.enrol("m-1")
    assert problem(await ops(service, "PUT", "blocklist/m-9", {"reason": "x"})) == (404, "member-not-found")
    assert problem(await ops(service, "PUT", "blocklist/%00", {"reason": "x"})) == (404, "member-not-found")
    assert problem(await ops(service, "DELETE", "blocklist/m-9")) == (404, "member-not-found")
    for body in ({}, {"until": at(-5), "reason": "x"}, {"until": "soon", "reason": "x"}, {"reason": ""}):
        assert problem(await ops(service, "PUT", "blocklist/m-1", body)) == (422, "validation"), body


async def test_unions_are_registered_renamed_and_listed_by_page(service: Service) -> None:
    assert (await ops(service, "POST", "orgs", {"org_id": "org-1", "name": "一小工会"})).status_code == 201
    renamed = await ops(service, "POST", "orgs", {"org_id": "org-1", "name": "第一小学工会"})
    assert (renamed.status_code, renamed.json()) == (200, {"org_id": "org-1", "name": "第一小学工会"})
    for number in range(2, 5):
        await ops(service, "POST", "orgs", {"org_id": f"org-{number}", "name": "工会"})
    listed = await service.listed("/v1/ops/orgs", service.ops(Role.VIEWER), limit=3)
    assert [org["org_id"] for org in listed] == ["org-1", "org-2", "org-3", "org-4"]
    for wrong in ({"org_id": "a b", "name": "x"}, {"org_id": "a"}, {"org_id": "a", "name": " "}):
        assert problem(await ops(service, "POST", "orgs", wrong)) == (422, "validation")
    assert problem(await ops(service, "POST", "orgs", {"org_id": "a", "name": "b"}, Role.APPROVER)) == (403, "forbidden")


async def test_what_the_database_could_not_hold_is_asked_for_in_vain(service: Service) -> None:
    assert (await ops(service, "GET", "log?object_id=%00")).json() == {"items": [], "next_cursor": None}
    for path in ("orgs", "blocklist"):
        assert problem(await ops(service, "GET", f"{path}?cursor={encode_cursor(chr(0))}")) == (422, "validation")
    assert problem(await ops(service, "GET", f"campaigns?cursor={encode_cursor(1, chr(0))}")) == (422, "validation")


async def test_the_log_is_paged_and_says_who(service: Service) -> None:
    for number in range(5):
        await ops(service, "POST", "orgs", {"org_id": f"org-{number}", "name": "工会"})
    lines = await service.listed("/v1/ops/log", service.ops(Role.VIEWER))
    assert [(line["object_id"], line["actor"]) for line in lines] == [(f"org-{number}", "alice") for number in (4, 3, 2, 1, 0)]
