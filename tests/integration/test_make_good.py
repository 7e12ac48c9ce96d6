"""Ops make a claim good: once for a key, whatever limit, eligibility and window say, and never without a trace."""

import asyncio
import csv
import io
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from grab_service.vocabulary.durability import Durability
from grab_service.vocabulary.passes import Role
from tests.harness.backend import Backend
from tests.harness.command_line import CommandLine
from tests.harness.service import Service, at, claim_of, running_service

POOL = {"kind": "code_pool", "name": "骑行券"}
PLAIN = {"kind": "none", "name": "名额"}


async def make_good(
    service: Service, campaign_id: str, member_id: str = "m-1", key: str | None = "k", **fields: Any
) -> httpx.Response:
    headers = service.ops() | ({} if key is None else {"Idempotency-Key": key})
    body = {"member_id": member_id, "reason": "故障中丢失", **fields}
    return await service.http.post(f"/v1/ops/campaigns/{campaign_id}/grants", json=body, headers=headers)


def said(answer: httpx.Response) -> tuple[int, str | None]:
    return answer.status_code, answer.json().get("code")


async def audit_is_green(service: Service) -> dict[str, Any]:
    report: dict[str, Any] = (await service.http.get("/v1/ops/audit", headers=service.ops())).json()
    assert report["holds"], report
    (campaign,) = report["campaigns"]
    return dict(campaign)


async def test_it_is_made_once_is_on_record_and_in_the_log_with_its_reason(service: Service) -> None:
    campaign_id = await service.sale("m-1", "m-2", releases=[{"opens_at": at(-1), "quantity": 2}])
    made = await make_good(service, campaign_id)
    assert made.status_code == 201, made.text
    claim = made.json()
    assert (claim["member_id"], claim["source"], claim["unit_no"]) == ("m-1", "make_good", 1)
    assert claim["voucher"]["code"].startswith("****"), "ops see codes masked"
    again = await make_good(service, campaign_id)
    assert (again.status_code, again.json()) == (200, claim)
    for other in ({"member_id": "m-2"}, {"campaign_id": await service.publish()}):
        where = str(other.pop("campaign_id", campaign_id))
        assert said(await make_good(service, where, **other)) == (409, "idempotency-key-reused")
    rows = await service.sql("SELECT source, idempotency_key, member_id FROM claims")
    assert [tuple(row) for row in rows] == [("make_good", "make_good k", "m-1")]
    log = (await service.http.get("/v1/ops/log?action=campaign.grant", headers=service.ops())).json()["items"]
    assert [line["outcome"] for line in log] == ["idempotency-key-reused"] * 2 + ["done"] * 2
    assert (log[-1]["reason"], log[-1]["detail"]["claim_id"]) == ("故障中丢失", claim["claim_id"])
    # It is the member's: shown to them, told at a grab, in the file, and given back like any other.
    mine = (await service.http.get("/v1/me/claims", headers=service.member("m-1"))).json()["items"]
    assert [one["claim_id"] for one in mine] == [claim["claim_id"]]
    told = await service.grab("m-1", campaign_id)
    assert (told.status_code, claim_of(told)) == (200, mine[0])
    explained = await service.http.get(
        f"/v1/ops/campaigns/{campaign_id}/explain", params={"member_id": "m-1"}, headers=service.ops()
    )
    assert explained.json()["claims"] == [claim]
    exported = await service.http.get(f"/v1/ops/campaigns/{campaign_id}/claims.csv", headers=service.ops())
    assert [row["source"] for row in csv.DictReader(io.StringIO(exported.text))] == ["make_good"]
    back = await service.http.post(f"/v1/claims/{claim['claim_id']}/return", headers=service.member("m-1"))
    assert back.status_code == 200, back.text
    late = await make_good(service, campaign_id)
    assert (late.status_code, late.json()["state"]) == (200, "returned"), "the key stays bound"


async def test_of_many_at_once_with_one_key_one_is_made(service: Service) -> None:
    campaign_id = await service.sale("m-1")
    answers = await asyncio.gather(*(make_good(service, campaign_id, beyond_stock=True) for _ in range(6)))
    assert Counter(answer.status_code for answer in answers) == {200: 5, 201: 1}
    assert len({answer.json()["claim_id"] for answer in answers}) == 1


async def test_no_rule_of_the_grab_is_asked_but_the_stock_and_the_member(service: Service) -> None:
    """Not eligible, blocked, above the limit, before opening, and after closing."""
    await service.enrol("m-1", status="suspended")
    await service.enrol("m-2", status="left")
    campaign_id = await service.publish(
        releases=[{"opens_at": at(600), "quantity": 1}], eligibility={"orgs": ["org-9"]}, benefit=PLAIN
    )
    assert said(await make_good(service, campaign_id, "nobody", "n")) == (403, "member-unknown")
    assert said(await make_good(service, campaign_id, "m-2", "l")) == (403, "member-unknown")
    assert (await make_good(service, campaign_id, key="a")).status_code == 201
    assert said(await make_good(service, campaign_id, key="b")) == (409, "sold-out")
    more = await make_good(service, campaign_id, key="b", beyond_stock=True)
    assert (more.status_code, more.json()["unit_no"]) == (201, 2)
    shown = (await service.http.get(f"/v1/ops/campaigns/{campaign_id}", headers=service.ops())).json()
    assert shown["stock"]["total"] == 2
    await service.http.post(f"/v1/ops/campaigns/{campaign_id}/close", json={}, headers=service.ops())
    assert (await make_good(service, campaign_id, key="c", beyond_stock=True)).status_code == 201
    assert (await audit_is_green(service))["postgres_active"] == 3


