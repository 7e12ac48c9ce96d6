"""CSV files of third-party voucher codes: the codes, and the rows that hold none.

One column, `code`. Codes are kept as they are written: case and punctuation are the third party's business.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from grab_service.files.csv_rows import Rejection, Row, read_rows, shown
from grab_service.files.damage import all_rounded, damage_of
from grab_service.problems import Text
from grab_service.vocabulary.invisible import unseen_in, words_for

COLUMNS = ("code",)
CODE_MAX = 64


@dataclass(frozen=True, slots=True)
class CodeRow:
    """A code, and the row of the file where it stands."""

    row: int
    code: str


def parse_codes(data: bytes) -> Iterator[CodeRow | Rejection]:
    """The codes of a file and the rejections, in the order of rows; streaming, and never raising on content.

    Of a code that stands twice, the first row is taken.
    """
    rows_by_code: dict[str, int] = {}
    rounded = all_rounded(item.cells[0] for item in read_rows(data, COLUMNS) if isinstance(item, Row))
    for item in read_rows(data, COLUMNS):
        if isinstance(item, Rejection):
            yield item
            continue
        code = item.cells[0]
        reason = _refusal(code, rounded)
        first_row = rows_by_code.setdefault(code, item.row) if reason is None else item.row
        if first_row != item.row:
            reason = Text(f"和第 {first_row} 行重复", f"stands in row {first_row} already")
        yield CodeRow(item.row, code) if reason is None else Rejection(item.row, "code", reason)


def _refusal(code: str, rounded: bool) -> Text | None:
    if not code:
        return Text("券码不能为空", "a code cannot be empty")
    hurt = damage_of(code, rounded=rounded)
    if hurt is not None:
        return hurt
    if len(code) > CODE_MAX:
        return Text(f"券码最多 {CODE_MAX} 个字符", f"a code has at most {CODE_MAX} characters")
    unseen = unseen_in(code)
    if unseen is not None:
        return words_for(unseen)
    # Wide spaces and characters of no font are not printable either: nobody can type them.
    if not code.isprintable() or " " in code:
        return Text(
            f"券码里有空格或不可见的字符：“{shown(code)}”", f"there are spaces or invisible characters in “{shown(code)}”"
        )
    return None
