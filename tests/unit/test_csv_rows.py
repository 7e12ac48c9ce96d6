"""Files of spreadsheets are read row by row, and every broken row is named."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grab_service.files import csv_rows
from grab_service.files.csv_rows import Rejection, Row, read_rows

BOM = b"\xef\xbb\xbf"
AB = ("a", "b")


def rows(data: bytes, columns: tuple[str, ...] = AB) -> list[tuple[int, tuple[str, ...]]]:
    found = list(read_rows(data, columns))
    assert all(isinstance(item, Row) for item in found), found
    return [(item.row, item.cells) for item in found if isinstance(item, Row)]


def rejected(data: bytes, columns: tuple[str, ...] = AB) -> list[tuple[int, str | None]]:
    return [(item.row, item.field) for item in read_rows(data, columns) if isinstance(item, Rejection)]


def accepted(data: bytes, columns: tuple[str, ...] = AB) -> list[int]:
    return [item.row for item in read_rows(data, columns) if isinstance(item, Row)]


@pytest.mark.parametrize(
    "data",
    [
        b"a,b\n1,2\n3,4\n",
        b"a,b\n1,2\n3,4",
        b"a,b\r\n1,2\r\n3,4\r\n",
        b"a,b\r1,2\r3,4\r",
        BOM + b"a,b\n1,2\n3,4\n",
        BOM + b'"a","b"\r\n"1","2"\r\n"3","4"\r\n',
        b" A , B \n 1 ,2 \n\t3,4\n",
        b"b,a\n2,1\n4,3\n",
        b"a,b,,\n1,2,,\n3,4,,\n",
        b"a,b\n1,2,\n3,4,,,\n",
        b"a,b\n1,2\n3,4\n\n,\n  \n,,,\n",
    ],
)
def test_however_a_spreadsheet_writes_it_the_rows_are_the_same(data: bytes) -> None:
    assert rows(data) == [(2, ("1", "2")), (3, ("3", "4"))]


def test_quoted_cells_hold_commas_quotes_and_line_breaks_and_rows_count_as_a_spreadsheet_counts() -> None:
    data = 'a,b\n"1,1","say ""hi"""\n"two\r\nlines","中文"\n3,4\n'.encode()
    assert rows(data) == [(2, ("1,1", 'say "hi"')), (3, ("two\r\nlines", "中文")), (4, ("3", "4"))]


def test_a_quote_that_is_never_closed_costs_its_own_row_only() -> None:
    data = b'a,b\n"1,2\n' + b"3,4\n" * 50
    assert rejected(data) == [(2, None)]
    assert accepted(data) == list(range(3, 53))


def test_a_quote_inside_a_cell_costs_no_other_row() -> None:
    data = b'a,b\n5" nail,1\n3,4\n6" nail,2\n'
    assert [item.row for item in read_rows(data, AB)] == [2, 3, 4]
    assert accepted(data) == [2, 3, 4]


def test_empty_rows_in_between_are_passed_over_but_counted() -> None:
    assert rows(b"a,b\n\n1,2\n,\n\n3,4\n") == [(3, ("1", "2")), (6, ("3", "4"))]


def test_in_a_single_column_an_empty_row_in_between_is_a_missing_value() -> None:
    assert rows(b"a\n\n1\n\xe3\x80\x80\n\n2\n\n\n", ("a",)) == [
        (2, ("",)),
        (3, ("1",)),
        (4, ("",)),
        (5, ("",)),
        (6, ("2",)),
    ]


@pytest.mark.parametrize("row", [b"1", b"1,2,3", b'"1,2"', b"1;2"])
def test_a_row_with_another_number_of_columns_is_named(row: bytes) -> None:
    data = b"a,b\n1,2\n" + row + b"\n3,4\n"
    assert rejected(data) == [(3, None)]
    assert accepted(data) == [2, 4]


@pytest.mark.parametrize("row", [b"\xff\xfe,2", b"\xc0\xaf,2", b"\xed\xa0\x80,2", b"1\x00,2", b'"1"x,2', b"x" * 9000 + b",2"])
def test_a_row_that_cannot_be_read_is_named_and_the_others_are_taken(row: bytes) -> None:
    data = "a,b\n李,2\n王,2\n".encode() + row + b"\n3,4\n"
    assert rejected(data) == [(4, None)]
    assert accepted(data) == [2, 3, 5]


def only_rejection(data: bytes) -> Rejection:
    found = list(read_rows(data, AB))
    assert len(found) == 1
    assert isinstance(found[0], Rejection)
    assert found[0].of_file
    return found[0]


@pytest.mark.parametrize(
    ("data", "field", "says"),
    [(b"a,b,colour\n1,2,3\n", "colour", "a,b"), (b"a\n1\n", "b", "missing"), (b"a,b,a\n1,2,3\n", "a", "twice")],
    ids=["unknown", "missing", "twice"],
)
def test_a_column_that_does_not_fit_is_named(data: bytes, field: str, says: str) -> None:
    refusal = only_rejection(data)
    assert (refusal.row, refusal.field) == (1, field)
    assert says in refusal.reason.en


