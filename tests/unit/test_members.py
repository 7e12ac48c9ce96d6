"""The cell's record of a member holds the fields of the rules, and nothing about who it is."""

import re
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grab_service.vocabulary.members import Member, MemberStatus, member_record

LI = Member(
    member_id="m-000001",
    org_id="org-042",
    person_id="p-1",
    name="李建国",
    tags=("model-worker", "劳模"),
    birthday_month=9,
    joined_on=date(1998, 3, 1),
    status=MemberStatus.ACTIVE,
)


def test_a_record_has_the_seven_fields_that_the_rules_read() -> None:
    assert member_record(LI, 1_800_000_000_000, 7) == ("7|active|org-042|1800000000000|9|1998-03-01|,model-worker,劳模,")


def test_what_is_not_known_is_empty() -> None:
    bare = replace(LI, tags=(), birthday_month=None, joined_on=None, person_id=None, status=MemberStatus.LEFT)
    assert member_record(bare, None, 1) == "1|left|org-042||||,"


def test_a_block_that_ended_in_1970_is_not_taken_for_none() -> None:
    assert member_record(LI, 0, 1).split("|")[3] == "0"


def test_no_name_and_no_person_reaches_the_cell() -> None:
    record = member_record(LI, None, 1)
    assert LI.name not in record
    assert str(LI.person_id) not in record


@given(
    st.lists(st.from_regex(re.compile(r"[A-Za-z0-9_\-\u4e00-\u9fff]{1,32}"), fullmatch=True), max_size=5),
    st.none() | st.integers(min_value=1, max_value=12),
    st.none() | st.dates(min_value=date(1900, 1, 1)),
    st.sampled_from(MemberStatus),
    st.none() | st.integers(min_value=0, max_value=2**53),
)
def test_a_record_always_splits_into_seven_and_every_tag_is_found_between_commas(
    tags: list[str], month: int | None, joined_on: date | None, status: MemberStatus, blocked_until_ms: int | None
) -> None:
    member = replace(LI, tags=tuple(tags), birthday_month=month, joined_on=joined_on, status=status)
    version, word, org_id, blocked, birthday, joined, found = member_record(member, blocked_until_ms, 3).split("|")
    assert (version, word, org_id) == ("3", status.value, "org-042")
    assert blocked == ("" if blocked_until_ms is None else str(blocked_until_ms))
    assert birthday == ("" if month is None else str(month))
    assert joined == ("" if joined_on is None else f"{joined_on:%Y-%m-%d}".zfill(10))
    assert all(f",{tag}," in found for tag in tags)
    assert [tag for tag in found.split(",") if tag] == tags


@pytest.mark.parametrize("tag", ["a,b", "a|b", "", "a b", "a\n"])
def test_a_tag_that_would_be_read_as_two_stops_the_program(tag: str) -> None:
    with pytest.raises(AssertionError):
        member_record(replace(LI, tags=(tag,)), None, 1)


def test_an_org_id_that_would_shift_the_fields_stops_the_program() -> None:
    with pytest.raises(AssertionError):
        member_record(replace(LI, org_id="org|1"), None, 1)
