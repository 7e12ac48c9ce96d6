"""The facts of the real campaign for a rehearsal, read without a write.

Postgres alone is asked, in transactions that may only read. The real Redis is never spoken to.
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from grab_service.campaigns.definition import Definition
from grab_service.campaigns.service import Campaign, find_campaign
from grab_service.rehearsal.audience import Standing, standing_of
from grab_service.sql.tables import campaigns, members, pool_codes
from grab_service.vocabulary.campaigns import CampaignState

ARMED: Final = (CampaignState.SCHEDULED, CampaignState.PAUSED)
NEAR_MS: Final = 30 * 60 * 1000
"""A real opening nearer than this is worth a word before any load is made."""


class RehearsalError(Exception):
    """The campaign cannot be rehearsed as asked; `hint` says what can be done about it."""

    def __init__(self, why: str, hint: str = "") -> None:
        super().__init__(why)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Original:
    """The real campaign.

    Attributes:
        campaign: as Postgres has it.
        definition: checked again; its releases are those in force.
        codes: how many codes its pool holds.
        counts: members by what they would be told.
        near: titles of campaigns that are open now or open soon, itself included.
    """

    campaign: Campaign
    definition: Definition
    codes: int
    counts: dict[Standing, int]
    near: tuple[str, ...]


@asynccontextmanager
async def reading(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A transaction that sees one moment and can change nothing."""
    options: dict[str, Any] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    async with engine.connect() as connection:
        await connection.execution_options(**options)
        yield connection


async def read_original(engine: AsyncEngine, campaign_id: str) -> Original:
    """Look at the campaign and count its audience.

    Raises:
        RefusalError: campaign-not-found.
        RehearsalError: it is over.
    """
    async with reading(engine) as connection:
        campaign = await find_campaign(connection, campaign_id)
        now_ms = time.time_ns() // 1_000_000
        _check_state(campaign, now_ms)
        definition = Definition.model_validate(campaign.definition)
        codes = select(func.count()).select_from(pool_codes).where(pool_codes.c.campaign_id == campaign_id)
        standing = standing_of(definition.rules_of_eligibility(), campaign.opens_at_ms).label("standing")
        counted = await connection.execute(select(standing, func.count()).select_from(members).group_by(standing))
        return Original(
            campaign=campaign,
            definition=definition,
            codes=(await connection.execute(codes)).scalar_one(),
            counts={Standing(name): count for name, count in counted},
            near=await _near(connection, now_ms),
        )


def _check_state(campaign: Campaign, now_ms: int) -> None:
    if campaign.state is not CampaignState.DRAFT and campaign.state not in ARMED:
        raise RehearsalError(
            f"The campaign is {campaign.state}: only what is still to come can be rehearsed.",
            "`grab campaign list --state draft` and `--state scheduled` show what is.",
        )
    if campaign.closes_at_ms <= now_ms:
        raise RehearsalError("The campaign's closing time has passed.", "Give it another `closes_at`, or write a new one.")


async def _near(connection: AsyncConnection, now_ms: int) -> tuple[str, ...]:
    query = (
        select(campaigns.c.definition["title"].as_string())
        .where(campaigns.c.state.in_([state.value for state in ARMED]))
        .where(campaigns.c.opens_at_ms < now_ms + NEAR_MS, campaigns.c.closes_at_ms > now_ms)
        .order_by(campaigns.c.opens_at_ms)
        .limit(5)
    )
    return tuple((await connection.execute(query)).scalars())
