"""An import takes the members of a file, and names the fault of every other row."""

import io
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grab_service.files.csv_rows import Rejection
from grab_service.files.members_csv import COLUMNS, MemberRow, parse_members, write_members
from grab_service.files.synthetic import generate
from grab_service.vocabulary.members import Member, MemberStatus
from grab_service.vocabulary.names import PERSON_NAME_MAX as NAME_MAX
from grab_service.vocabulary.names import TAGS_MAX

HEADER = "member_id,org_id,person_id,name,tags,birthday_month,joined_on,status\n"
GOOD = "m-1,org-001,p-1,李建国,劳模|new-worker,9,1998-03-01,active\n"
GOOD_MEMBER = Member("m-1", "org-001", "p-1", "李建国", ("劳模", "new-worker"), 9, date(1998, 3, 1), MemberStatus.ACTIVE)


def taken(text: str) -> list[Member]:
    return [item.member for item in parse_members(text.encode()) if isinstance(item, MemberRow)]


def rejected(text: str) -> list[tuple[int, str | None]]:
    return [(item.row, item.field) for item in parse_members(text.encode()) if isinstance(item, Rejection)]


def with_cell(column: str, cell: str) -> str:
    cells = GOOD.strip().split(",")
    cells[COLUMNS.index(column)] = cell
    return HEADER + ",".join(cells) + "\n"


def test_a_row_becomes_a_member_and_keeps_its_number() -> None:
    assert list(parse_members((HEADER + GOOD).encode())) == [MemberRow(2, GOOD_MEMBER)]


def test_columns_may_stand_in_any_order() -> None:
    header, row = HEADER.strip().split(","), GOOD.strip().split(",")
    assert taken(",".join(reversed(header)) + "\n" + ",".join(reversed(row)) + "\n") == [GOOD_MEMBER]


def test_optional_cells_may_be_empty() -> None:
    assert taken(HEADER + "m-1,org-001,,李建国,,,,left\n") == [
        Member("m-1", "org-001", None, "李建国", (), None, None, MemberStatus.LEFT)
    ]


@pytest.mark.parametrize("column", COLUMNS)
def test_every_column_must_be_there(column: str) -> None:
    rest = [name for name in COLUMNS if name != column]
    assert rejected(",".join(rest) + "\nx,x,x,x,x,x,x\n") == [(1, column)]


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("member_id", ""),
        ("member_id", "a b"),
        ("member_id", "m.1"),
        ("member_id", "1.23E+10"),
        ("member_id", "会员1"),
        ("member_id", "m" * 65),
        ("org_id", ""),
        ("org_id", "org|1"),
        ("org_id", "o" * 33),
        ("person_id", "p 1"),
        ("person_id", "p" * 65),
        ("name", ""),
        ("name", "\u3000"),
        ("name", "李" * (NAME_MAX + 1)),
        ("name", "李\u200b建国"),
        ("name", "李\x07"),
        ("tags", "a b"),
        ("tags", "劳模|t.1"),
        ("tags", "t" * 33),
        ("tags", "|".join(f"t{n}" for n in range(TAGS_MAX + 1))),
        ("birthday_month", "0"),
        ("birthday_month", "13"),
        ("birthday_month", "九月"),
        ("birthday_month", "-1"),
        ("birthday_month", "1.0"),
        ("birthday_month", "９"),
        ("joined_on", "1998"),
        ("joined_on", "1998-02-30"),
        ("joined_on", "1998-13-01"),
        ("joined_on", "01/02/1998"),
        ("joined_on", "1998/2-1"),
        ("joined_on", "19980301"),
        ("joined_on", "36526"),
        ("joined_on", "0001-01-01"),
        ("joined_on", "1998-03-01T00:00"),
        ("status", ""),
        ("status", "retired"),
        ("status", "0"),
    ],
)
def test_a_bad_cell_is_named_by_row_and_field_and_the_other_rows_are_taken(column: str, cell: str) -> None:
    text = with_cell(column, cell) + GOOD.replace("m-1", "m-2")
    assert rejected(text) == [(2, column)]
    assert [member.member_id for member in taken(text)] == ["m-2"]


