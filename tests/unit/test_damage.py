"""Text that a spreadsheet has destroyed is told from text as written."""

import secrets

import pytest

from grab_service.files.codes_csv import CodeRow, parse_codes
from grab_service.files.csv_rows import SEPARATORS, Rejection, whole_rows
from grab_service.files.damage import all_rounded, damage_of, damage_of_day
from grab_service.files.members_csv import COLUMNS, MemberRow, parse_members

DAMAGED = [
    *("1.23457E+15", "1.23457e+15", "1E+05", "1,23457E+15", "-1.2E-05"),
    *("#REF!", "#N/A", "#VALUE!", "#NAME?", "#DIV/0!", "#NULL!", "#NUM!", "########"),
    *('="0012"', "=VLOOKUP(A1;B:C;2)", "=A1", "'0012", "’0012"),
    *("123456.0", "42.00", "1,234,567", "12,345.00"),
    *("TRUE", "FALSE"),
    *("5-Mar", "Mar-05", "05-Mar-2026", "3月5日", "2026年3月5日", "2026/3/5", "3/5/26", "03/05/2026", "2026-03-05 00:00:00"),
    "123456789012345000",
]
SOUND = [
    *("AB12-CD34", "0012", "1234567890123456", "1234567890123450", "12E34567", "5E12", "E+05", "A1", "#1", "##", "=1+1"),
    *("TRUE1", "true", "5-MAR-X", "MAR-05", "2026-0305", "1.5.2", "3-5", "12,34", "m-000001", "wx:oUpF8uMuAJO", "1.23457E15X"),
]


@pytest.mark.parametrize("cell", DAMAGED)
def test_every_mark_of_damage_is_known_and_says_what_to_do(cell: str) -> None:
    said = damage_of(cell)
    assert said is not None
    assert said.en.startswith("a spreadsheet ")
    assert "export it anew" in said.en
    assert said.zh.startswith("表格软件")


@pytest.mark.parametrize("cell", SOUND)
def test_what_somebody_wrote_is_left_alone(cell: str) -> None:
    assert damage_of(cell) is None


def test_long_numbers_that_all_end_in_zeros_were_rounded_and_one_alone_proves_nothing() -> None:
    assert all_rounded(["1234567890123450", "1234567890123460", "short"])
    assert not all_rounded(["1234567890123450", "1234567890123461"])
    assert not all_rounded(["1234567890123450"])
    damaged = list(parse_codes(b"code\n1234567890123450\n1234567890123460\nAB12\n"))
    assert [type(item) for item in damaged] == [Rejection, Rejection, CodeRow]
    genuine = "\n".join(str(10**15 + secrets.randbelow(9 * 10**15)) for _ in range(200))
    rejected = [item for item in parse_codes(f"code\n{genuine}1\n".encode()) if isinstance(item, Rejection)]
    assert not [item for item in rejected if "zeros" in item.reason.en]


@pytest.mark.parametrize("cell", ["45123", "45123.5", "2026-03-05 00:00:00", "2026/3/5 0:00", "#####", "4.5E+04"])
def test_a_day_that_a_spreadsheet_has_made_a_number_of_is_named(cell: str) -> None:
    assert damage_of_day(cell) is not None
    row = f"m-1,org-1,,张三,,,{cell},active"
    (rejection,) = parse_members(f"{','.join(COLUMNS)}\n{row}\n".encode())
    assert isinstance(rejection, Rejection)
    assert rejection.field == "joined_on"
    assert rejection.reason.en.count(";") == 1


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("cell", ["1.23457E+15", "#REF!", "42.0", "2026/3/5", "TRUE"])
def test_no_damaged_id_comes_in_through_any_column(place: int, cell: str) -> None:
    cells = ["m-1", "org-1", "p-1", "张三", "", "", "", "active"]
    cells[place] = cell
    (rejection,) = parse_members(f"{','.join(COLUMNS)}\n{','.join(cells)}\n".encode())
    assert isinstance(rejection, Rejection)
    assert (rejection.field, "spreadsheet" in rejection.reason.en) == (COLUMNS[place], True)


@pytest.mark.parametrize("separator", SEPARATORS)
def test_another_separator_is_one_reason_for_the_whole_file(separator: str) -> None:
    row = separator.join(["m-1", "org-1", "", "张三", "", "", "", "active"])
    rows = [separator.join(COLUMNS), *[row] * 9]
    (rejection,) = parse_members("\n".join(rows).encode())
    assert isinstance(rejection, Rejection)
    assert (rejection.row, rejection.field, rejection.of_file) == (1, None, True)
    assert "must be by commas" in rejection.reason.en
    (first,) = parse_codes(f"code{separator}note\nA1{separator}x\n".encode())
    assert isinstance(first, Rejection)
    assert first.of_file


def test_the_line_that_tells_a_spreadsheet_its_separator_is_named() -> None:
    (rejection,) = parse_codes(b"sep=;\ncode\nA1\n")
    assert isinstance(rejection, Rejection)
    assert "take out the first row" in rejection.reason.en


def test_a_file_of_rejected_rows_can_be_taken_again_with_its_notes() -> None:
    file = "code,rejected_row,rejected_because\nA1,7,code: there were spaces\n"
    assert list(parse_codes(file.encode())) == [CodeRow(2, "A1")]


def test_rows_are_found_whole_by_the_numbers_that_a_spreadsheet_shows() -> None:
    data = b'\xef\xbb\xbfCode,Note\r\nA1,"two\r\nlines"\r\nA2,x\r\n"open,y\r\nA3,\xff\r\n'
    header, rows = whole_rows(data, {2, 3, 5})
    assert header == ["code", "note"]
    assert rows[2] == ["A1", "two\r\nlines"]
    assert rows[3] == ["A2", "x"]
    assert rows[5] == ["A3", "�"]


def test_rare_characters_of_names_come_in_by_a_file() -> None:
    rows = ["m-1,org-1,,测试,,,,active", "m-2,org-1,,测试\U00020bb7\U0003106c,,,,active", "m-3,org-1,,\U000f0001,,,,active"]
    assert all(isinstance(item, MemberRow) for item in parse_members("\n".join([",".join(COLUMNS), *rows]).encode()))
