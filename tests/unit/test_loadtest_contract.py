import pytest

from loadtest.contract import (
    RETRY_AFTER_DEFAULT_S,
    RETRY_AFTER_MAX_S,
    RETRY_AFTER_MIN_S,
    UNREADABLE,
    Meaning,
    Problem,
    Reading,
    meaning_of,
    pause_s,
    read_answer,
    read_problem,
)


@pytest.mark.parametrize(
    ("status", "code", "meaning"),
    [
        (201, "", Meaning.WON),
        (200, "", Meaning.HELD),
        (202, "", Meaning.ENTERED),
        (409, "sold-out", Meaning.REFUSED),
        (409, "paused", Meaning.REFUSED),
        (403, "not-eligible", Meaning.REFUSED),
        (410, "ended", Meaning.REFUSED),
        (409, "not-open-yet", Meaning.AGAIN),
        (429, "rate-limited", Meaning.AGAIN),
        (503, "outcome-unknown", Meaning.AGAIN),
        (502, UNREADABLE, Meaning.AGAIN),
        (409, UNREADABLE, Meaning.BROKEN),
        (401, "pass-invalid", Meaning.BROKEN),
        (404, "campaign-not-found", Meaning.BROKEN),
        (500, "internal", Meaning.BROKEN),
        (302, UNREADABLE, Meaning.BROKEN),
        (204, "", Meaning.BROKEN),
    ],
)
def test_every_answer_has_one_meaning(status: int, code: str, meaning: Meaning) -> None:
    assert meaning_of(status, code) is meaning


def test_a_problem_says_when_to_come_back() -> None:
    assert read_problem(b'{"code":"not-open-yet","opens_in_ms":17}') == Problem("not-open-yet", 17)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"code":7}', b'{"code":"Not A Slug"}', b'{"code":"a\\tb"}', b"\xff"])
def test_what_is_no_problem_document_is_unreadable(body: bytes) -> None:
    assert read_problem(body).code == UNREADABLE


@pytest.mark.parametrize(
    ("status", "body", "reading"),
    [
        (201, b'{"claim_id":"c"}', Reading(Meaning.WON, "won")),
        (204, b"", Reading(Meaning.BROKEN, "204")),
        (409, b'{"code":"sold-out"}', Reading(Meaning.REFUSED, "sold-out", "sold-out")),
        (409, b'{"code":"not-open-yet","opens_in_ms":17}', Reading(Meaning.AGAIN, "not-open-yet", "not-open-yet", 17)),
        (502, b"<html>", Reading(Meaning.AGAIN, f"502 {UNREADABLE}", UNREADABLE)),
    ],
)
def test_stampede_and_locust_read_an_answer_alike(status: int, body: bytes, reading: Reading) -> None:
    assert read_answer(status, body) == reading


@pytest.mark.parametrize(
    ("retry_after", "asked_s"),
    [
        ("1", 1.0),
        ("0", RETRY_AFTER_MIN_S),
        ("3600", RETRY_AFTER_MAX_S),
        (None, RETRY_AFTER_DEFAULT_S),
        ("Fri, 27 Nov 2026 10:00:00 GMT", RETRY_AFTER_DEFAULT_S),
    ],
)
def test_a_client_waits_as_long_as_it_is_asked_to_within_bounds(retry_after: str | None, asked_s: float) -> None:
    waited_s = {pause_s(retry_after, None) for _ in range(20)}
    assert len(waited_s) > 1, "all would come back at once"
    assert all(asked_s <= each_s <= 1.5 * asked_s for each_s in waited_s)
    assert pause_s(retry_after, 17) == 0.017
