"""A campaign comes into the cell once, whole, and only with codes enough."""

from typing import Any

import pytest
from redis.asyncio import Redis

from grab_service.cell.store import Cell
from grab_service.vocabulary import events
from grab_service.vocabulary.campaigns import BenefitKind, CampaignState, Eligibility, Release
from tests.harness.cells import HOUR_MS, Published, enrol, everything, grab, log_of, now_ms, publish, won, words
from tests.rules import COUNTERS

RULES = Eligibility(orgs=("org-1", "org-2"), tags_any=("骑行",), birthday_months=(5,), joined_before="2021-06-01")


async def test_what_is_published_is_what_was_asked_for_and_starts_with_nothing_granted(armed_cell: Cell, raw: Redis) -> None:
    at_ms = now_ms()
    releases = (Release(at_ms + 1, 20), Release(at_ms + 2, 10))
    campaign = Published(releases=releases, limit_per_member=3, benefit_kind=BenefitKind.GENERATED_CODE, eligibility=RULES)
    assert await armed_cell.publish_campaign("c", campaign.fields(at_ms)) == ("published", 1, "")
    facts: Any = await raw.hgetall(armed_cell.keys.of_campaign("c").campaign)
    assert {name.decode(): value.decode() for name, value in facts.items()} == {
        "state": "scheduled",
        "version": "1",
        "releases": f"{at_ms + 1}:20,{at_ms + 2}:10",
        "closes_at_ms": str(at_ms + HOUR_MS),
        "limit_per_member": "3",
        "benefit_kind": "generated_code",
        "orgs": ",org-1,org-2,",
        "tags_any": ",骑行,",
        "birthday_months": ",5,",
        "joined_before": "2021-06-01",
        "display": campaign.display,
        **dict.fromkeys((*COUNTERS, "codes_loaded"), "0"),
    }
    entry = (await log_of(raw, armed_cell))[-1]
    assert isinstance(entry, events.Published)
    assert at_ms <= entry.at_ms <= now_ms()
    assert entry == events.Published(1, 1, 1, entry.at_ms, "c", 1, releases)


async def test_what_is_read_back_is_what_was_published(armed_cell: Cell) -> None:
    await publish(armed_cell, Published("c", stock=5, limit_per_member=2))
    reply = await armed_cell.read_campaigns(["c"])
    campaign = reply.campaigns["c"]
    assert campaign.state is CampaignState.SCHEDULED
    assert (campaign.limit_per_member, campaign.version, campaign.active, campaign.issued) == (2, 1, 0, 0)
    assert [release.quantity for release in campaign.releases] == [5]
    assert campaign.display.decode() == Published().display


async def test_publishing_again_changes_nothing_even_when_units_are_gone(armed_cell: Cell, raw: Redis) -> None:
    campaign = Published(stock=3)
    fields = campaign.fields(now_ms())
    await armed_cell.publish_campaign("c", fields)
    await enrol(armed_cell, ["m1"])
    assert words(await grab(armed_cell, ["m1"])) == ["won"]
    await armed_cell.set_state("c", "pause")
    before = await everything(raw, armed_cell)
    assert await armed_cell.publish_campaign("c", fields) == ("already", armed_cell.seen_seq, "")
    assert await everything(raw, armed_cell) == before


async def test_another_version_of_a_published_campaign_is_refused(armed_cell: Cell, raw: Redis) -> None:
    await publish(armed_cell, Published(stock=3))
    before = await everything(raw, armed_cell)
    other = Published(stock=9, version=2).fields(now_ms())
    assert await armed_cell.publish_campaign("c", other) == ("published_before", armed_cell.seen_seq, "")
    assert await everything(raw, armed_cell) == before


@pytest.mark.parametrize(
    ("loaded", "outcome", "detail"),
    [(0, "too_few_codes", "0\t5"), (4, "too_few_codes", "4\t5"), (5, "published", ""), (6, "published", "")],
)
async def test_a_pool_must_hold_a_code_for_every_unit_of_every_release(
    loaded: int, outcome: str, detail: str, armed_cell: Cell, raw: Redis
) -> None:
    at_ms = now_ms()
    releases = (Release(at_ms, 2), Release(at_ms + 1000, 3))
    if loaded:
        await armed_cell.load_codes("c", 1, [f"code-{number}" for number in range(loaded)])
    before = await everything(raw, armed_cell)
    fields = Published(releases=releases, benefit_kind=BenefitKind.CODE_POOL).fields(at_ms)
    reply = await armed_cell.publish_campaign("c", fields)
    assert (reply.outcome, reply.detail) == (outcome, detail)
    assert (await everything(raw, armed_cell) == before) == (outcome != "published")
    if outcome == "published":
        assert (await armed_cell.read_campaigns(["c"])).campaigns["c"].codes_loaded == loaded


async def test_campaigns_do_not_mix(armed_cell: Cell) -> None:
    await enrol(armed_cell, ["m1", "m2"])
    for name in ("c", "d"):
        await publish(armed_cell, Published(name, benefit_kind=BenefitKind.CODE_POOL), codes=[f"{name}-1"])
    assert words(await grab(armed_cell, ["m1", "m2"], "c")) == ["won", "sold_out"]
    reply = await grab(armed_cell, ["m1", "m2"], "d")
    assert words(reply) == ["won", "sold_out"]
    assert won(reply.answers[0]).code == "d-1"
    assert sorted((await armed_cell.read_campaigns([])).campaign_ids) == ["c", "d"]
