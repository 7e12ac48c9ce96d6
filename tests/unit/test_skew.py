"""A difference of clocks is reported with the right margin, and only where it is certain."""

import pytest

from grab_service.health.redis_checks import Skew


@pytest.mark.parametrize(
    ("before_ms", "redis_ms", "after_ms", "ahead_ms", "margin_ms"),
    [(1000, 1000, 1000, 0, 0), (1000, 1005, 1010, 0, 5), (1000, 1300, 1100, 250, 50), (1000, 700, 1100, -350, 50)],
)
def test_the_middle_is_the_guess_and_half_the_way_its_margin(
    before_ms: float, redis_ms: float, after_ms: float, ahead_ms: float, margin_ms: float
) -> None:
    assert Skew.between(before_ms, redis_ms, after_ms) == Skew(ahead_ms, margin_ms)


@pytest.mark.parametrize(
    ("ahead_ms", "margin_ms", "exceeds"),
    [(100, 0, False), (101, 0, True), (-101, 0, True), (-100, 0, False), (150, 50, False), (151, 50, True), (-151, 50, True)],
)
def test_a_difference_exceeds_a_limit_only_if_it_surely_does(ahead_ms: float, margin_ms: float, exceeds: bool) -> None:
    assert Skew(ahead_ms, margin_ms).exceeds(100) is exceeds


def test_it_says_which_clock_is_ahead() -> None:
    assert str(Skew(1234.4, 5)) == "Redis is 1,234 ms ahead of this machine (±5 ms)"
    assert str(Skew(-7, 0.4)) == "Redis is 7 ms behind this machine (±0 ms)"
