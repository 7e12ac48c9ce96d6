"""Moments are written and read the same way, and doubtful ones are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grab_service.vocabulary.times import MOMENT_MAX_MS, parse_rfc3339, rfc3339


@given(st.integers(min_value=0, max_value=MOMENT_MAX_MS))
def test_what_is_written_is_read_back(moment_ms: int) -> None:
    assert parse_rfc3339(rfc3339(moment_ms)) == moment_ms


@pytest.mark.parametrize(
    ("text", "moment_ms"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-09-20T04:00:00Z", 1_789_876_800_000),
        ("2026-09-20T12:00:00+08:00", 1_789_876_800_000),
        ("2026-09-20T12:00:00.9999+08:00", 1_789_876_800_999),
        ("2026-09-19t23:30:00.5-04:30", 1_789_876_800_500),
    ],
)
def test_an_offset_says_which_moment_is_meant(text: str, moment_ms: int) -> None:
    assert parse_rfc3339(text) == moment_ms


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-09-20",
        "2026-09-20T04:00:00",
        "2026-09-20 04:00:00Z",
        "2026-09-20T04:00Z",
        "2026-13-20T04:00:00Z",
        "2026-02-30T04:00:00Z",
        "2026-09-20T25:00:00Z",
        "2026-09-20T04:00:60Z",
        "2026-09-20T04:00:00+24:00",
        "2026-09-20T04:00:00+08:60",
        "2026-09-20T04:00:00Z\n",
        "1969-12-31T23:59:59Z",
        "９026-09-20T04:00:00Z",
        "0001-01-01T00:00:00+10:00",
        "9999-12-31T23:59:59-10:00",
    ],
)
def test_what_does_not_say_which_moment_is_meant_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"time|offset|month|day|hour|second|range|year"):
        parse_rfc3339(text)