async def test_of_a_pool_it_takes_a_code_that_no_unit_still_to_grant_needs(service: Service) -> None:
    await service.enrol("m-1", "m-2")
    campaign_id = await service.create(releases=[{"opens_at": at(-1), "quantity": 2}], benefit=POOL)
    url, as_csv = f"/v1/ops/campaigns/{campaign_id}", {"content-type": "text/csv"}
    await service.http.post(f"{url}/codes", content="code\nA-1\nA-2\n", headers=service.ops() | as_csv)
    assert said(await make_good(service, campaign_id)) == (409, "wrong-state"), "a draft"
    assert (await service.http.post(f"{url}/schedule", headers=service.ops())).status_code == 200
    assert said(await make_good(service, campaign_id, beyond_stock=True)) == (409, "too-few-codes")
    assert (await make_good(service, campaign_id)).status_code == 201
    await service.http.post(f"{url}/codes", content="code\nA-3\n", headers=service.ops() | as_csv)
    assert (await make_good(service, campaign_id, key="l", beyond_stock=True)).status_code == 201
    won = await service.grab("m-2", campaign_id)
    assert won.json()["voucher"]["code"] == "A-3"
    assert (await audit_is_green(service))["free_codes"] == 0


async def test_a_cancelled_campaign_gives_nothing_but_what_it_gave(service: Service) -> None:
    campaign_id = await service.sale("m-1")
    made = await make_good(service, campaign_id)
    await service.http.post(f"/v1/ops/campaigns/{campaign_id}/cancel", json={}, headers=service.ops())
    assert said(await make_good(service, campaign_id, key="l")) == (409, "wrong-state")
    assert (await make_good(service, campaign_id)).json()["claim_id"] == made.json()["claim_id"]
    assert said(await make_good(service, "nowhere", key="x")) == (404, "campaign-not-found")


async def test_who_may_and_what_must_come_along(service: Service) -> None:
    campaign_id = await service.sale("m-1")
    assert said(await make_good(service, campaign_id, key=None)) == (400, "idempotency-key-missing")
    assert said(await make_good(service, campaign_id, key="a b")) == (400, "malformed")
    assert said(await make_good(service, campaign_id, reason="")) == (422, "validation")
    assert said(await make_good(service, campaign_id, "張")) == (422, "validation")
    viewer = service.ops(Role.VIEWER) | {"Idempotency-Key": "k"}
    body = {"member_id": "m-1", "reason": "x"}
    refused = await service.http.post(f"/v1/ops/campaigns/{campaign_id}/grants", json=body, headers=viewer)
    assert said(refused) == (403, "forbidden")


@pytest.fixture
async def recording(valkey_url: str, database_url: str, cell_name: str) -> AsyncIterator[Service]:
    async with running_service(valkey_url, database_url, cell_name, durability=Durability.RECORD) as service:
        yield service


async def test_before_it_is_on_record_nothing_is_said_and_the_repeat_tells(
    recording: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign_id = await recording.sale("m-1")
    monkeypatch.setattr("grab_service.campaigns.lifecycle.RECORDED_WAIT_S", 0.3)
    await recording.drain.stop()
    silent = await make_good(recording, campaign_id)
    assert said(silent) == (503, "outcome-unknown")
    assert campaign_id not in silent.text
    recording.drain.start()
    told = await make_good(recording, campaign_id)
    assert (told.status_code, told.json()["source"]) == (200, "make_good")
    assert (await audit_is_green(recording))["active"] == 1


async def of_campaigns(backend: Backend) -> dict[str, Any]:
    return {key: value for key, value in (await backend.everything_in_redis()).items() if key.startswith("campaign")}


@pytest.mark.slow
async def test_a_rebuilt_cell_has_it_with_its_key_its_source_and_the_total(grab: CommandLine, backend: Backend) -> None:
    async with backend.open_ledger():
        names = await backend.sale(3, stock=2)
        await backend.win("c", names[:2])
        await backend.drained()
        command = ("campaign", "make-good", "c", names[0], "--reason", "lost at noon", "--key", "k", "--json")
        (await grab.run(*command)).is_refusal("The whole stock is given out", "--beyond-stock")
        made = (await grab.ok(*command, "--beyond-stock")).json
        before = await of_campaigns(backend)
    await backend.empty_redis()
    async with backend.open_ledger():
        await backend.drained()
        assert await of_campaigns(backend) == before
        again = await grab.ok(*command[:-1], "--beyond-stock")
        assert again.out == f"{made['claim_id']}: {names[0]} has unit 3, given before\n"
    assert (await backend.campaign("c")).total == 3