@pytest.mark.parametrize("data", [b"", BOM, b"\n", b",,\n", b"\n\na,b\n1,2\n"])
def test_a_file_without_a_header_in_its_first_row_names_what_is_missing(data: bytes) -> None:
    found = list(read_rows(data, AB))
    assert [(item.row, item.field) for item in found if isinstance(item, Rejection) and item.of_file] == [
        (1, "a"),
        (1, "b"),
    ]
    assert len(found) == 2


def test_a_header_that_cannot_be_read_refuses_the_file() -> None:
    assert only_rejection(b'a,"b\n1,2\n').row == 1
    assert only_rejection(b"a,\xffb\n1,2\n").row == 1


def test_what_excel_writes_by_default_in_china_is_recognised() -> None:
    text = "a,b\n" + "".join(f"李建国{n},第一中学工会\n" for n in range(20))
    refusal = only_rejection(text.encode("gb18030"))
    assert "GB18030" in refusal.reason.en
    assert "UTF-8" in refusal.reason.zh


def test_one_broken_name_does_not_make_a_file_gb18030() -> None:
    data = "a,b\n李,1\n王,2\n".encode() + "张".encode("gb18030") + b",3\n"
    assert rejected(data) == [(4, None)]
    assert accepted(data) == [2, 3]


@pytest.mark.parametrize(
    ("data", "word"),
    [
        ("a,b\n1,2\n".encode("utf-16"), "UTF-16"),
        (b"PK\x03\x04whatever", "Excel"),
    ],
)
def test_a_file_of_another_kind_is_called_what_it_is(data: bytes, word: str) -> None:
    assert word in only_rejection(data).reason.en


def test_a_file_that_is_too_large_is_not_read() -> None:
    assert "larger" in only_rejection(b"a,b\n" + b"\n" * csv_rows.BYTES_MAX).reason.en


def test_rows_beyond_the_bound_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_rows, "ROWS_MAX", 3)
    found = list(read_rows(b"a,b\n" + b"1,2\n" * 10, AB))
    assert [item.row for item in found] == [2, 3, 4, 5]
    assert isinstance(found[-1], Rejection)
    assert found[-1].of_file


def test_empty_rows_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_rows, "ROWS_MAX", 3)
    assert only_rejection(b"a,b\n" + b"\n" * 10).row == 5


def test_errors_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_rows, "REJECTIONS_MAX", 3)
    found = list(read_rows(b"a,b\n" + b"1\n" * 10, AB))
    assert [item.row for item in found] == [2, 3, 4, 4]
    assert isinstance(found[-1], Rejection)
    assert found[-1].of_file


def test_a_rejection_is_said_in_both_languages() -> None:
    zh, en = (next(iter(read_rows(b"a\n", AB))), next(iter(read_rows(b"a\n", AB))))
    assert isinstance(zh, Rejection)
    assert isinstance(en, Rejection)
    assert zh.in_language("zh") == {"row": 1, "field": "b", "reason": "表头缺少这一列"}
    assert en.in_language("en") == {"row": 1, "field": "b", "reason": "this column is missing from the header"}


def test_a_cell_reaches_over_a_few_lines_and_not_over_the_rest_of_the_file() -> None:
    def with_lines(count: int) -> bytes:
        return b'a,b\n1,"' + b"x\n" * (count - 1) + b'x"\n3,4\n'

    assert [row for row, _ in rows(with_lines(csv_rows.LINES_PER_ROW_MAX))] == [2, 3]
    assert rejected(with_lines(csv_rows.LINES_PER_ROW_MAX + 1))[0] == (2, None)


# Text of a cell that is the same after the spaces around it are gone.
cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20).filter(
    lambda text: text == text.strip()
)


@given(st.lists(st.tuples(cells, cells).filter(lambda pair: any(cell.strip(", \t\r\n") for cell in pair)), max_size=8))
def test_whatever_is_written_as_csv_is_read_back(pairs: list[tuple[str, str]]) -> None:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, quoting=csv.QUOTE_ALL)
    writer.writerows([AB, *pairs])
    assert rows(stream.getvalue().encode()) == [(row, pair) for row, pair in enumerate(pairs, start=2)]


fragments = st.sampled_from(
    [b"a,b\n", b'"', b",", b"\n", b"\r", b"\r\n", b"\0", b"\xff", BOM, b"1,2\n", "李".encode(), "李".encode("gbk"), b'""']
)


@given(st.binary(max_size=200) | st.lists(fragments, max_size=30).map(lambda parts: b"a,b\n" + b"".join(parts)))
@settings(max_examples=500)
def test_no_bytes_raise_and_rows_only_rise(data: bytes) -> None:
    numbers = [item.row for item in read_rows(data, AB)]
    assert numbers == sorted(numbers)
    assert all(number >= 1 for number in numbers)
