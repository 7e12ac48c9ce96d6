"""An import takes the codes of a file, each once, and names the rows that hold none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grab_service.files.codes_csv import CodeRow, parse_codes
from grab_service.files.csv_rows import Rejection


def taken(data: bytes) -> list[str]:
    return [item.code for item in parse_codes(data) if isinstance(item, CodeRow)]


def rejected(data: bytes) -> list[tuple[int, str | None]]:
    return [(item.row, item.field) for item in parse_codes(data) if isinstance(item, Rejection)]


def test_codes_are_taken_in_order_and_as_they_are_written() -> None:
    assert taken(b"code\nAbc-123\n  xyz  \r\nhttps://e.example/?c=1&d=2\n") == [
        "Abc-123",
        "xyz",
        "https://e.example/?c=1&d=2",
    ]


def test_a_code_keeps_the_row_where_it_stands() -> None:
    assert list(parse_codes(b"code\nA\nB\n")) == [CodeRow(2, "A"), CodeRow(3, "B")]


@pytest.mark.parametrize(
    "cell",
    [
        b"",
        b'""',
        b"a b",
        b"a\tb",
        b'"a\nb"',
        b"x" * 65,
        "a\u200bb".encode(),
        "a\u3000b".encode(),
        "a\u00a0b".encode(),
        b"a\x07",
    ],
)
def test_what_is_no_code_is_named_and_the_others_are_taken(cell: bytes) -> None:
    data = b"code\nA\n" + cell + b"\nB\n"
    assert rejected(data) == [(3, "code")]
    assert taken(data) == ["A", "B"]


def test_a_code_of_the_greatest_length_is_taken() -> None:
    assert taken(b"code\n" + b"x" * 64) == ["x" * 64]


def test_a_code_that_stands_twice_is_taken_once_and_case_counts() -> None:
    data = b"code\nA\na\nA\n A \n"
    assert taken(data) == ["A", "a"]
    assert rejected(data) == [(4, "code"), (5, "code")]
    reasons = [item.reason.en for item in parse_codes(data) if isinstance(item, Rejection)]
    assert all("row 2" in reason for reason in reasons)


def test_a_row_with_two_columns_is_named() -> None:
    assert rejected(b"code\nA,B\n") == [(2, None)]


def test_a_file_without_the_header_is_refused_as_a_whole() -> None:
    found = list(parse_codes(b"A1\nA2\n"))
    assert all(isinstance(item, Rejection) and item.of_file for item in found)
    assert rejected(b"A1\nA2\n") == [(1, "a1"), (1, "code")]


def test_empty_rows_at_the_end_are_nothing() -> None:
    assert rejected(b"code\nA\n\n\r\n  \n") == []


@given(st.binary(max_size=200).map(lambda data: b"code\n" + data))
def test_no_bytes_raise_and_no_code_comes_twice_or_with_a_separator(data: bytes) -> None:
    codes = taken(data)
    assert len(set(codes)) == len(codes)
    assert all(1 <= len(code) <= 64 and not set(code) & set(" \t\r\n\0") for code in codes)
