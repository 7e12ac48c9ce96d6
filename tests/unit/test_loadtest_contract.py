import pytest

from loadtest.contract import UNREADABLE, Meaning, Problem, meaning_of, read_problem


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
