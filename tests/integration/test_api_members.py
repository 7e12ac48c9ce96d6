"""Members see the campaigns and their own claims, and nothing of anybody else."""

import asyncio
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from grab_service.vocabulary.claims import ClaimRecord
from tests.harness.service import Service, at, claim_of
from tests.integration.test_ops_campaigns import post, problem

WAITING = text(
    "SELECT count(DISTINCT pid) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted"
    " AND pg_stat_activity.datname = current_database()"
)
"""Number of sessions of this database that wait for somebody's lock."""


async def get(service: Service, path: str, member_id: str | None = None, **headers: str) -> httpx.Response:
    sent = {**(service.member(member_id) if member_id else {}), **headers}
    return await service.http.get(path, headers=sent)


async def mine(service: Service, member_id: str, query: str = "") -> list[dict[str, Any]]:
    response = await get(service, f"/v1/me/claims{query}", member_id)
    assert response.status_code == 200, response.text
    items: list[dict[str, Any]] = response.json()["items"]
    return items


async def test_the_time_is_redis_time(service: Service) -> None:
    seconds, microseconds = await service.redis.time()
    now_ms = (await get(service, "/v1/time")).json()["now_ms"]
    assert abs(now_ms - (seconds * 1000 + microseconds // 1000)) < 100


async def test_a_campaign_shows_what_a_member_needs_to_know(service: Service) -> None:
    await service.enrol("m-1")
    releases = [{"opens_at": at(-1), "quantity": 10}, {"opens_at": at(600), "quantity": 5}]
    campaign_id = await service.publish(releases=releases, summary="每人一盒", category="food")
    campaign = (await get(service, f"/v1/campaigns/{campaign_id}")).json()
    assert campaign["phase"] == "open"
    assert campaign["stock"] == {"total": 15, "available": 10}
    assert [release["quantity"] for release in campaign["releases"]] == [10, 5]
    assert campaign["opens_at_ms"] == campaign["releases"][0]["opens_at_ms"]
    assert campaign["next_release_at_ms"] == campaign["releases"][1]["opens_at_ms"]
    assert (campaign["title"], campaign["summary"], campaign["category"]) == ("中秋月饼", "每人一盒", "food")
    assert campaign["my_claims"] is None
    assert campaign["price"] == {"points": 0, "cash_fen": 0}


async def test_a_record_that_cannot_be_read_is_a_call_to_wait_for_its_member_and_for_nobody_else(service: Service) -> None:
    campaign_id = await service.sale("m-1", "m-2")
    won = claim_of(await service.grab("m-2", campaign_id))
    claims_key = service.worker.cell.keys.of_campaign(campaign_id).claims
    await service.redis.hset(claims_key, "m-1", "4\t1\t1\t1\t1795763780003\tCODE\t")
    for path in ("/v1/me/claims", f"/v1/campaigns/{campaign_id}"):
        answer = await get(service, path, "m-1")
        assert (answer.status_code, answer.json()["code"]) == (503, "paused-for-recovery"), path
    assert await mine(service, "m-2") == [won]
    assert (await get(service, f"/v1/campaigns/{campaign_id}", "m-2")).json()["my_claims"] == [won]


async def test_a_campaign_shows_its_holder_the_claim_at_once(service: Service) -> None:
    campaign_id = await service.sale("m-1", "m-2")
    won = claim_of(await service.grab("m-1", campaign_id))
    assert (await get(service, f"/v1/campaigns/{campaign_id}", "m-1")).json()["my_claims"] == [won]
    assert (await get(service, f"/v1/campaigns/{campaign_id}", "m-2")).json()["my_claims"] == []


async def test_a_draft_is_not_there_for_members(service: Service) -> None:
    campaign_id = await service.create()
    for path in (f"/v1/campaigns/{campaign_id}", f"/v1/campaigns/{campaign_id}/state", "/v1/campaigns/%00"):
        assert problem(await get(service, path)) == (404, "campaign-not-found")
    assert (await get(service, "/v1/campaigns")).json() == {"items": [], "next_cursor": None}


async def test_an_etag_saves_the_body_until_something_changes(service: Service) -> None:
    campaign_id = await service.sale("m-1")
    first = await get(service, f"/v1/campaigns/{campaign_id}")
    same = await get(service, f"/v1/campaigns/{campaign_id}", **{"If-None-Match": first.headers["etag"]})
    assert (same.status_code, same.content) == (304, b"")
    assert same.headers["etag"] == first.headers["etag"]
    assert same.headers["x-server-time-ms"].isdigit()
    await post(service, f"{campaign_id}/pause")
    changed = await get(service, f"/v1/campaigns/{campaign_id}", **{"If-None-Match": first.headers["etag"]})
    assert (changed.status_code, changed.json()["phase"]) == (200, "paused")


async def test_campaigns_are_listed_by_phase(service: Service) -> None:
    coming = await service.publish(releases=[{"opens_at": at(600), "quantity": 1}])
    later = await service.publish(releases=[{"opens_at": at(1200), "quantity": 1}])
    now = await service.publish()
    paused = await service.publish()
    await post(service, f"{paused}/pause")
    over = await service.publish()
    await post(service, f"{over}/close")
    off = await service.publish()
    await post(service, f"{off}/cancel")

    async def ids(query: str) -> list[str]:
        response = await get(service, f"/v1/campaigns{query}")
        return [campaign["campaign_id"] for campaign in response.json()["items"]]

    assert await ids("?phase=upcoming") == [coming, later]
    assert set(await ids("?phase=open")) == {now, paused}
    assert set(await ids("?phase=ended")) == {over, off}
    assert set(await ids("")) == {coming, later, now, paused, over, off}
    assert problem(await get(service, "/v1/campaigns?phase=sold_out")) == (422, "validation")


async def test_a_list_goes_on_where_the_page_before_ended(service: Service) -> None:
    published = {await service.publish() for _ in range(5)}
    seen = [campaign["campaign_id"] for campaign in await service.listed("/v1/campaigns")]
    assert len(seen) == 5
    assert set(seen) == published


async def test_the_pulse_is_small_and_says_when_to_ask_again(service: Service) -> None:
    campaign_id = await service.sale(
        "m-1", releases=[{"opens_at": at(-1), "quantity": 1}, {"opens_at": at(3600), "quantity": 5}], closes_at=at(7200)
    )
    opened = (await get(service, f"/v1/campaigns/{campaign_id}/state")).json()
    assert (opened["phase"], opened["stock"]) == ("open", {"total": 6, "available": 1})
    assert 1_000 <= opened["poll_after_ms"] <= 5_000
    await service.grab("m-1", campaign_id)
    await asyncio.sleep(0.1)
    sold_out = (await get(service, f"/v1/campaigns/{campaign_id}/state")).json()
    assert (sold_out["phase"], sold_out["stock"]["available"]) == ("sold_out", 0)
    assert sold_out["next_release_at_ms"] > sold_out["now_ms"]
    assert sold_out["poll_after_ms"] >= 30_000


async def test_a_winner_finds_the_claim_before_and_after_it_is_on_record(service: Service) -> None:
    campaign_id = await service.sale("m-1", "m-2")
    await service.drain.stop()
    won = await service.grab("m-1", campaign_id)
    location = won.headers["location"]
    assert (await get(service, location, "m-1")).json() == claim_of(won)
    assert await mine(service, "m-1") == [claim_of(won)]

    service.drain.start()
    await service.drained()
    assert (await get(service, location, "m-1")).json() == claim_of(won)
    assert await mine(service, "m-1") == [claim_of(won)]


async def test_nobody_sees_or_returns_the_claim_of_another(service: Service) -> None:
    campaign_id = await service.sale("m-1", "m-2")
    won = claim_of(await service.grab("m-1", campaign_id))
    for drained in (False, True):
        if drained:
            await service.drained()
        url = f"/v1/claims/{won['claim_id']}"
        assert problem(await get(service, url, "m-2")) == (404, "claim-not-found")
        given = await service.http.post(f"{url}/return", headers=service.member("m-2"))
        assert problem(given) == (404, "claim-not-found")
        assert await mine(service, "m-2") == []
    assert (await get(service, f"/v1/claims/{won['claim_id']}", "m-1")).json()["state"] == "fulfilled"


async def test_claims_that_never_were_are_not_found(service: Service) -> None:
    campaign_id = await service.sale("m-1")
    for claim_id in (
        f"{campaign_id}.1.999",
        f"{campaign_id}.9.1",
        "x.1.1",
        "nonsense",
        "%00",
        f"{campaign_id}.1.01",
        "%00.1.1",
    ):
        assert problem(await get(service, f"/v1/claims/{claim_id}", "m-1")) == (404, "claim-not-found"), claim_id


async def test_my_claims_are_newest_first_and_paged_on_record_or_not(service: Service) -> None:
    await service.enrol("m-1")
    won = [claim_of(await service.grab("m-1", await service.publish())) for _ in range(3)]
    many = await service.publish(limit_per_member=3)
    await service.drained()
    await service.drain.stop()
    won += [claim_of(await service.grab("m-1", many, **{"Idempotency-Key": key})) for key in ("a", "b")]
    assert await service.listed("/v1/me/claims", service.member("m-1")) == won[::-1]


async def test_a_unit_given_back_can_be_won_by_somebody_else_with_another_code(service: Service) -> None:
    campaign_id = await service.sale("m-1", "m-2", releases=[{"opens_at": at(-1), "quantity": 1}])
    won = claim_of(await service.grab("m-1", campaign_id))
    assert problem(await service.grab("m-2", campaign_id)) == (409, "sold-out")
    await service.drained()

    url = f"/v1/claims/{won['claim_id']}"
    given = await service.http.post(f"{url}/return", headers=service.member("m-1"))
    assert given.status_code == 200, given.text
    expected = won | {"state": "returned", "voucher": won["voucher"] | {"state": "returned"}}
    assert given.json() == expected
    again = await service.http.post(f"{url}/return", headers=service.member("m-1"))
    assert (again.status_code, again.json()) == (200, expected)
    assert (await get(service, url, "m-1")).json() == expected
    assert await mine(service, "m-1") == [expected]

    await asyncio.sleep(0.1)
    second = await service.grab("m-2", campaign_id)
    assert second.status_code == 201
    assert second.json()["unit_no"] == won["unit_no"]
    assert second.json()["voucher"]["code"] != won["voucher"]["code"]
    await service.drained()
    assert (await get(service, url, "m-1")).json() == expected


async def test_of_many_returns_at_once_one_decides_and_all_say_the_same(service: Service) -> None:
    await service.enrol("m-1")
    campaign_id = await service.publish(returns_per_member=100)  # so that the row alone decides
    won = claim_of(await service.grab("m-1", campaign_id))
    await service.drained()
    url, headers = f"/v1/claims/{won['claim_id']}/return", service.member("m-1")
    answers = await asyncio.gather(*(service.http.post(url, headers=headers) for _ in range(8)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    await asyncio.sleep(0.1)
    state = (await get(service, f"/v1/campaigns/{campaign_id}/state")).json()
    assert state["stock"]["available"] == 10
    assert (await service.grab("m-1", campaign_id)).status_code == 201


async def test_what_is_not_on_record_yet_cannot_be_given_back_yet(service: Service) -> None:
    campaign_id = await service.sale("m-1")
    await service.drain.stop()
    won = claim_of(await service.grab("m-1", campaign_id))
    url = f"/v1/claims/{won['claim_id']}/return"
    early = await service.http.post(url, headers=service.member("m-1"))
    assert problem(early) == (503, "ledger-behind")
    assert early.headers["retry-after"] == "1"
    service.drain.start()
    await service.drained()
    assert (await service.http.post(url, headers=service.member("m-1"))).status_code == 200


async def publish_pool(service: Service, codes: int, units: int | None = None, **changes: Any) -> str:
    """A campaign with codes of a third party, as many as there are units unless it is said how many units."""
    releases = [{"opens_at": at(-1), "quantity": units or codes}]
    benefit = {"kind": "code_pool", "name": "骑行券"}
    campaign_id = await service.create(**{"releases": releases, "benefit": benefit, **changes})
    headers = {**service.ops(), "Content-Type": "text/csv"}
    rows = "".join(f"A{number}\n" for number in range(1, codes + 1))
    loaded = await service.http.post(f"/v1/ops/campaigns/{campaign_id}/codes", content=f"code\n{rows}", headers=headers)
    assert loaded.json()["imported"] == codes
    found = (await service.http.get(f"/v1/ops/campaigns/{campaign_id}/preflight", headers=service.ops())).json()
    assert {finding["level"] for finding in found["findings"]} <= {"warning"}
    assert (await post(service, f"{campaign_id}/schedule")).status_code == 200
    return campaign_id


async def give_back(service: Service, claim: dict[str, Any]) -> httpx.Response:
    return await service.http.post(f"/v1/claims/{claim['claim_id']}/return", headers=service.member(claim["member_id"]))


async def win(service: Service, campaign_id: str, count: int) -> list[dict[str, Any]]:
    """So many claims of one member, on record."""
    won = [await service.grab("m-1", campaign_id, **{"Idempotency-Key": f"key-{number:04}"}) for number in range(count)]
    assert {answer.status_code for answer in won} == {201}
    await service.drained()
    return [claim_of(answer) for answer in won]


@pytest.mark.parametrize("returns", [0, 1])
async def test_a_code_of_a_pool_that_was_seen_is_not_given_back(returns: int, service: Service) -> None:
    await service.enrol("m-1")
    campaign_id = await publish_pool(service, 2, returns_per_member=returns)
    won = claim_of(await service.grab("m-1", campaign_id))
    assert won["voucher"]["code"] == "A1"
    await service.drained()
    refused = await give_back(service, won)
    assert problem(refused) == (409, "not-returnable")
    assert refused.json()["reason"] == "code-seen"
    assert (await get(service, f"/v1/claims/{won['claim_id']}", "m-1")).json() == won


async def test_a_member_who_takes_and_gives_back_again_and_again_sees_no_more_codes_than_the_limit(service: Service) -> None:
    await service.enrol("m-1")
    campaign_id = await publish_pool(service, 50, units=5)
    seen = set()
    for _ in range(5):
        claim = (await service.grab("m-1", campaign_id)).json()
        seen.add(claim["voucher"]["code"])
        await service.drained()
        await give_back(service, claim)
        await asyncio.sleep(0.06)
    assert seen == {"A1"}


async def test_a_member_gives_back_as_many_units_of_a_campaign_as_it_says(service: Service) -> None:
    campaign_id = await service.sale("m-1", "m-2", limit_per_member=4, returns_per_member=2)
    claims = await win(service, campaign_id, 4)
    for claim in claims[:2]:
        assert (await give_back(service, claim)).json()["state"] == "returned"
    refused = await give_back(service, claims[2])
    assert problem(refused) == (409, "returns-used-up")
    assert (refused.json()["limit"], refused.json()["used"]) == (2, 2)
    assert (await give_back(service, claims[0])).json()["state"] == "returned", "a repeat is no return of its own"
    assert (await get(service, f"/v1/claims/{claims[2]['claim_id']}", "m-1")).json() == claims[2]
    # The count is of this member and of this campaign.
    other = await service.publish()
    await asyncio.sleep(0.06)
    elsewhere = [(await service.grab("m-1", other)).json(), (await service.grab("m-2", other)).json()]
    await service.drained()
    assert [(await give_back(service, claim)).status_code for claim in elsewhere] == [200, 200]


async def test_of_several_returns_at_once_each_counts_those_before_it(service: Service) -> None:
    campaign_id = await service.sale("m-1", limit_per_member=2)
    claims = await win(service, campaign_id, 2)
    async with service.ledger_engine.begin() as connection:
        # Both have begun, and neither can decide yet.
        await connection.execute(text("SELECT seq FROM claims FOR UPDATE"))
        tasks = [asyncio.create_task(give_back(service, claim)) for claim in claims]
        while (await connection.execute(WAITING)).scalar_one() < 2:
            await asyncio.sleep(0.01)
    answers = await asyncio.gather(*tasks)
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    assert problem(max(answers, key=lambda answer: answer.status_code)) == (409, "returns-used-up")


def stop_the_clock(service: Service, monkeypatch: pytest.MonkeyPatch) -> int:
    """The worker's clock stands still from now on; what it shows."""
    now_ms = service.worker.view.now_ms()
    monkeypatch.setattr(service.worker.view, "now_ms", lambda _now_s=None: now_ms)
    return now_ms


async def many_claims(service: Service, count: int) -> list[dict[str, Any]]:
    """So many claims of one member, who may give all of them back but for how many it is in a minute."""
    releases = [{"opens_at": at(-1), "quantity": 20}]
    campaign_id = await service.sale("m-1", releases=releases, limit_per_member=count, returns_per_member=100)
    return await win(service, campaign_id, count)


@pytest.mark.parametrize(("left_ms", "answer"), [(1, (200, None)), (0, (409, "not-returnable")), (None, (200, None))])
async def test_a_voucher_can_be_given_back_until_the_very_moment_at_which_it_ends(
    left_ms: int | None, answer: tuple[int, str | None], service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.enrol("m-1")
    (claim,) = await win(service, await service.publish(), 1)
    now_ms = stop_the_clock(service, monkeypatch)
    await service.sql("UPDATE claims SET valid_until_ms = $1", None if left_ms is None else now_ms + left_ms)
    said = await give_back(service, claim)
    assert (said.status_code, said.json().get("code")) == answer
    assert said.json().get("reason") == ("expired" if answer[1] else None)


async def test_the_tenth_return_before_counts_for_a_minute_to_the_millisecond(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims = await many_claims(service, 11)
    for claim in claims[:10]:
        assert (await give_back(service, claim)).status_code == 200
    now_ms = stop_the_clock(service, monkeypatch)
    await service.sql("UPDATE claims SET valid_until_ms = NULL")
    for ago_ms, status in ((59_999, 429), (60_000, 200)):
        await service.sql("UPDATE claims SET decided_at_ms = $1 WHERE state = 'returned'", now_ms - ago_ms)
        said = await give_back(service, claims[10])
        assert said.status_code == status
        assert said.headers.get("retry-after") == ("1" if status == 429 else None)


async def test_a_member_who_gave_back_too_much_waits_for_the_first_of_the_last_ten(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims = await many_claims(service, 12)
    now_ms = stop_the_clock(service, monkeypatch)
    for claim in claims[:10]:
        assert (await give_back(service, claim)).status_code == 200
    # One that is long over, and one of the last ten.
    over, first = claims[0], claims[3]
    await service.sql("UPDATE claims SET decided_at_ms = $1 WHERE seq = $2", now_ms - 60_000, over["seq"])
    assert (await give_back(service, claims[10])).status_code == 200
    for ago_ms, wait_s in ((0, "60"), (1_000, "59"), (59_001, "1")):
        await service.sql("UPDATE claims SET decided_at_ms = $1 WHERE seq = $2", now_ms - ago_ms, first["seq"])
        refused = await give_back(service, claims[11])
        assert problem(refused) == (429, "rate-limited")
        assert refused.headers["retry-after"] == wait_s


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("state = 'revoked', voucher_state = 'revoked'", "state"),
        ("valid_until_ms = 1", "expired"),
        ("voucher_state = 'expired'", "expired"),
        ("voucher_state = 'redeemed'", "redeemed"),
    ],
)
async def test_why_a_claim_is_not_returnable_comes_before_how_many_were_returned(
    change: str, reason: str, service: Service
) -> None:
    await service.enrol("m-1")
    claim, other = await win(service, await service.publish(limit_per_member=2), 2)
    await service.sql(f"UPDATE claims SET {change} WHERE seq = $1", claim["seq"])
    for _ in range(2):
        refused = await give_back(service, claim)
        assert problem(refused) == (409, "not-returnable")
        assert refused.json()["reason"] == reason
        assert refused.json().get("state") == ("revoked" if reason == "state" else None)
        assert (await give_back(service, other)).status_code == 200


UNSEEN = {"code": None, "qr": None, "revealed_at": None}


async def publish_on_request(service: Service, kind: str, codes: int = 5, **changes: Any) -> str:
    benefit = {"kind": kind, "name": "骑行券", "reveal": "on_request"}
    if kind == "code_pool":
        return await publish_pool(service, codes, benefit=benefit, **changes)
    return await service.publish(benefit=benefit, **changes)


async def ask_for_code(service: Service, claim: dict[str, Any], member_id: str = "m-1") -> httpx.Response:
    url = f"/v1/me/vouchers/{claim['voucher']['voucher_id']}/reveal"
    return await service.http.post(url, headers=service.member(member_id))


@pytest.mark.parametrize("kind", ["generated_code", "code_pool"])
async def test_a_code_on_request_is_nowhere_until_it_is_asked_for(kind: str, service: Service) -> None:
    await service.enrol("m-1", "m-2")
    campaign_id = await publish_on_request(service, kind)
    await service.drain.stop()
    won = claim_of(await service.grab("m-1", campaign_id))
    assert won["voucher"] | UNSEEN == won["voucher"]
    assert problem(await ask_for_code(service, won)) == (503, "ledger-behind")
    assert await mine(service, "m-1") == [won]
    service.drain.start()
    await service.drained()
    assert claim_of(await service.grab("m-1", campaign_id)) == won
    assert (await get(service, f"/v1/claims/{won['claim_id']}", "m-1")).json() == won
    assert (await get(service, f"/v1/campaigns/{campaign_id}", "m-1")).json()["my_claims"] == [won]
    assert await mine(service, "m-1") == [won]

    assert problem(await ask_for_code(service, won, "m-2")) == (404, "voucher-not-found")
    assert (await get(service, f"/v1/claims/{won['claim_id']}", "m-1")).json() == won, "nobody else ends its being unseen"
    shown = await ask_for_code(service, won)
    assert shown.status_code == 200, shown.text
    voucher = shown.json()
    assert voucher == won["voucher"] | {"code": voucher["code"], "revealed_at": voucher["revealed_at"]}
    assert voucher["code"]
    assert voucher["revealed_at"] >= won["granted_at"]
    assert (await ask_for_code(service, won)).content == shown.content
    assert await mine(service, "m-1") == [won | {"voucher": voucher}]
    assert (await get(service, f"/v1/claims/{won['claim_id']}", "m-1")).json()["voucher"] == voucher
    assert claim_of(await service.grab("m-1", campaign_id)) == won, "the wallet shows it, not the grab"


async def test_vouchers_that_never_were_are_not_found(service: Service) -> None:
    await service.enrol("m-1")
    plain = (await service.grab("m-1", await service.publish(benefit={"kind": "none", "name": "x"}))).json()
    at_once = (await service.grab("m-1", await service.publish())).json()
    await service.drained()
    for voucher_id in (f"v.{plain['claim_id']}", at_once["claim_id"], "v.nobodys.1.1", f"v.{at_once['claim_id']}9", "v"):
        found = await ask_for_code(service, {"voucher": {"voucher_id": voucher_id}})
        assert problem(found) == (404, "voucher-not-found"), voucher_id
    shown = await ask_for_code(service, at_once)
    assert (shown.status_code, shown.json()) == (200, at_once["voucher"])


async def test_a_code_that_nobody_has_seen_goes_to_the_next_with_its_unit(service: Service) -> None:
    await service.enrol("m-1", "m-2")
    campaign_id = await publish_on_request(service, "code_pool", codes=1)
    key = {"Idempotency-Key": "key-0001"}
    won = claim_of(await service.grab("m-1", campaign_id, **key))
    await service.drained()
    given = (await give_back(service, won)).json()
    assert given == won | {"state": "returned", "voucher": won["voucher"] | {"state": "returned"}}
    assert problem(await ask_for_code(service, won)) == (409, "voucher-returned")
    await service.drained()
    await asyncio.sleep(0.06)
    bound = await service.redis.hget(service.worker.cell.keys.of_campaign(campaign_id).bindings, "m-1\tkey-0001")
    assert isinstance(bound, bytes)
    assert ClaimRecord.parse(bound).code == "", "the claim gave its code up"
    other = (await service.grab("m-2", campaign_id)).json()
    assert other["unit_no"] == won["unit_no"]
    await service.drained()
    assert (await ask_for_code(service, other, "m-2")).json()["code"] == "A1"
    assert claim_of(await service.grab("m-1", campaign_id, **key)) == given
    assert (await get(service, f"/v1/claims/{won['claim_id']}", "m-1")).json() == given
    assert problem(await ask_for_code(service, won)) == (409, "voucher-returned")


@pytest.mark.parametrize(("kind", "status"), [("code_pool", 409), ("generated_code", 200)])
async def test_a_member_who_has_seen_a_code_of_a_third_party_keeps_it(kind: str, status: int, service: Service) -> None:
    await service.enrol("m-1")
    won = (await service.grab("m-1", await publish_on_request(service, kind))).json()
    await service.drained()
    voucher = (await ask_for_code(service, won)).json()
    answer = await give_back(service, won)
    assert answer.status_code == status
    assert answer.json().get("reason") == ("code-seen" if status == 409 else None)
    again = await ask_for_code(service, won)
    assert again.json() == voucher | {"state": "active" if status == 409 else "returned"}


@pytest.mark.parametrize("first", ["return", "reveal"])
async def test_of_a_return_and_a_look_at_the_code_at_once_exactly_one_wins(first: str, service: Service) -> None:
    await service.enrol("m-1")
    won = (await service.grab("m-1", await publish_on_request(service, "code_pool"))).json()
    await service.drained()
    calls = {"return": lambda: give_back(service, won), "reveal": lambda: ask_for_code(service, won)}
    order = sorted(calls, key=lambda name: name != first)
    async with service.ledger_engine.begin() as connection:
        await connection.execute(text("SELECT seq FROM claims FOR UPDATE"))
        tasks = {}
        for count, name in enumerate(order, 1):
            tasks[name] = asyncio.create_task(calls[name]())
            while (await connection.execute(WAITING)).scalar_one() < count:
                await asyncio.sleep(0.01)
    winner, loser = await tasks[first], await tasks[order[1]]
    assert winner.status_code == 200
    assert problem(loser) == (409, "not-returnable" if first == "reveal" else "voucher-returned")
    body = (await get(service, f"/v1/claims/{won['claim_id']}", "m-1")).json()
    seen = body["voucher"]["code"] is not None
    assert (body["state"], seen) == (("fulfilled", True) if first == "reveal" else ("returned", False))


async def test_a_member_who_gives_back_unseen_and_looks_at_last_has_seen_one_code(service: Service) -> None:
    await service.enrol("m-1")
    campaign_id = await publish_on_request(service, "code_pool", returns_per_member=3)
    seen, refused = set(), []
    for _ in range(5):
        claim = (await service.grab("m-1", campaign_id)).json()
        await service.drained()
        answer = await give_back(service, claim)
        if answer.status_code == 200:
            await asyncio.sleep(0.06)
            continue
        refused.append(problem(answer))
        seen.add((await ask_for_code(service, claim)).json()["code"])
    assert refused == [(409, "returns-used-up"), (409, "not-returnable")]
    assert len(seen) == 1


async def test_a_sign_up_without_a_code_has_no_voucher_anywhere(service: Service) -> None:
    campaign_id = await service.sale("m-1", benefit={"kind": "none", "name": "健步走"})
    won = claim_of(await service.grab("m-1", campaign_id))
    assert won["voucher"] is None
    await service.drained()
    assert await mine(service, "m-1") == [won]
    given = await service.http.post(f"/v1/claims/{won['claim_id']}/return", headers=service.member("m-1"))
    assert (given.status_code, given.json()["state"], given.json()["voucher"]) == (200, "returned", None)
