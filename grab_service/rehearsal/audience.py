"""The members of a campaign in a rehearsal: the answer that each must get, and the fields that are copied.

Only the fields that the rules read are copied: no names, no persons, no ids. A member becomes a number.
"""

import csv
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, and_, case, func, or_, select, true
from sqlalchemy.ext.asyncio import AsyncConnection

from grab_service.campaigns.eligible import conditions_of
from grab_service.files.members_csv import COLUMNS
from grab_service.sql.tables import members
from grab_service.vocabulary.campaigns import Eligibility

ROWS_PER_FILE: Final = 20_000
NOBODYS_NAME: Final = "会员"


class Standing(StrEnum):
    """The answer to a member if stock were endless: that they may win, or the problem that says why not."""

    ELIGIBLE = "eligible"
    NOT_ELIGIBLE = "not-eligible"
    BLOCKED = "member-blocked"
    UNKNOWN = "member-unknown"


@dataclass(slots=True)
class Audience:
    """The copied members.

    Attributes:
        files: CSV files to import, of at most `ROWS_PER_FILE` members each.
        eligible: ids of those who may win.
        barred: those who may not, with what they must be told.
    """

    files: list[Path] = field(default_factory=list)
    eligible: list[str] = field(default_factory=list)
    barred: list[tuple[str, Standing]] = field(default_factory=list)

    @property
    def size(self) -> int:
        """The number of members."""
        return len(self.eligible) + len(self.barred)


def standing_of(rules: Eligibility, at_ms: int) -> ColumnElement[str]:
    """The standing of a row of members at a moment, as Postgres works it out and not as Lua does."""
    blocked = or_(members.c.status != "active", members.c.blocked_until_ms > at_ms)
    return case(
        (members.c.status == "left", Standing.UNKNOWN.value),
        (func.coalesce(blocked, False), Standing.BLOCKED.value),
        (func.coalesce(and_(true(), *conditions_of(rules)), False), Standing.ELIGIBLE.value),
        else_=Standing.NOT_ELIGIBLE.value,
    )


async def copy_audience(
    connection: AsyncConnection, rules: Eligibility, at_ms: int, home: Path, on_progress: Callable[[int], None]
) -> Audience:
    """Write the members as CSV files that the service imports; those who have left have no pass and stay away.

    Args:
        connection: in a transaction that only reads.
        rules: of the campaign.
        at_ms: of the real opening: a block that ends before it is none.
        home: where the files go.
        on_progress: called now and then with the number copied.
    """
    audience = Audience()
    async for rows in _pages(connection, rules, at_ms):
        path = home / f"members-{len(audience.files)}.csv"
        with path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(COLUMNS)
            for row in rows:
                writer.writerow(_copied(row, audience))
        audience.files.append(path)
        on_progress(audience.size)
    return audience


async def _pages(connection: AsyncConnection, rules: Eligibility, at_ms: int) -> AsyncIterator[Any]:
    columns = (members.c.org_id, members.c.tags, members.c.birthday_month, members.c.joined_on)
    query = select(standing_of(rules, at_ms).label("standing"), *columns).where(members.c.status != "left")
    result = await connection.stream(query, execution_options={"yield_per": ROWS_PER_FILE})
    async for rows in result.partitions():
        yield rows


def _copied(row: Row[Any], audience: Audience) -> tuple[object, ...]:
    member_id = f"r-{audience.size + 1:07}"
    standing = Standing(row.standing)
    if standing is Standing.ELIGIBLE:
        audience.eligible.append(member_id)
    else:
        audience.barred.append((member_id, standing))
    # A block is told like a suspension, but for its end, which is nobody's business here.
    status = "suspended" if standing is Standing.BLOCKED else "active"
    tags, month, joined_on = "|".join(row.tags), row.birthday_month or "", row.joined_on or ""
    return member_id, row.org_id, "", NOBODYS_NAME, tags, month, joined_on, status
