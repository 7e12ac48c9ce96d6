"""The small parts of the API by themselves: tags, cursors, patches, waits, words."""

import csv
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from grab_service.campaigns.bodies import poll_after_ms
from grab_service.campaigns.definition import Definition
from grab_service.http.etags import content_etag, matches_version, matches_weakly, version_etag
from grab_service.http.field_errors import _REASONS, field_errors
from grab_service.http.merge_patch import merged
from grab_service.http.paging import decode_cursor, encode_cursor
from grab_service.http.safe_csv import csv_lines, harmless
from grab_service.refusal import RefusalError
from grab_service.vocabulary.campaigns import Phase

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("header", "matches"),
    [
        *(('"3"', True), ("*", True), ('"1", "3"', True), ('W/"3"', True), ('W/"1", W/"3"', True)),
        *(('"33"', False), ('W/"33"', False), ("W/*", False), ("3", False), ("", False)),
    ],
)
def test_if_match_wants_exactly_this_version_however_a_proxy_has_weakened_it(header: str, matches: bool) -> None:
    assert matches_version(header, version_etag(3)) is matches


def test_if_none_match_takes_weak_for_strong() -> None:
    etag = content_etag(b"{}")
    assert etag.startswith('W/"')
    assert matches_weakly(etag, etag)
    assert matches_weakly(f'"x", {etag.removeprefix("W/")}', etag)
    assert matches_weakly("*", etag)
    assert not matches_weakly(content_etag(b"{ }"), etag)


@given(st.integers(-(2**40), 2**40), st.text(st.characters(categories=["L", "N", "P"]), max_size=40))
def test_a_cursor_is_read_back(number: int, text: str) -> None:
    assert decode_cursor(encode_cursor(number, text), "zh", int, str) == (number, text)


@given(st.text(max_size=60).filter(lambda text: not text.isascii() or not text.isalnum()))
def test_a_cursor_that_is_none_of_ours_is_refused(text: str) -> None:
    with pytest.raises(RefusalError, match="validation"):
        decode_cursor(text, "zh", int)


@pytest.mark.parametrize("place", [("x",), (1, 2), (True,), (2**63,), (None,)])
def test_a_cursor_of_another_list_is_refused(place: Any) -> None:
    with pytest.raises(RefusalError):
        decode_cursor(encode_cursor(*place), "zh", int)


# The examples of RFC 7396.
@pytest.mark.parametrize(
    ("document", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_a_merge_patch_does_what_its_rfc_says(document: Any, patch: Any, result: Any) -> None:
    assert merged(document, patch) == result


@given(JSON, JSON)
def test_a_merge_patch_may_be_repeated_and_leaves_its_document_alone(document: Any, patch: Any) -> None:
    before = repr(document)
    once = merged(document, patch)
    assert merged(once, patch) == once
    assert repr(document) == before


@given(st.sampled_from(Phase), st.none() | st.integers(1, 10**9))
def test_nobody_is_sent_into_the_moment_of_a_release_nor_asked_to_hammer(phase: Phase, until_release_ms: int | None) -> None:
    wait_ms = poll_after_ms(phase, until_release_ms)
    assert 2_000 <= wait_ms <= 80_000
    if until_release_ms is not None and phase in {Phase.UPCOMING, Phase.SOLD_OUT, Phase.PAUSED}:
        assert wait_ms <= until_release_ms or wait_ms >= until_release_ms + 2_000


def test_a_crowd_does_not_ask_again_at_once() -> None:
    waits = {poll_after_ms(Phase.UPCOMING, 60_000) for _ in range(200)}
    assert len(waits) > 50


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        *((f"{sign}1", f"'{sign}1") for sign in "=+-@＝＋－＠"),
        *((f"k;{sign}1", f"k;'{sign}1") for sign in "=+-@＝＋－＠"),
        *((f"{start}x", f"'{start}x") for start in "\t\r"),
        ("  =1", "'  =1"),
        ("a\n=1;\t@b", "a\n'=1;'\t'@b"),
    ],
)
def test_a_formula_is_made_harmless(cell: str, written: str) -> None:
    assert harmless(cell) == written


@pytest.mark.parametrize("cell", ["", "m-1", "A=1", "'=1", "7K2M-9QXT", "a;b", "a, -b", "张＝三"])
def test_what_is_no_formula_stays_as_it_is(cell: str) -> None:
    assert harmless(cell) == cell


@given(st.lists(st.lists(st.none() | st.integers() | st.text("ab ;,=+-@＝\"'\t\r\n"), min_size=1), max_size=4))
def test_a_cell_begins_no_formula_however_a_file_is_split(rows: list[list[Any]]) -> None:
    written = csv_lines(rows)
    for cell in (cell for row in rows for cell in row if isinstance(cell, str)):
        for separator in ";\t\r\n":
            assert not any(part.lstrip().startswith(tuple("=+-@＝＋－＠")) for part in harmless(cell).split(separator))
    read = list(csv.reader(io.StringIO(written, newline="")))
    assert [row or [""] for row in read] == [
        [harmless(cell) if isinstance(cell, str) else "" if cell is None else str(cell) for cell in row] for row in rows
    ]


def test_every_kind_of_error_of_a_definition_has_words_in_both_languages() -> None:
    wrong = {
        "title": "",
        "summary": "x" * 2001,
        "category": 7,
        "allocation": "draw",
        "releases": [{"opens_at": "x", "quantity": 0, "y": 1}, {"opens_at": "2300-01-01T00:00:00Z", "quantity": "1"}],
        "price": {"points": 1, "cash_fen": -1},
        "limit_per_member": 101,
        "eligibility": {"orgs": [], "tags_any": ["a", "a"], "birthday_months": [13], "joined_before": "x"},
        "waitlist": True,
        "caps": "x",
        "shares": {},
        "benefit": {"kind": "x", "name": "\x00"},
    }
    with pytest.raises(ValidationError) as refused:
        Definition.model_validate(wrong)
    errors = refused.value.errors()
    assert {error["type"] for error in errors} <= _REASONS.keys()
    for said in field_errors(errors, "zh") + field_errors(errors, "en"):
        assert said["reason"]
        assert "{" not in said["reason"].replace("{}", "")


def test_emoji_and_rare_characters_may_stand_in_a_title() -> None:
    for title in ("👨‍👩‍👧 亲子票", "𠮷野家", "é"):
        assert Definition.model_validate({**DEFINITION, "title": title}).title == title


DEFINITION: dict[str, Any] = {
    "title": "x",
    "releases": [{"opens_at": "2026-09-20T12:00:00+08:00", "quantity": 3000.0}],
    "closes_at": "2026-09-21T04:00:00Z",
    "benefit": {"kind": "none", "name": "x"},
}


def test_times_are_kept_in_utc_and_whole_numbers_as_such() -> None:
    (release,) = Definition.model_validate(DEFINITION).model_dump(mode="json")["releases"]
    assert release == {"opens_at": "2026-09-20T04:00:00.000Z", "quantity": 3000}
    assert isinstance(release["quantity"], int)
