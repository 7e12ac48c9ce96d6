"""CSV files of members: the members, and the rows that name none.

The columns are `member_id,org_id,person_id,name,tags,birthday_month,joined_on,status`, all of them, in any order: a
column that is not there must not empty what is known of a member. `person_id`, `tags`, `birthday_month` and `joined_on`
may be empty cells; tags are separated by `|`. Whether a union exists is for the caller to know.
"""

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import TextIO

from grab_service.files.csv_rows import Rejection, read_rows, shown
from grab_service.files.damage import damage_of, damage_of_day
from grab_service.problems import Text
from grab_service.vocabulary.identifiers import is_member_id, is_org_id
from grab_service.vocabulary.invisible import words_for
from grab_service.vocabulary.members import Member, MemberStatus
from grab_service.vocabulary.names import PERSON_NAME_MAX, NameRefusedError, tidy_name, tidy_tags

COLUMNS = ("member_id", "org_id", "person_id", "name", "tags", "birthday_month", "joined_on", "status")

_STATUS = {status.value: status for status in MemberStatus}
_MONTHS = {text: month for month in range(1, 13) for text in (str(month), f"{month:02}")}
# Year first; spreadsheets turn the hyphens into slashes and drop the zeros.
_DAY = re.compile(r"(19[0-9]{2}|20[0-9]{2})([-/])([0-9]{1,2})\2([0-9]{1,2})")


@dataclass(frozen=True, slots=True)
class MemberRow:
    """A member, and the row of the file where they stand."""

    row: int
    member: Member


class _BadCell(Exception):  # noqa: N818  # never leaves this module
    def __init__(self, zh: str, en: str) -> None:
        super().__init__(en)
        self.reason = Text(zh, en)


def parse_members(data: bytes) -> Iterator[MemberRow | Rejection]:
    """The members of a file and the rejections, in the order of rows; streaming, and never raising on content.

    A row with several bad cells gives a rejection for each. The first row of a member id counts, later ones are rejected,
    also if the first was rejected for another cell.
    """
    rows_by_member_id: dict[str, int] = {}
    for item in read_rows(data, COLUMNS):
        if isinstance(item, Rejection):
            yield item
            continue
        member_id = item.cells[0]
        first_row = rows_by_member_id.setdefault(member_id, item.row)
        if first_row != item.row and is_member_id(member_id):
            yield Rejection(item.row, "member_id", Text(f"和第 {first_row} 行重复", f"stands in row {first_row} already"))
            continue
        member = _member(item.cells)
        if isinstance(member, Member):
            yield MemberRow(item.row, member)
        else:
            yield from (Rejection(item.row, field, reason) for field, reason in member)


def write_members(stream: TextIO, members: Iterable[Member]) -> int:
    """Writes members as a file that `parse_members` reads back equal, streaming; returns how many.

    The stream should be opened with `newline=""` and UTF-8.
    """
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    count = 0
    for count, member in enumerate(members, start=1):  # noqa: B007  # the count is what is returned
        writer.writerow(
            (
                member.member_id,
                member.org_id,
                member.person_id or "",
                member.name,
                "|".join(member.tags),
                member.birthday_month or "",
                member.joined_on or "",
                member.status.value,
            )
        )
    return count


def _member(cells: tuple[str, ...]) -> Member | list[tuple[str, Text]]:
    """The member, or every bad cell."""
    member_id, org_id, person_id, name, tags, birthday_month, joined_on, status = cells
    try:
        return Member(
            member_id=_member_id(member_id),
            org_id=_org_id(org_id),
            person_id=_person_id(person_id),
            name=_name(name),
            tags=_tags(tags),
            birthday_month=_birthday_month(birthday_month),
            joined_on=_joined_on(joined_on),
            status=_status(status),
        )
    except _BadCell:
        pass
    bad: list[tuple[str, Text]] = []
    checks = (_member_id, _org_id, _person_id, _name, _tags, _birthday_month, _joined_on, _status)
    for column, check, cell in zip(COLUMNS, checks, cells, strict=True):
        try:
            check(cell)
        except _BadCell as refused:
            bad.append((column, refused.reason))
    return bad


def _undamaged(cell: str) -> None:
    hurt = damage_of(cell)
    if hurt is not None:
        raise _BadCell(hurt.zh, hurt.en)


def _member_id(cell: str) -> str:
    _undamaged(cell)
    if not is_member_id(cell):
        raise _BadCell(
            f"应为 1 到 64 位字母、数字、_、: 或 -，实为“{shown(cell)}”",
            f"must be 1 to 64 letters, digits, _, : or -, not “{shown(cell)}”",
        )
    return cell


def _org_id(cell: str) -> str:
    _undamaged(cell)
    if not is_org_id(cell):
        raise _BadCell(
            f"应为 1 到 32 位字母、数字、_ 或 -，实为“{shown(cell)}”",
            f"must be 1 to 32 letters, digits, _ or -, not “{shown(cell)}”",
        )
    return cell


def _person_id(cell: str) -> str | None:
    return _member_id(cell) if cell else None


def _name(cell: str) -> str:
    hurt = damage_of(cell) if cell.startswith("#") else None
    if hurt is not None:
        raise _BadCell(hurt.zh, hurt.en)
    try:
        return tidy_name(cell, PERSON_NAME_MAX)
    except NameRefusedError as refused:
        raise _BadCell(*_words(refused)) from refused


def _words(refused: NameRefusedError) -> tuple[str, str]:
    match refused.kind:
        case "empty":
            return "姓名不能为空", "a member has a name"
        case "too_long":
            return f"姓名最多 {refused.what} 个字", f"a name has at most {refused.what} characters"
        case "too_many":
            return f"最多 {refused.what} 个标签", f"at most {refused.what} tags"
        case "unseen":
            words = words_for(str(refused.what))
            return words.zh, words.en
        case _:
            tag = shown(str(refused.what))
            return (
                f"标签应为 1 到 32 位汉字、字母、数字、_ 或 -，用 | 分隔，实为“{tag}”",
                f"a tag is 1 to 32 letters, digits, Chinese characters, _ or -, set apart by |, not “{tag}”",
            )


def _tags(cell: str) -> tuple[str, ...]:
    try:
        return tidy_tags(cell.split("|"))
    except NameRefusedError as refused:
        raise _BadCell(*_words(refused)) from refused


def _birthday_month(cell: str) -> int | None:
    if cell and cell not in _MONTHS:
        _undamaged(cell)
        raise _BadCell(f"应为 1 到 12，实为“{shown(cell)}”", f"must be 1 to 12, not “{shown(cell)}”")
    return _MONTHS[cell] if cell else None


def _joined_on(cell: str) -> date | None:
    if not cell:
        return None
    parts = _DAY.fullmatch(cell)
    try:
        if parts:
            return date(int(parts[1]), int(parts[3]), int(parts[4]))
    except ValueError:
        pass  # the 30th of February
    hurt = damage_of_day(cell)
    if hurt is not None:
        raise _BadCell(hurt.zh, hurt.en)
    raise _BadCell(f"应为 YYYY-MM-DD 日期，实为“{shown(cell)}”", f"must be a day, YYYY-MM-DD, not “{shown(cell)}”")


def _status(cell: str) -> MemberStatus:
    status = _STATUS.get(cell.lower())
    if status is None:
        raise _BadCell(
            f"应为 active、suspended 或 left，实为“{shown(cell)}”",
            f"must be active, suspended or left, not “{shown(cell)}”",
        )
    return status
