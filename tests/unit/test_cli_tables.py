"""Campaigns are readable on a terminal of any width."""

from typing import Any

import pytest
from rich.console import Console

from grab_service.campaigns.definition import Definition
from grab_service.campaigns.facts import campaign_facts
from grab_service.campaigns.service import Campaign
from grab_service.cli.campaign_tables import list_of, sheet_of
from grab_service.vocabulary.campaigns import CampaignState
from grab_service.vocabulary.times import Clock, parse_rfc3339

OPENS = parse_rfc3339("2026-09-20T04:00:00.250Z")
DEFINITION = Definition.model_validate(
    {
        "title": "中秋月饼大礼包，先到先得，[红]每人一份",
        "releases": [{"opens_at": "2026-09-20T04:00:00.250Z", "quantity": 3000}],
        "closes_at": "2026-09-21T04:00:00Z",
        "limit_per_member": 2,
        "eligibility": {"orgs": ["org-001"], "tags_any": ["劳模"], "birthday_months": [9], "joined_before": "2020-01-31"},
        "benefit": {"kind": "generated_code", "name": "月饼", "valid_days": 30, "valid_until": "2027-01-01T00:00:00Z"},
    }
)


def facts(state: CampaignState = CampaignState.SCHEDULED) -> dict[str, Any]:
    campaign = Campaign(
        campaign_id="n4bv82kq7d",
        version=1,
        state=state,
        definition=DEFINITION.model_dump(mode="json"),
        opens_at_ms=OPENS,
        closes_at_ms=DEFINITION.ends_at_ms,
        releases=DEFINITION.releases_in_order(),
        total=3000,
        limit_per_member=2,
        created_at_ms=OPENS - 1000,
        published_seq=7,
    )
    return campaign_facts(campaign, 1200, OPENS + 1)


def shown(what: Any, width: int) -> str:
    console = Console(width=width)
    with console.capture() as captured:
        console.print(what)
    return captured.get()


@pytest.mark.parametrize("width", [72, 80, 100, 160])
def test_a_list_never_cuts_ids_figures_or_times(width: int) -> None:
    text = shown(list_of([facts(), facts(CampaignState.DRAFT)], Clock("Asia/Shanghai"), width), width)
    assert "…" not in text
    assert text.count("n4bv82kq7d") == 2
    assert text.count("1,200 of 3,000") == 2
    assert "2026-09-20 12:00:00" in text
    assert "draft" in text
    assert ("2026-09-21 12:00:00" in text) is (width >= 100)


def test_a_sheet_says_all_that_a_campaign_is() -> None:
    text = shown(sheet_of(facts(), Clock("Asia/Shanghai")), 120)
    for words in (
        "中秋月饼大礼包，先到先得，[红]每人一份",
        "scheduled, open",
        "3,000 units, 1,200 given out, 1,800 available now",
        "2026-09-20 12:00:00.250   3,000 units",
        "until 2027-01-01 08:00:00 30 days from the grant",
        "2 per member",
        "unions org-001; any of the tags 劳模; born in the months 9; joined before 2020-01-31",
        "of Asia/Shanghai",
    ):
        assert words in text, words


def test_a_zone_that_this_machine_does_not_know_is_replaced_and_that_is_said() -> None:
    clock = Clock("Mars/Olympus")
    assert (clock.name, clock.show(OPENS)) == ("UTC", "2026-09-20 04:00:00.250")
