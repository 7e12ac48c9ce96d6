import pytest

from loadtest.generator.schedule import Shape, offsets_ns


@pytest.mark.parametrize("shape", Shape)
def test_everyone_taps_once_in_order_and_within_the_spread(shape: Shape) -> None:
    offsets = offsets_ns(shape, 1_000, 2.0)
    assert len(offsets) == 1_000
    assert offsets == sorted(offsets)
    assert 0 <= offsets[0] <= offsets[-1] <= 2e9


def test_instant_means_at_the_opening() -> None:
    assert set(offsets_ns(Shape.INSTANT, 10, 2.0)) == {0}


def test_a_ramp_is_even() -> None:
    offsets = offsets_ns(Shape.RAMP, 1_000, 2.0)
    assert sum(offset < 1e9 for offset in offsets) == 500


def test_an_exponential_crowd_comes_early() -> None:
    offsets = offsets_ns(Shape.EXP, 1_000, 2.0)
    assert 620 <= sum(offset < 0.4e9 for offset in offsets) <= 645


def test_nobody_is_a_crowd_too() -> None:
    assert offsets_ns(Shape.EXP, 0, 1.0) == []