@pytest.mark.parametrize(
    ("column", "cell", "field", "value"),
    [
        ("birthday_month", "09", "birthday_month", 9),
        ("joined_on", "1998/3/1", "joined_on", date(1998, 3, 1)),
        ("joined_on", "2024-02-29", "joined_on", date(2024, 2, 29)),
        ("status", "Suspended", "status", MemberStatus.SUSPENDED),
        ("name", "张\u3000三", "name", "张 三"),
        ("name", "阿卜杜拉·买买提", "name", "阿卜杜拉·买买提"),
        ("name", '"Li, Wei"', "name", "Li, Wei"),
        ("name", "=1+1", "name", "=1+1"),
        ("tags", "a| b ||a", "tags", ("a", "b")),
        ("tags", "|", "tags", ()),
        ("member_id", "wx:oUpF8uMuAJO_M2pxb1Q9zNjWeS6o", "member_id", "wx:oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"),
    ],
)
def test_what_spreadsheets_and_people_make_of_a_cell_is_understood(column: str, cell: str, field: str, value: object) -> None:
    members = taken(with_cell(column, cell))
    assert len(members) == 1
    assert getattr(members[0], field) == value


def test_every_bad_cell_of_a_row_is_named() -> None:
    assert rejected(HEADER + "m 1,org 1,p 1,,a b,13,yesterday,gone\n") == [(2, column) for column in COLUMNS]


def test_a_member_who_stands_twice_counts_once_and_the_reason_names_the_first_row() -> None:
    text = HEADER + GOOD + GOOD.replace("m-1", "m-2") + GOOD.replace("李建国", "王芳")
    assert rejected(text) == [(4, "member_id")]
    assert [member.name for member in taken(text)] == ["李建国", "李建国"]
    reasons = [item.reason for item in parse_members(text.encode()) if isinstance(item, Rejection)]
    assert "row 2" in reasons[0].en
    assert "第 2 行" in reasons[0].zh


def test_two_bad_ids_are_bad_and_not_duplicates() -> None:
    reasons = [item.reason.en for item in parse_members((HEADER + GOOD.replace("m-1", "m 1") * 2).encode())
               if isinstance(item, Rejection)]  # fmt: skip
    assert len(reasons) == 2
    assert not any("already" in reason for reason in reasons)


def test_a_reason_shows_the_cell_shortened_and_printable() -> None:
    refusal = next(iter(parse_members(with_cell("org_id", "x\x1b[31m" + "y" * 500).encode())))
    assert isinstance(refusal, Rejection)
    assert "\x1b" not in refusal.reason.en
    assert len(refusal.reason.en) < 120


def test_what_is_written_is_read_back_equal() -> None:
    members = list(generate(seed=1, members=500, orgs=20))
    stream = io.StringIO(newline="")
    assert write_members(stream, members) == 500
    assert taken(stream.getvalue()) == members
    assert rejected(stream.getvalue()) == []


cells = st.sampled_from(
    ["m-1", "m-2", "org-001", "李", "劳模", "9", "1998-03-01", "active", "", " ", "|", '"', '""', "13", "\u3000", "\r", "ß"]
) | st.text(max_size=10)


@given(st.lists(st.lists(cells, min_size=6, max_size=9).map(",".join), max_size=10).map("\n".join))
@settings(max_examples=200)
def test_no_content_raises_and_only_sound_members_come_through(text: str) -> None:
    found = list(parse_members((HEADER + text).encode("utf-8", "surrogatepass")))
    members = [item.member for item in found if isinstance(item, MemberRow)]
    assert len({member.member_id for member in members}) == len(members)
    stream = io.StringIO(newline="")
    write_members(stream, members)
    assert taken(stream.getvalue()) == members
