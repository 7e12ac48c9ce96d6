"""Rows of CSV files that people make, and reports about unreadable ones.

Made for the files of spreadsheets: with or without a byte order mark, CRLF or LF, quoted cells, empty rows at the end,
columns in any order. Row numbers are those that a spreadsheet shows, the header being row 1. Nothing in a file raises;
the sizes are bounded.
"""

import csv
import io
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from grab_service.problems import Text

BYTES_MAX = 64 * 1024 * 1024
ROWS_MAX = 500_000
LINE_BYTES_MAX = 8 * 1024
# A cell with line breaks in it spans that many lines at most; beyond, a quote was never closed, and only its row is lost.
LINES_PER_ROW_MAX = 20
REJECTIONS_MAX = 10_000
SHOWN_MAX = 40
NOTES = ("rejected_row", "rejected_because")
"""Columns that a file of rejected rows has beside its own; they are passed over, so that it can be mended and taken again."""

SEPARATORS = {
    ";": ("分号", "semicolons"),
    "\t": ("制表符", "tabs"),
    "|": ("竖线", "bars"),
    "，": ("中文逗号", "Chinese commas"),
    "；": ("中文分号", "Chinese semicolons"),
    "、": ("顿号", "Chinese enumeration commas"),
}

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Rejection:
    """Rejection of a row, or with `of_file` of the whole file from there on. `field` is None for the whole row."""

    row: int
    field: str | None
    reason: Text
    of_file: bool = False

    def in_language(self, lang: str) -> dict[str, int | str | None]:
        """`{row, field, reason}`, as answers carry it; `lang` is `zh` or `en`."""
        return {"row": self.row, "field": self.field, "reason": self.reason.in_language(lang)}


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its number and its cells, without spaces around them, in the order of the columns asked for."""

    row: int
    cells: tuple[str, ...]


def shown(text: str) -> str:
    """A piece of a file, fit to be shown in a reason: short and printable."""
    short = text if len(text) <= SHOWN_MAX else text[: SHOWN_MAX - 1] + "…"
    return "".join(letter if letter.isprintable() else "�" for letter in short)


def read_rows(data: bytes, columns: Sequence[str]) -> Iterator[Row | Rejection]:
    """The rows of a CSV file whose header names exactly these columns, in any order; streaming.

    Empty rows at the end are passed over; so are those in between, unless there is but one column, where such a row is
    a missing value. After a rejection `of_file` nothing follows.
    """
    rejected = 0
    for item in _rows_of_file(data, columns):
        yield item
        rejected += isinstance(item, Rejection)
        if rejected >= REJECTIONS_MAX:
            zh, en = f"错误达到 {REJECTIONS_MAX} 处，后面的没有再读", f"{REJECTIONS_MAX} errors; what follows was not read"
            yield _of_file(item.row, None, zh, en)
            return


def _rows_of_file(data: bytes, columns: Sequence[str]) -> Iterator[Row | Rejection]:
    unreadable = _refusal_of_file(data)
    if unreadable:
        yield unreadable
        return
    records = _records(data.removeprefix(_BOM))
    header = next(records, None)
    if isinstance(header, Rejection):
        yield replace(header, of_file=True)
        return
    names = [name.lower() for name in header[1]] if header else []
    while names and not names[-1]:
        names.pop()  # spreadsheets like to add empty columns
    other = _other_separator(names, columns)
    if other is not None:
        yield other
        return
    wrong = list(_wrong_names(names, columns))
    if wrong:
        yield from wrong
        return
    places = [names.index(column) for column in columns]
    empty_rows: list[int] = []
    for record in records:
        if not isinstance(record, Rejection) and not record[1]:
            empty_rows.append(record[0])
            continue
        if len(columns) == 1:
            yield from (Row(empty_row, ("",)) for empty_row in empty_rows)
        empty_rows.clear()
        if isinstance(record, Rejection):
            yield record
            continue
        row, cells = record
        if len(cells) < len(names) or any(cells[len(names) :]):
            zh, en = f"应有 {len(names)} 列，实有 {len(cells)} 列", f"has {len(cells)} columns instead of {len(names)}"
            yield Rejection(row, None, Text(zh, en))
            continue
        yield Row(row, tuple([cells[place] for place in places]))


def whole_rows(data: bytes, numbers: Collection[int]) -> tuple[list[str], dict[int, list[str]]]:
    """The header of a file and, by their numbers, whole rows as they stand in it; of one that cannot be read its text."""
    header: list[str] = []
    rows: dict[int, list[str]] = {}
    for number, raw in enumerate(_raw_records(data.removeprefix(_BOM)), start=1):
        if number == 1 or number in numbers:
            text = raw.decode("utf-8", "replace").replace("\0", "")
            rows[number] = _cells(text) or [text]
        if number == 1:
            header = [name.strip().lower() for name in rows.pop(1)]
    return header, rows


def _of_file(row: int, field: str | None, zh: str, en: str) -> Rejection:
    return Rejection(row, field, Text(zh, en), of_file=True)


def _refusal_of_file(data: bytes) -> Rejection | None:
    if len(data) > BYTES_MAX:
        return _of_file(1, None, f"文件超过 {BYTES_MAX} 字节", f"the file is larger than {BYTES_MAX} bytes")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return _of_file(1, None, "文件是 UTF-16 编码，请另存为“CSV UTF-8”", "the file is UTF-16; save it as “CSV UTF-8”")
    if data.startswith(b"PK\x03\x04"):
        return _of_file(1, None, "这是 Excel 工作簿，请另存为“CSV UTF-8”", "this is an Excel workbook; save it as “CSV UTF-8”")
    if _looks_like_gb18030(data):
        return _of_file(
            1,
            None,
            "文件是 GB18030（GBK）编码，请在 Excel 里另存为“CSV UTF-8（逗号分隔）”",
            "the file is encoded in GB18030 (GBK); save it from Excel as “CSV UTF-8 (comma delimited)”",
        )
    return None


def _looks_like_gb18030(data: bytes) -> bool:
    """Whether most lines that go beyond ASCII are no UTF-8, and the whole is GB18030: not just a broken row or two."""
    if data.startswith(_BOM) or data.isascii() or _decoded(data, "utf-8") is not None:
        return False
    foreign = [line for line in io.BytesIO(data) if not line.isascii()]
    broken = sum(_decoded(line, "utf-8") is None for line in foreign)
    return broken * 2 > len(foreign) and _decoded(data, "gb18030") is not None


def _decoded(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return None


def _other_separator(names: list[str], columns: Sequence[str]) -> Rejection | None:
    """One reason for the whole file, if it is cells that are set apart by something else than a comma."""
    header = ",".join(names)
    if header.startswith("sep="):
        zh = f"请删去第一行“{shown(header)}”，并用逗号分隔"
        return _of_file(1, None, zh, f"take out the first row “{shown(header)}”, and set cells apart by commas")
    for separator, (zh, en) in SEPARATORS.items():
        found = [part.strip(' "') for part in header.split(separator)]
        if len(found) > 1 and len(set(found) & set(columns)) >= min(2, len(columns)):
            return _of_file(
                1,
                None,
                f"文件用{zh}分隔，应为逗号；请另存为“CSV UTF-8（逗号分隔）”",
                f"cells are set apart by {en}, and must be by commas; save it as “CSV UTF-8 (comma delimited)”",
            )
    return None


def _wrong_names(names: list[str], columns: Sequence[str]) -> Iterator[Rejection]:
    for place, name in enumerate(names):
        if name in NOTES:
            continue
        if name not in columns:
            known = ",".join(columns)
            yield _of_file(1, shown(name), f"不认识这一列；应为 {known}", f"there is no such column; they are {known}")
        elif name in names[:place]:
            yield _of_file(1, name, "这一列出现了两次", "this column stands twice")
    for column in columns:
        if column not in names:
            yield _of_file(1, column, "表头缺少这一列", "this column is missing from the header")


def _records(data: bytes) -> Iterator[tuple[int, list[str]] | Rejection]:
    """Row number and cells of every row, [] for an empty one; a row that cannot be read is a rejection."""
    for row, raw in enumerate(_raw_records(data), start=1):
        if row - 1 > ROWS_MAX:
            yield _of_file(row, None, f"最多 {ROWS_MAX} 行，后面的没有再读", f"at most {ROWS_MAX} rows; the rest was not read")
            return
        if not raw.strip(b", \t"):
            yield row, []
            continue
        if len(raw) > LINE_BYTES_MAX:
            yield Rejection(row, None, Text("这一行太长", "this row is too long"))
            continue
        text = _decoded(raw, "utf-8")
        cells = _cells(text) if text is not None else None
        if text is None:
            yield Rejection(row, None, Text("这一行不是 UTF-8 编码", "this row is not UTF-8"))
        elif "\0" in text:
            yield Rejection(row, None, Text("这一行含有空字符（NUL）", "this row holds a NUL character"))
        elif cells is None:
            yield Rejection(row, None, Text("这一行的引号或换行不对", "the quotes or line breaks of this row do not match"))
        else:
            yield row, cells


def _cells(text: str) -> list[str] | None:
    """The cells of one row; None if the quotes do not match, or if it is more than one row."""
    if '"' not in text:
        return [cell.strip() for cell in text.split(",")]
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        cells = next(reader)
        return [cell.strip() for cell in cells] if next(reader, None) is None else None
    except csv.Error:
        return None


def _raw_records(data: bytes) -> Iterator[bytes]:
    """The lines, without their ends; those of one quoted cell together, as a spreadsheet counts them."""
    if b"\n" not in data:
        data = data.replace(b"\r", b"\n")  # as old spreadsheets on a Macintosh wrote
    lines = io.BytesIO(data)
    while line := lines.readline():
        yield (_joined(line, lines) if line.count(b'"') % 2 else line).rstrip(b"\r\n")


def _joined(line: bytes, lines: io.BytesIO) -> bytes:
    """The line with those that its open quote reaches over; alone, if no quote closes it soon."""
    after_line = lines.tell()
    joined = line
    for _ in range(LINES_PER_ROW_MAX):
        # Latin-1 reads any bytes, and the structure of UTF-8 text is in its ASCII bytes alone.
        if _cells(joined.decode("latin-1")) is not None:
            return joined
        following = lines.readline()
        if not following or len(joined) + len(following) > LINE_BYTES_MAX:
            break
        joined += following
    lines.seek(after_line)
    return line
