"""Text of others as CSV that is safe to open in a spreadsheet.

A spreadsheet carries out a cell that begins like a formula. Where a cell begins is its own affair: in much of the world it
splits at `;`, and then a quote in the midst of what it takes for a cell means nothing to it. So every possible beginning of
such a cell is made harmless, also inside of our cells.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final

# Wide signs are what a Chinese keyboard writes, and a spreadsheet may take them for narrow ones; some pass over blanks before
# either.
_BEGINS_A_FORMULA: Final = re.compile(r"(^|[;\t\r\n])(?=\s*[=+\-@＝＋－＠]|[\t\r])")
# By RFC 4180 and, beyond it, what spreadsheets split at.
_NEEDS_QUOTES: Final = re.compile(r'[",;\t\r\n]')


def harmless(cell: str) -> str:
    """The cell, with an apostrophe before whatever a spreadsheet would take for a formula."""
    return _BEGINS_A_FORMULA.sub(r"\1'", cell)


def csv_lines(rows: Iterable[Sequence[str | int | None]]) -> str:
    """These rows as CSV, all text in them harmless."""
    return "".join(",".join(map(_written, row)) + "\r\n" for row in rows)


def _written(cell: str | int | None) -> str:
    if not isinstance(cell, str):
        return "" if cell is None else str(cell)
    cell = harmless(cell)
    return '"' + cell.replace('"', '""') + '"' if _NEEDS_QUOTES.search(cell) else cell
