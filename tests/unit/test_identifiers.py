"""Names from outside stay within their alphabets and bounds."""

import string
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grab_service.vocabulary import identifiers

BOUNDS: list[tuple[Callable[[str], bool], int]] = [
    (identifiers.is_cell_name, identifiers.CELL_NAME_MAX),
    (identifiers.is_member_id, identifiers.MEMBER_ID_MAX),
    (identifiers.is_org_id, identifiers.ORG_ID_MAX),
    (identifiers.is_tag, identifiers.TAG_MAX),
    (identifiers.is_campaign_id, identifiers.CAMPAIGN_ID_MAX),
    (identifiers.is_actor, identifiers.ACTOR_MAX),
    (identifiers.is_idempotency_key, identifiers.IDEMPOTENCY_KEY_MAX),
]
CHECKS = [check for check, _ in BOUNDS]


@pytest.mark.parametrize(("check", "length_max"), BOUNDS)
def test_a_name_has_at_least_one_character_and_at_most_its_bound(check: Callable[[str], bool], length_max: int) -> None:
    assert not check("")
    assert check("a")
    assert check("a" * length_max)
    assert not check("a" * (length_max + 1))


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("text", ["a\n", "\na", "a b", "a\x00b", "a\r\nb", " ", "a|b\n", "\ud800", "ａ", "a\u200bb"])
def test_no_name_holds_a_space_or_a_character_that_is_not_what_it_looks_like(check: Callable[[str], bool], text: str) -> None:
    assert not check(text)


@pytest.mark.parametrize("text", ["é", "٣", "王小明"])
def test_names_that_machines_give_hold_no_foreign_letter_and_those_of_people_may(text: str) -> None:
    assert [check for check in CHECKS if check(text)] in ([identifiers.is_actor], [identifiers.is_tag, identifiers.is_actor])


@pytest.mark.parametrize("separator", list("{}|,.~/\"'"))
def test_ids_hold_none_of_the_separators_that_keys_passes_and_records_are_made_with(separator: str) -> None:
    text = f"a{separator}b"
    for check in (
        identifiers.is_cell_name,
        identifiers.is_member_id,
        identifiers.is_org_id,
        identifiers.is_tag,
        identifiers.is_campaign_id,
    ):
        assert not check(text)


def test_member_ids_and_actors_of_other_systems_fit() -> None:
    for text in ("m-000001", "wx:oUpF8uMuAJO_M2pxb1Q9zNjWeS6o", "550e8400-e29b-41d4-a716-446655440000", "42"):
        assert identifiers.is_member_id(text)
    for text in ("li.wei@union-12.example", "dev:approver", "ops+night"):
        assert identifiers.is_actor(text)


def test_a_tag_may_be_chinese_and_an_org_id_may_not() -> None:
    assert identifiers.is_tag("劳模")
    assert not identifiers.is_org_id("劳模")


def test_a_campaign_id_is_lower_case() -> None:
    assert identifiers.is_campaign_id("mooncakes-2026")
    assert not identifiers.is_campaign_id("Mooncakes")


@given(st.text(st.characters(max_codepoint=0x200), max_size=80))
def test_an_idempotency_key_is_printable_ascii_and_nothing_else(text: str) -> None:
    printable = set(string.printable) - set(string.whitespace)
    assert identifiers.is_idempotency_key(text) == (1 <= len(text) <= 64 and set(text) <= printable)


def test_new_campaign_ids_are_valid_short_and_do_not_repeat() -> None:
    made = {identifiers.new_campaign_id() for _ in range(5000)}
    assert len(made) == 5000
    assert all(identifiers.is_campaign_id(text) and len(text) == 10 for text in made)
