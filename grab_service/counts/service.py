"""Reading of what was won, refused and opened in a campaign.

Two sources: the claims on record, which came from the log and are exact, and the sums of what the workers counted. The latter
are lower bounds, for a worker that is killed takes its last second along. Whoever shows a figure says which of the two it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import BigInteger, cast, func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncConnection

from grab_service.sql.tables import claims, counts
from grab_service.vocabulary.counts import OPENED
from grab_service.vocabulary.outcomes import Outcome, Undecided

EXACT: Final = ("won",)
LOWER_BOUND: Final = ("opened", "refused", "shed")
SPAN_S: Final = 3600
"""Seconds that are read at once."""

_NO_REFUSALS: Final = frozenset({OPENED, Outcome.WON.value, Outcome.HELD.value})
_SHED: Final = Undecided.OVERLOADED.value


@dataclass(slots=True)
class Second:
    """What happened in one second; the figures of EXACT are exact, those of LOWER_BOUND lower bounds.

    Attributes:
        won: claims granted, by the clock of the cell.
        opened: pages of the campaign that members opened.
        refused: grabs that got nothing, by the slug of the problem; those that were shed are not among them.
        shed: grabs that were refused because there were too many.
    """

    won: int = 0
    opened: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    shed: int = 0

    def add(self, outcome: str, n: int) -> None:
        """What workers counted; claims and repeats of them are on record."""
        if outcome == OPENED:
            self.opened += n
        elif outcome == _SHED:
            self.shed += n
        elif outcome not in _NO_REFUSALS:
            self.refused[outcome.replace("_", "-")] = n


async def read_seconds(connection: AsyncConnection, campaign_id: str, from_second: int) -> Mapping[int, Second]:
    """Unix second → what happened, in order, for `SPAN_S` seconds; only those in which anything did."""
    found: dict[int, Second] = {}
    until_second = from_second + SPAN_S
    second = literal_column("granted_at_ms / 1000", BigInteger)
    won = (
        select(second, func.count())
        .where(claims.c.campaign_id == campaign_id)
        .where(claims.c.granted_at_ms >= from_second * 1000, claims.c.granted_at_ms < until_second * 1000)
        .group_by(second)
    )
    for at, n in await connection.execute(won):
        found.setdefault(at, Second()).won = n
    counted = (
        select(counts.c.second, counts.c.outcome, counts.c.n)
        .where(counts.c.campaign_id == campaign_id)
        .where(counts.c.second >= from_second, counts.c.second < until_second)
        .order_by(counts.c.second, counts.c.outcome)
    )
    for at, outcome, n in await connection.execute(counted):
        found.setdefault(at, Second()).add(outcome, n)
    return {at: one for at, one in sorted(found.items()) if one != Second()}


async def read_sums(connection: AsyncConnection, campaign_id: str) -> Second:
    """The sums of what the workers counted in the whole campaign."""
    total = Second()
    counted = (
        select(counts.c.outcome, cast(func.sum(counts.c.n), BigInteger))
        .where(counts.c.campaign_id == campaign_id)
        .group_by(counts.c.outcome)
        .order_by(counts.c.outcome)
    )
    for outcome, n in await connection.execute(counted):
        total.add(outcome, n)
    return total
