"""Campaigns in PostgreSQL: creating and reading them, and changing drafts.

A draft lives in Postgres alone. Once scheduled, its configuration is fixed; state and stock then follow the log.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import time
from typing import Any

from sqlalchemy import Row, insert, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from grab_service.campaigns.definition import Definition
from grab_service.ops_log.log import logged
from grab_service.refusal import RefusalError
from grab_service.sql.tables import campaigns
from grab_service.vocabulary.campaigns import CampaignState, Release
from grab_service.vocabulary.identifiers import is_campaign_id, new_campaign_id
from grab_service.vocabulary.passes import OpsIdentity


@dataclass(frozen=True, slots=True)
class Campaign:
    """A campaign as Postgres has it. `definition` as ops wrote it, defaults filled in; `releases` are those in force."""

    campaign_id: str
    version: int
    state: CampaignState
    definition: Mapping[str, Any]
    opens_at_ms: int
    closes_at_ms: int
    releases: tuple[Release, ...]
    total: int
    limit_per_member: int
    created_at_ms: int
    published_seq: int | None
    closed_at_ms: int | None = None

    @classmethod
    def of_row(cls, row: Row[Any]) -> "Campaign":
        """From a row of the table."""
        return cls(
            campaign_id=row.campaign_id,
            version=row.version,
            state=CampaignState(row.state),
            definition=row.definition,
            opens_at_ms=row.opens_at_ms,
            closes_at_ms=row.closes_at_ms,
            releases=tuple(Release(opens_at_ms, quantity) for opens_at_ms, quantity in row.releases),
            total=row.total,
            limit_per_member=row.limit_per_member,
            created_at_ms=row.created_at_ms,
            published_seq=row.published_seq,
            closed_at_ms=row.closed_at_ms,
        )


def _columns_of(definition: Definition) -> dict[str, Any]:
    releases = definition.releases_in_order()
    return {
        "definition": definition.model_dump(mode="json"),
        "opens_at_ms": releases[0].opens_at_ms,
        "closes_at_ms": definition.ends_at_ms,
        "releases": [[release.opens_at_ms, release.quantity] for release in releases],
        "total": definition.total,
        "limit_per_member": definition.limit_per_member,
    }


async def create_campaign(
    engine: AsyncEngine, identity: OpsIdentity, definition: Definition, *, copied_from: str | None = None
) -> Campaign:
    """A new draft, version 1."""
    campaign_id = new_campaign_id()
    row = {
        "campaign_id": campaign_id,
        "version": 1,
        "state": CampaignState.DRAFT.value,
        "created_at_ms": int(time() * 1000),
        **_columns_of(definition),
    }
    detail = {"title": definition.title} | ({} if copied_from is None else {"copied_from": copied_from})
    async with logged(engine, identity, "campaign.create", campaign_id, detail=detail):
        async with engine.begin() as connection:
            created = (await connection.execute(insert(campaigns).values(row).returning(campaigns))).one()
        return Campaign.of_row(created)


async def read_campaign(engine: AsyncEngine, campaign_id: str) -> Campaign:
    """A campaign, drafts included.

    Raises:
        RefusalError: campaign-not-found.
    """
    async with engine.connect() as connection:
        return await find_campaign(connection, campaign_id)


async def find_campaign(connection: AsyncConnection, campaign_id: str) -> Campaign:
    """The same as `read_campaign`, within a transaction."""
    row = None
    if is_campaign_id(campaign_id):
        row = (await connection.execute(select(campaigns).where(campaigns.c.campaign_id == campaign_id))).one_or_none()
    if row is None:
        raise RefusalError("campaign-not-found")
    return Campaign.of_row(row)


async def list_campaigns(
    engine: AsyncEngine, *, after: tuple[int, str] | None, limit: int, states: Sequence[CampaignState] = ()
) -> list[Campaign]:
    """Campaigns, newest first; `after` is (created_at_ms, campaign_id) of the last one seen."""
    key = (campaigns.c.created_at_ms, campaigns.c.campaign_id)
    query = select(campaigns).order_by(*(column.desc() for column in key)).limit(limit)
    if after is not None:
        query = query.where(tuple_(*key) < tuple_(*after))
    if states:
        query = query.where(campaigns.c.state.in_([state.value for state in states]))
    async with engine.connect() as connection:
        return [Campaign.of_row(row) for row in await connection.execute(query)]


async def change_draft(engine: AsyncEngine, identity: OpsIdentity, campaign: Campaign, definition: Definition) -> Campaign:
    """Write another definition over the version that was read; the version rises by one.

    Raises:
        RefusalError: wrong-state if it is no draft any more, precondition-failed if somebody changed it meanwhile.
    """
    async with logged(engine, identity, "campaign.change", campaign.campaign_id, detail={"from": campaign.version}):
        async with engine.begin() as connection:
            changed = (
                await connection.execute(
                    update(campaigns)
                    .where(campaigns.c.campaign_id == campaign.campaign_id)
                    .where(campaigns.c.version == campaign.version)
                    .where(campaigns.c.state == CampaignState.DRAFT.value)
                    .values(version=campaign.version + 1, **_columns_of(definition))
                    .returning(campaigns)
                )
            ).one_or_none()
            if changed is None:
                now = await find_campaign(connection, campaign.campaign_id)
                if now.state is not CampaignState.DRAFT:
                    raise RefusalError("wrong-state", state=now.state.value)
                raise RefusalError("precondition-failed")
        return Campaign.of_row(changed)


async def schedule_draft(engine: AsyncEngine, campaign: Campaign) -> None:
    """Make a draft a scheduled campaign, if it is what was read.

    Raises:
        RefusalError: wrong-state or precondition-failed.
    """
    async with engine.begin() as connection:
        scheduled = await connection.execute(
            update(campaigns)
            .where(campaigns.c.campaign_id == campaign.campaign_id)
            .where(campaigns.c.version == campaign.version)
            .where(campaigns.c.state == CampaignState.DRAFT.value)
            .values(state=CampaignState.SCHEDULED.value)
        )
        if scheduled.rowcount != 1:
            now = await find_campaign(connection, campaign.campaign_id)
            if now.state is not CampaignState.DRAFT:
                raise RefusalError("wrong-state", state=now.state.value)
            raise RefusalError("precondition-failed")
