"""A campaign's phase and the next one are right at the very moment of a change."""

import pytest

from grab_service.vocabulary.campaigns import CampaignState, Phase, Release, next_release_at_ms, phase_of, released_by

RELEASES = (Release(1_000, 2), Release(2_000, 3), Release(2_500, 0))
CLOSES_AT_MS = 3_000


@pytest.mark.parametrize(
    ("now_ms", "active", "phase"),
    [
        (999, 0, Phase.UPCOMING),
        (1_000, 0, Phase.OPEN),
        (1_000, 1, Phase.OPEN),
        (1_999, 2, Phase.SOLD_OUT),
        (2_000, 2, Phase.OPEN),
        (2_000, 5, Phase.SOLD_OUT),
        (2_999, 4, Phase.OPEN),
        (3_000, 4, Phase.ENDED),
    ],
)
def test_a_scheduled_campaign_follows_the_clock_and_the_stock(now_ms: int, active: int, phase: Phase) -> None:
    assert phase_of(CampaignState.SCHEDULED, RELEASES, CLOSES_AT_MS, active, now_ms) is phase


@pytest.mark.parametrize(
    ("state", "now_ms", "phase"),
    [
        (CampaignState.PAUSED, 999, Phase.UPCOMING),
        (CampaignState.PAUSED, 1_000, Phase.PAUSED),
        (CampaignState.PAUSED, 3_000, Phase.ENDED),
        (CampaignState.CLOSED, 999, Phase.ENDED),
        (CampaignState.SETTLED, 1_000, Phase.ENDED),
        (CampaignState.ARCHIVED, 1_000, Phase.ENDED),
        (CampaignState.CANCELLED, 999, Phase.CANCELLED),
        (CampaignState.CANCELLED, 3_000, Phase.CANCELLED),
    ],
)
def test_what_ops_intend_comes_in_its_place(state: CampaignState, now_ms: int, phase: Phase) -> None:
    assert phase_of(state, RELEASES, CLOSES_AT_MS, 0, now_ms) is phase


@pytest.mark.parametrize(
    ("now_ms", "released", "next_ms"),
    [(999, 0, 1_000), (1_000, 2, 2_000), (1_999, 2, 2_000), (2_000, 5, None), (2_499, 5, None), (9_999, 5, None)],
)
def test_units_come_at_their_moment_and_a_release_of_none_is_none(now_ms: int, released: int, next_ms: int | None) -> None:
    assert released_by(RELEASES, now_ms) == released
    assert next_release_at_ms(RELEASES, now_ms, CLOSES_AT_MS) == next_ms


@pytest.mark.parametrize(("closes_at_ms", "next_ms"), [(2_001, 2_000), (2_000, None), (1_999, None)])
def test_a_release_at_the_closing_never_comes(closes_at_ms: int, next_ms: int | None) -> None:
    assert next_release_at_ms(RELEASES, 1_500, closes_at_ms) == next_ms
