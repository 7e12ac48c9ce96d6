"""Every invisible character is named, in every text that people read; rare visible ones stay."""

from typing import Any

import pytest
from pydantic import ValidationError

from grab_service.campaigns.definition import Definition
from grab_service.campaigns.lifecycle_routes import Because
from grab_service.files.codes_csv import parse_codes
from grab_service.files.csv_rows import Rejection
from grab_service.files.members_csv import MemberRow, parse_members
from grab_service.files.orgs_csv import parse_orgs
from grab_service.http.field_errors import field_errors
from grab_service.members.ops_routes import WrittenBlock, WrittenOrg
from grab_service.members.session_routes import _Said
from grab_service.vocabulary.invisible import unseen_in

UNSEEN = {
    "\x07": "U+0007",
    "\u200b": "U+200B ZERO WIDTH SPACE",
    "\u200c": "U+200C ZERO WIDTH NON-JOINER",
    "\u200d": "U+200D ZERO WIDTH JOINER",
    "\u202e": "U+202E RIGHT-TO-LEFT OVERRIDE",
    "\u2066": "U+2066 LEFT-TO-RIGHT ISOLATE",
    "\u200f": "U+200F RIGHT-TO-LEFT MARK",
    "\u061c": "U+061C ARABIC LETTER MARK",
    "\u2028": "U+2028 LINE SEPARATOR",
    "\u2029": "U+2029 PARAGRAPH SEPARATOR",
    "\u2060": "U+2060 WORD JOINER",
    "\ufeff": "U+FEFF ZERO WIDTH NO-BREAK SPACE",
    "\xad": "U+00AD SOFT HYPHEN",
    "\u3164": "U+3164 HANGUL FILLER",
    "\uffa0": "U+FFA0 HALFWIDTH HANGUL FILLER",
    "\u2800": "U+2800 BRAILLE PATTERN BLANK",
    "\U000e0041": "U+E0041 TAG LATIN CAPITAL LETTER A",
    "\ufff9": "U+FFF9 INTERLINEAR ANNOTATION ANCHOR",
    "\uffff": "U+FFFF",
}
KEPT = ["👨‍👩‍👧 亲子票", "❤️‍🔥", "1️⃣", "葛\U000e0100城", "𠮷野家", "䶮", "\ue863", "\U00031350", "é", "张　三", "Zoë O'Hara"]
DEFINITION: dict[str, Any] = {
    "title": "x",
    "releases": [{"opens_at": "2026-09-20T12:00:00+08:00", "quantity": 3000}],
    "closes_at": "2026-09-21T04:00:00Z",
    "benefit": {"kind": "none", "name": "x"},
}
# Every text of others that people read: how it is taken in, from the text.
MODELS: dict[str, Any] = {
    "title": (Definition, lambda text: {**DEFINITION, "title": text}),
    "summary": (Definition, lambda text: {**DEFINITION, "summary": text}),
    "category": (Definition, lambda text: {**DEFINITION, "category": text}),
    "benefit.name": (Definition, lambda text: {**DEFINITION, "benefit": {"kind": "none", "name": text}}),
    "name of a union": (WrittenOrg, lambda text: {"org_id": "o", "name": text}),
    "reason": (Because, lambda text: {"reason": text}),
    "reason of a block": (WrittenBlock, lambda text: {"reason": text}),
    "name that is asserted": (_Said, lambda text: {"sub": "m", "name": text}),
}
FILES: dict[str, Any] = {
    "members": (parse_members, "member_id,org_id,person_id,name,tags,birthday_month,joined_on,status\nm,o,,{},,,,active\n"),
    "orgs": (parse_orgs, "org_id,name\no,{}\n"),
    "codes": (parse_codes, "code\n{}\n"),
}


@pytest.mark.parametrize("unseen", UNSEEN, ids=UNSEEN.values())
def test_what_nobody_sees_is_named_wherever_people_read(unseen: str) -> None:
    text = f"中{unseen}秋"
    assert unseen_in(text) == UNSEEN[unseen]
    for field, (model, content) in MODELS.items():
        with pytest.raises(ValidationError) as refused:
            model.model_validate(content(text))
        for language in ("zh", "en"):
            (said,) = field_errors(refused.value.errors(), language)
            assert UNSEEN[unseen] in said["reason"], field
    for name, (parse, file) in FILES.items():
        (found,) = parse(file.format(text).encode())
        assert isinstance(found, Rejection)
        assert UNSEEN[unseen] in found.reason.en, name
        assert UNSEEN[unseen] in found.reason.zh, name


@pytest.mark.parametrize("text", KEPT)
def test_rare_characters_and_emojis_stay_wherever_people_read(text: str) -> None:
    assert unseen_in(text) is None
    for model, content in MODELS.values():
        assert model.model_validate(content(text))
    (row,) = parse_members(FILES["members"][1].format(text).encode())
    assert isinstance(row, MemberRow)
    assert row.member.name == " ".join(text.split())
    assert not any(isinstance(found, Rejection) for found in parse_orgs(FILES["orgs"][1].format(text).encode()))


@pytest.mark.parametrize(
    "text", ["\ufe0f", "a\ufe0f", " \ufe0f", "❤\ufe0f\ufe0f", "a\U000e0100", "a\u200db", "👨\u200d", "\u200d👩", "中\u200d秋"]
)
def test_what_joins_and_chooses_is_seen_only_where_there_is_something_to_join_or_choose(text: str) -> None:
    assert unseen_in(text) is not None


def test_line_breaks_are_seen_where_there_may_be_lines() -> None:
    assert Because.model_validate({"reason": "a\r\nb\nc"}).reason == "a\r\nb\nc"
    assert Definition.model_validate({**DEFINITION, "summary": "a\nb"}).summary == "a\nb"
    with pytest.raises(ValidationError):
        Definition.model_validate({**DEFINITION, "title": "a\nb"})
