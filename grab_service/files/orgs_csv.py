"""CSV files of unions, with the columns `org_id,name`: the unions, and the rows that name none."""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TextIO

from grab_service.files.csv_rows import Rejection, read_rows, shown
from grab_service.files.damage import damage_of
from grab_service.problems import Text
from grab_service.vocabulary.identifiers import is_org_id
from grab_service.vocabulary.invisible import words_for
from grab_service.vocabulary.members import Org
from grab_service.vocabulary.names import ORG_NAME_MAX, NameRefusedError, tidy_name

COLUMNS = ("org_id", "name")


@dataclass(frozen=True, slots=True)
class OrgRow:
    """A union, and the row of the file where it stands."""

    row: int
    org: Org


def parse_orgs(data: bytes) -> Iterator[OrgRow | Rejection]:
    """The unions of a file and the rejections, in the order of rows; streaming, and never raising on content."""
    rows_by_org_id: dict[str, int] = {}
    for item in read_rows(data, COLUMNS):
        if isinstance(item, Rejection):
            yield item
            continue
        org_id = item.cells[0]
        first_row = rows_by_org_id.setdefault(org_id, item.row)
        hurt = damage_of(org_id)
        if hurt is not None:
            yield Rejection(item.row, "org_id", hurt)
        elif not is_org_id(org_id):
            reason = Text(
                f"应为 1 到 32 位字母、数字、_ 或 -，实为“{shown(org_id)}”",
                f"must be 1 to 32 letters, digits, _ or -, not “{shown(org_id)}”",
            )
            yield Rejection(item.row, "org_id", reason)
        elif first_row != item.row:
            reason = Text(f"和第 {first_row} 行重复", f"stands in row {first_row} already")
            yield Rejection(item.row, "org_id", reason)
        else:
            try:
                name = tidy_name(item.cells[1], ORG_NAME_MAX)
            except NameRefusedError as refused:
                few = Text(f"应为 1 到 {ORG_NAME_MAX} 个可见的字", f"must be 1 to {ORG_NAME_MAX} visible characters")
                yield Rejection(item.row, "name", words_for(str(refused.what)) if refused.kind == "unseen" else few)
            else:
                yield OrgRow(item.row, Org(org_id, name))


def write_orgs(stream: TextIO, orgs: Iterable[Org]) -> None:
    """Writes unions as a file that `parse_orgs` reads back equal; open the stream with `newline=""` and UTF-8."""
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((org.org_id, org.name) for org in orgs)
