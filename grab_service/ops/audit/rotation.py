"""Whose claims are compared one by one next, and how long ago were those of each campaign compared?

An audit has a bound, and a cell may hold more than that. Half of it goes to campaigns that are open or young, the other half to
the one that was compared longest ago; where an audit stops in the midst of a campaign, the next one goes on. The ledger writes
down how far it has come, so that everybody who asks can be told how old the oldest comparison is.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final, Self

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from grab_service.ops.audit.cut import CampaignCut, CellCut
from grab_service.sql.tables import comparisons
from grab_service.vocabulary.campaigns import CampaignState

YOUNG_MS: Final = 24 * 3_600_000
"""A campaign is young for so long after its last release: its members still look at what they have."""

LIVE: Final = frozenset({CampaignState.SCHEDULED, CampaignState.PAUSED})


@dataclass(frozen=True, slots=True)
class Place:
    """Where to go on in a campaign: which of its two hashes, and the cursor of HSCAN there."""

    part: int = 0
    cursor: int = 0


BEGINNING: Final = Place()


@dataclass(frozen=True, slots=True)
class Known:
    """Of one campaign: when all its claims were compared last (None: never), and where to go on."""

    compared_at_ms: int | None = None
    place: Place = BEGINNING


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
            return cls({row.campaign_id: Known(row.compared_at_ms, Place(row.part, row.cursor)) for row in rows})

    async def write(self, engine: AsyncEngine) -> None:
        """Write down what has changed."""
        rows = [
            {
                "campaign_id": campaign_id,
                "compared_at_ms": self.known[campaign_id].compared_at_ms,
                "part": self.known[campaign_id].place.part,
                "cursor": self.known[campaign_id].place.cursor,
            }
            for campaign_id in sorted(self.changed)
        ]
        if rows:
            new = insert(comparisons)
            columns = {name: new.excluded[name] for name in ("compared_at_ms", "part", "cursor")}
            async with engine.begin() as connection:
                await connection.execute(new.on_conflict_do_update(index_elements=["campaign_id"], set_=columns), rows)
        self.changed.clear()

    def place_of(self, campaign_id: str) -> Place:
        """Where to go on in it."""
        return self.known.get(campaign_id, Known()).place

    def went_to(self, campaign_id: str, place: Place | None, now_ms: int) -> None:
        """It was compared up to there; None: to its end."""
        before = self.known.get(campaign_id, Known())
        self.known[campaign_id] = Known(now_ms) if place is None else replace(before, place=place)
        self.changed.add(campaign_id)

    def turns(self, cut: CellCut) -> tuple[list[str], list[str]]:
        """(open and young ones, the others), each with the one first that was compared longest ago."""
        first = [one.campaign_id for one in cut.campaigns.values() if is_live(one, cut.now_ms)]
        rest = cut.campaigns.keys() - set(first)
        return self._by_age(first), self._by_age(rest)

    def oldest_ms(self, campaign_ids: Iterable[str]) -> int | None:
        """When the one of these was compared that was compared longest ago; None if one never was, or there is none."""
        times = [self.known.get(campaign_id, Known()).compared_at_ms for campaign_id in campaign_ids]
        compared = [at_ms for at_ms in times if at_ms is not None]
        return min(compared) if compared and len(compared) == len(times) else None

    def _by_age(self, campaign_ids: Iterable[str]) -> list[str]:
        def age(campaign_id: str) -> tuple[int, str]:
            return self.known.get(campaign_id, Known()).compared_at_ms or 0, campaign_id

        return sorted(campaign_ids, key=age)


def is_live(campaign: CampaignCut, now_ms: int) -> bool:
    """Whether it may still grant, or did a short while ago."""
    return campaign.state in LIVE or campaign.releases[-1].opens_at_ms > now_ms - YOUNG_MS
