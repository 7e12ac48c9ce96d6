"""The report of a campaign: its seconds, its unions, its refusals."""

from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from grab_service.campaigns.definition import Definition
from grab_service.campaigns.eligible import conditions_of
from grab_service.campaigns.service import find_campaign
from grab_service.counts.service import EXACT, LOWER_BOUND, read_seconds, read_sums
from grab_service.sql.tables import claims, members, orgs
from grab_service.vocabulary.campaigns import Eligibility
from grab_service.vocabulary.times import rfc3339

BEFORE_OPENING_S: Final = 60
"""The report begins so long before the first release, where nobody says otherwise."""


async def campaign_report(engine: AsyncEngine, campaign_id: str, from_ms: int | None = None) -> dict[str, Any]:
    """The report as JSON shows it, as of one moment.

    Args:
        engine: of Postgres.
        campaign_id: drafts have a report, too, in which nothing happened.
        from_ms: from when on an hour is shown second by second; None: from a minute before the opening.

    Raises:
        RefusalError: campaign-not-found.
    """
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="REPEATABLE READ")
        campaign = await find_campaign(connection, campaign_id)
        from_second = campaign.opens_at_ms // 1000 - BEFORE_OPENING_S if from_ms is None else from_ms // 1000
        seconds = await read_seconds(connection, campaign_id, from_second)
        sums = await read_sums(connection, campaign_id)
        rules = Definition.model_validate(campaign.definition).rules_of_eligibility()
        by_org = await _by_org(connection, campaign_id, rules)
    return {
        "campaign_id": campaign_id,
        "seconds": [
            {
                "second": rfc3339(second * 1000),
                "won": one.won,
                "opened": one.opened,
                "refused": one.refused,
                "shed": one.shed,
            }
            for second, one in seconds.items()
        ],
        "by_org": by_org,
        "refused": sums.refused,
        "exact": [*EXACT, "granted", "audience"],
        "lower_bound": list(LOWER_BOUND),
    }


async def _by_org(connection: AsyncConnection, campaign_id: str, rules: Eligibility) -> list[dict[str, Any]]:
    """Unions that may take part, or from which somebody won; by the members' union of now, most claims first."""
    audience = (
        select(members.c.org_id, func.count().label("n"))
        .where(members.c.status == "active", *conditions_of(rules))
        .group_by(members.c.org_id)
        .subquery()
    )
    granted = (
        select(members.c.org_id, func.count().label("n"))
        .select_from(claims.join(members, members.c.member_id == claims.c.member_id))
        .where(claims.c.campaign_id == campaign_id)
        .group_by(members.c.org_id)
        .subquery()
    )
    may, won = func.coalesce(audience.c.n, 0), func.coalesce(granted.c.n, 0)
    query = (
        select(orgs.c.org_id, orgs.c.name, may, won)
        .select_from(orgs)
        .outerjoin(audience, audience.c.org_id == orgs.c.org_id)
        .outerjoin(granted, granted.c.org_id == orgs.c.org_id)
        .where(may + won > 0)
        .order_by(won.desc(), orgs.c.org_id)
    )
    return [
        {"org_id": org_id, "name": name, "audience": may_take_part, "granted": claims_won}
        for org_id, name, may_take_part, claims_won in await connection.execute(query)
    ]
