"""The report of rejected rows of a file."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from grab_service.cli.files import written
from grab_service.cli.terminal import WIDTH_OF_A_PIPE, note
from grab_service.files.csv_rows import NOTES, Rejection, whole_rows
from grab_service.http.safe_csv import csv_lines


def as_json(rejected: Sequence[Rejection]) -> list[dict[str, Any]]:
    """All of them, as the calls over HTTP give them."""
    return [dict(rejection.in_language("en")) for rejection in rejected]


def show_rejections(rejected: Sequence[Rejection], most: int, where: Path | None) -> None:
    """A table of the first of them on standard error, and how many more there are."""
    if not rejected:
        return
    table = Table(title="Rows that were not taken", title_justify="left", box=None, pad_edge=False)
    table.add_column("row", justify="right", no_wrap=True)
    table.add_column("field", no_wrap=True)
    table.add_column("reason", overflow="fold")
    for rejection in rejected[:most]:
        table.add_row(str(rejection.row), rejection.field or "", Text(str(rejection.in_language("en")["reason"])))
    width = None if sys.stderr.isatty() else WIDTH_OF_A_PIPE
    Console(stderr=True, highlight=False, width=width).print(table)
    if len(rejected) > most:
        more = f"and {len(rejected) - most:,} more"
        note(f"{more}, all of them in {where}." if where else f"{more}; `--rejected FILE` writes down all of them.")


def write_rejections(rejected: Sequence[Rejection], where: Path | None, data: bytes) -> None:
    """The rows of a file that were not taken, whole and with the reason beside them, if a file was named.

    It can be mended and imported as it is: the columns that are added are passed over.
    """
    if where is None:
        return
    because: dict[int, list[str]] = {}
    for one in rejected:
        because.setdefault(one.row, []).append(f"{one.field}: {one.reason.en}" if one.field else one.reason.en)
    header, rows = whole_rows(data, because)
    kept = [place for place, name in enumerate(header) if name not in NOTES]
    with written(where) as stream:
        stream.write(csv_lines([(*(header[place] for place in kept), *NOTES)]))
        for number, reasons in sorted(because.items()):
            cells = rows.get(number, [])
            own = (cells[place] if place < len(cells) else "" for place in kept)
            stream.write(csv_lines([(*own, number, "; ".join(reasons))]))
