"""The number of units of each campaign that are held now.

The cell knows best; where it cannot be asked, Postgres says what is on record.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import time_ns

from sqlalchemy import func, select, text

from grab_service.campaigns.service import Campaign
from grab_service.cell.store import CellError
from grab_service.cli.context import CommandContext
from grab_service.sql.tables import HELD, claims


@dataclass(frozen=True, slots=True)
class Figures:
    """Units held, by campaign, at a moment of Redis' clock; `from_cell` is false if only the ledger could be asked."""

    held: Mapping[str, int]
    now_ms: int
    from_cell: bool

    def held_of(self, campaign: Campaign) -> int:
        """Units of one campaign."""
        return self.held.get(campaign.campaign_id, 0)


async def figures_of(context: CommandContext, campaigns: Sequence[Campaign]) -> Figures:
    """The figures of these campaigns."""
    ids = [campaign.campaign_id for campaign in campaigns if campaign.published_seq is not None]
    try:
        reply = await context.cell.read_campaigns(ids)
    except CellError:
        return Figures(await _on_record(context, ids), time_ns() // 1_000_000, from_cell=False)
    return Figures({name: one.active for name, one in reply.campaigns.items()}, reply.now_ms, from_cell=True)


async def _on_record(context: CommandContext, campaign_ids: Sequence[str]) -> dict[str, int]:
    query = (
        select(claims.c.campaign_id, func.count().label("held"))
        .where(claims.c.campaign_id.in_(campaign_ids), text(HELD))
        .group_by(claims.c.campaign_id)
    )
    async with context.engine.connect() as connection:
        return {row.campaign_id: row.held for row in await connection.execute(query)}
