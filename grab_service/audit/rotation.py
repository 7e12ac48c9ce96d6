"""The order in which campaigns have their claims compared one by one, and when that was last done.

An audit has a bound, and a cell may hold more than that. Half of it goes to campaigns that are open or young, the other half to
the one that was compared longest ago; where an audit stops in the midst of a campaign, the next one goes on. The ledger writes
down how far it has come, so that everybody who asks can be told how old the oldest comparison is.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Self

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from grab_service.audit.books import CampaignBooks
from grab_service.sql.tables import comparisons

YOUNG_MS: Final = 24 * 3_600_000
"""A campaign is young for so long after it is over: its members still look at what they have."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where to go on in a campaign: which of its two hashes, and the cursor of HSCAN there."""

    part: int = 0
    cursor: int = 0


BEGINNING: Final = Place()


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one campaign.

    Attributes:
        compared_at_ms: when the last round through all its claims began; None: there was none.
        begun_at_ms: when the round under way began; None: there is none.
        place: where that goes on.
        arming: the nonce of the cell in that round. A cursor of HSCAN means nothing to a server that was started since, and
            without another arming no such server answers.
    """

    compared_at_ms: int | None = None
    begun_at_ms: int | None = None
    place: Place = BEGINNING
    arming: str = ""


@dataclass(slots=True)
class Rotation:
    """What is known of all campaigns; `changed` are those whose state is to be written down."""

    known: dict[str, Known] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)

    @classmethod
    async def read(cls, engine: AsyncEngine) -> Self:
        """As the ledger has written it down."""
        async with engine.connect() as connection:
            rows = await connection.execute(select(comparisons))
            return cls(
                {
                    row.campaign_id: Known(row.compared_at_ms, row.begun_at_ms, Place(row.part, row.cursor), row.arming)
                    for row in rows
                }
            )

    async def write(self, engine: AsyncEngine) -> None:
        """Write down what has changed."""
        rows = []
        for campaign_id in sorted(self.changed):
            known = self.known[campaign_id]
            rows.append(
                {
                    "campaign_id": campaign_id,
                    "compared_at_ms": known.compared_at_ms,
                    "begun_at_ms": known.begun_at_ms,
                    "part": known.place.part,
                    "cursor": known.place.cursor,
                    "arming": known.arming,
                }
            )
        if rows:
            new = insert(comparisons)
            columns = {column.name: column for column in new.excluded if column.name != "campaign_id"}
            async with engine.begin() as connection:
                await connection.execute(new.on_conflict_do_update(index_elements=["campaign_id"], set_=columns), rows)
        self.changed.clear()

    def begin(self, campaign_id: str, now_ms: int, arming: str) -> Place:
        """Where to go on in it; a new round begins where none is under way, or where its cursor means nothing any more."""
        known = self.known.get(campaign_id, Known())
        if known.place == BEGINNING or known.arming != arming:
            known = replace(known, begun_at_ms=now_ms, place=BEGINNING, arming=arming)
            self.known[campaign_id] = known
        return known.place

    def went_to(self, campaign_id: str, place: Place | None) -> None:
        """It was compared up to there, since `begin`; None: to its end."""
        known = self.known[campaign_id]
        self.known[campaign_id] = Known(known.begun_at_ms) if place is None else replace(known, place=place)
        self.changed.add(campaign_id)

    def turns(self, books: Mapping[str, CampaignBooks | None], now_ms: int) -> tuple[list[str], list[str]]:
        """(open and young ones, the others), each with the one first that was compared longest ago."""
        live = {campaign_id for campaign_id, one in books.items() if one is None or one.over_at_ms > now_ms - YOUNG_MS}
        return self._by_age(live), self._by_age(books.keys() - live)

    def oldest_ms(self, campaign_ids: Iterable[str]) -> int | None:
        """When the one of these was compared that was compared longest ago; None if one never was, or there is none."""
        times = [self.known.get(campaign_id, Known()).compared_at_ms for campaign_id in campaign_ids]
        compared = [at_ms for at_ms in times if at_ms is not None]
        return min(compared) if compared and len(compared) == len(times) else None

    def _by_age(self, campaign_ids: Iterable[str]) -> list[str]:
        def age(campaign_id: str) -> tuple[int, str]:
            return self.known.get(campaign_id, Known()).compared_at_ms or 0, campaign_id

        return sorted(campaign_ids, key=age)
