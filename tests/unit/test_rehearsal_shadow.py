"""The shadow of a campaign is the campaign, moved in time, with made-up codes, and leaves nothing."""

import os
from pathlib import Path
from typing import Any

import pytest

from grab_service.campaigns.definition import TITLE_MAX, Definition
from grab_service.campaigns.service import Campaign
from grab_service.rehearsal.home import temporary_home
from grab_service.rehearsal.load import Load
from grab_service.rehearsal.original import Original, RehearsalError
from grab_service.rehearsal.run import TUNING, expected_of
from grab_service.rehearsal.shadow import Shadow
from grab_service.settings import Settings
from grab_service.vocabulary.campaigns import CampaignState, Release
from grab_service.vocabulary.times import parse_rfc3339, rfc3339

OPENS_MS = 1_800_000_000_000
DAY_MS = 86_400_000
RELEASES = (Release(OPENS_MS, 30), Release(OPENS_MS + 2_000, 5), Release(OPENS_MS + DAY_MS, 40))


def shadow(release_no: int = 1, codes: int = 0, **changes: Any) -> Shadow:
    definition = Definition.model_validate(
        {
            "title": "餐券",
            # As it was written; what is in force stands beside it.
            "releases": [{"opens_at": rfc3339(OPENS_MS), "quantity": 1}],
            "closes_at": rfc3339(OPENS_MS + 3 * DAY_MS),
            "limit_per_member": 2,
            "eligibility": {"tags_any": ["courier"], "joined_before": "2025-01-01"},
            "benefit": {"kind": "code_pool", "name": "餐券", "valid_until": rfc3339(OPENS_MS + 5 * DAY_MS)},
            **changes,
        }
    )
    campaign = Campaign(
        campaign_id="n4bv82kq7d",
        version=1,
        state=CampaignState.SCHEDULED,
        definition=definition.model_dump(mode="json"),
        opens_at_ms=OPENS_MS,
        closes_at_ms=OPENS_MS + 3 * DAY_MS,
        releases=RELEASES,
        total=75,
        limit_per_member=2,
        created_at_ms=1,
        published_seq=1,
    )
    return Shadow.of(Original(campaign, definition, codes, {}, ()), release_no)


def test_the_shadow_has_the_same_rules_at_another_time() -> None:
    opens_at_ms = 1_700_000_000_000
    later_ms = opens_at_ms - OPENS_MS
    written = Definition.model_validate(shadow().definition(opens_at_ms))
    assert [(one.opens_at_ms - later_ms, one.quantity) for one in written.releases_in_order()] == [
        (one.opens_at_ms, one.quantity) for one in RELEASES
    ]
    assert written.ends_at_ms == OPENS_MS + 3 * DAY_MS + later_ms
    assert parse_rfc3339(written.benefit.valid_until or "") == OPENS_MS + 5 * DAY_MS + later_ms
    assert written.limit_per_member == 2
    assert (written.eligibility.tags_any, written.eligibility.joined_before) == (["courier"], "2025-01-01")


def test_a_later_release_is_rehearsed_without_those_before_it() -> None:
    third = shadow(3)
    assert third.opening == RELEASES[2]
    written = Definition.model_validate(third.definition(1_700_000_000_000))
    assert [release.quantity for release in written.releases] == [40]
    with pytest.raises(RehearsalError, match="no number 4"):
        shadow(4)


def test_a_long_title_stays_within_its_bound() -> None:
    title = shadow(title="长" * TITLE_MAX).definition(1_700_000_000_000)["title"]
    assert title.startswith("[rehearsal] 长")
    assert len(title) == TITLE_MAX


@pytest.mark.parametrize(("codes", "made_up"), [(0, 75), (100, 100)])
def test_codes_are_made_up_for_the_stock_and_for_what_the_pool_has_to_spare(codes: int, made_up: int) -> None:
    lines = shadow(codes=codes).made_up_codes().splitlines()
    assert lines[0] == "code"
    assert len(set(lines[1:])) == made_up
    assert all(line.startswith("REHEARSAL-") for line in lines[1:])


@pytest.mark.parametrize(
    ("eligible", "spread_s", "least", "most", "sells_out"),
    [(100, 1.0, 30, 30, True), (100, 2.0, 30, 35, True), (32, 2.0, 30, 32, True), (20, 1.0, 20, 20, False)],
)
def test_as_many_must_win_as_the_stock_and_the_crowd_allow(
    eligible: int, spread_s: float, least: int, most: int, sells_out: bool
) -> None:
    expected = expected_of(shadow(), Load(eligible, 0, spread_s, 5))
    assert (expected.least, expected.most, expected.sells_out) == (least, most, sells_out)


def test_what_a_rehearsal_inherits_are_settings_that_there_are() -> None:
    assert set(TUNING) <= set(Settings.model_fields)
    for name in (
        "redis_url",
        "database_url",
        "guard_redis_url",
        "replicas_min",
        "ledger_metrics_port",
        "host",
        "port",
        "secrets",
    ):
        assert name not in TUNING


def test_what_a_killed_rehearsal_left_is_cleared_and_what_lives_is_let_be(tmp_path: Path) -> None:
    killed, young, other = (tmp_path / name for name in ("rehearsal-killed", "rehearsal-young", "demo"))
    for folder in (killed, young, other):
        folder.mkdir()
        (folder / "members-0.csv").touch()
    with temporary_home(tmp_path) as living:
        for folder in (killed, other, living):
            os.utime(folder, (1, 1))
        with temporary_home(tmp_path) as second:
            assert not killed.exists()
            assert all(folder.exists() for folder in (young, other, living, second))
    assert sorted(tmp_path.iterdir()) == [other, young]
