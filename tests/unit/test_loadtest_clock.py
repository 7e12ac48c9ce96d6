import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.clock import Sample, estimate

AT_US = 1_700_000_000_000_000


def sample(offset_us: int, asked_at_us: int, there_us: int, back_us: int) -> Sample:
    server_us = asked_at_us + there_us + offset_us
    return Sample(asked_at_us, asked_at_us + there_us + back_us, server_us // 1000)


@given(
    st.integers(-5_000_000, 5_000_000),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 40_000), st.integers(0, 40_000)), min_size=1, max_size=20),
)
def test_the_true_offset_is_always_within_the_bounds(offset_us: int, trips: list[tuple[int, int, int]]) -> None:
    samples = [sample(offset_us, AT_US + wait, there, back) for wait, there, back in trips]
    clock = estimate(samples)
    assert abs(clock.offset_us - offset_us) <= clock.error_us + 1
    assert clock.rtt_us == min(there + back for _, there, back in trips)


def test_many_samples_place_the_clock_better_than_a_millisecond() -> None:
    samples = [sample(123_456, AT_US + 370 * n, 100, 100) for n in range(15)]
    assert estimate(samples).error_us < 300


def test_a_sample_that_contradicts_the_best_is_left_out() -> None:
    good = sample(0, AT_US, 50, 50)
    stepped = sample(90_000, AT_US + 500, 60, 60)
    assert abs(estimate([good, stepped]).offset_us) < 1_100


def test_no_sample_is_an_error() -> None:
    with pytest.raises(ValueError, match="no sample"):
        estimate([])
