"""A member is slowed down from the very grab, and until the very moment, that the limit names."""

from grab_service.grabpath.rates import RateLimit


def test_as_many_grabs_as_the_burst_pass_in_a_window_and_not_one_more() -> None:
    rate = RateLimit(burst=3, window_s=10)
    assert [rate.retry_after_s("m-1", now_s) for now_s in (100.0, 101.0, 102.0)] == [0, 0, 0]
    assert rate.retry_after_s("m-1", 103.0) == 7
    assert rate.retry_after_s("m-2", 103.0) == 0, "each member counts alone"


def test_a_burst_of_one_is_one_grab() -> None:
    rate = RateLimit(burst=1, window_s=10)
    assert [rate.retry_after_s("m-1", 5.0), rate.retry_after_s("m-1", 5.0)] == [0, 10]


def test_a_window_ends_and_a_member_who_was_slowed_down_may_grab_again() -> None:
    rate = RateLimit(burst=1, window_s=10)
    assert rate.retry_after_s("m-1", 100.0) == 0
    assert rate.retry_after_s("m-1", 109.999) == 1
    assert rate.retry_after_s("m-1", 109.9999) == 1, "a refusal has a wait, however short"
    assert rate.retry_after_s("m-1", 110.0) == 0, "at its end it is over"
    assert rate.retry_after_s("m-1", 119.5) == 1, "the next one is as long"
    assert rate.retry_after_s("m-1", 120.0) == 0


def test_the_wait_is_in_whole_seconds_and_long_enough() -> None:
    rate = RateLimit(burst=1, window_s=2.5)
    assert rate.retry_after_s("m-1", 0.0) == 0
    for now_s, wait_s in ((0.0, 3), (0.5, 2), (0.6, 2), (1.5, 1), (2.4, 1)):
        assert rate.retry_after_s("m-1", now_s) == wait_s
        assert now_s + wait_s >= 2.5


def test_refused_grabs_do_not_make_the_wait_longer() -> None:
    rate = RateLimit(burst=1, window_s=10)
    assert rate.retry_after_s("m-1", 0.0) == 0
    assert [rate.retry_after_s("m-1", now_s) for now_s in (1.0, 5.0, 9.0, 10.0)] == [9, 5, 1, 0]
