"""What happened in the town before an audit looks at it?"""

from dataclasses import dataclass
from typing import Any

from grab_service.audit import AuditReport, Invariant, audit_cell
from grab_service.vocabulary.claims import ClaimRecord
from tests.harness.town import Town, until


@dataclass(slots=True)
class Day:
    """What happened in the town before somebody corrupts it. `one` has units left, `pool` draws on codes."""

    town: Town
    names: list[str]
    one: list[ClaimRecord]
    many: list[ClaimRecord]
    pool: list[ClaimRecord]

    def key(self, campaign_id: str, what: str) -> str:
        return str(getattr(self.town.keys.of_campaign(campaign_id), what))

    async def audit(self, **options: Any) -> AuditReport:
        return await audit_cell(self.town.cell, self.town.engine, self.town.redis, **options)

    async def holding(self, campaign_id: str, name: str) -> bytes:
        holding = await self.town.redis.hget(self.key(campaign_id, "claims"), name)
        assert isinstance(holding, bytes)
        return holding


async def a_day(town: Town) -> Day:
    """Three campaigns, a few claims, two units that came back. The ledger must be running."""
    await town.open_for_business()
    names = await town.enrol(20)
    await town.schedule("one", stock=20)
    await town.schedule("many", stock=20, limit=3)
    await town.schedule("pool", stock=10, kind="code_pool", codes=12)
    one = await town.win("one", names[:10])
    many = [*await town.win("many", names[:3], key="a"), *await town.win("many", names[:3], key="b")]
    pool = await town.win_on_record("pool", names[:5])
    for campaign_id, claim, name in (("one", one[3], names[3]), ("pool", pool[2], names[2])):
        await town.decide_return(claim, campaign_id, name)
    await until(lambda: _nothing_pending(town))
    await town.drained()
    return Day(town, names, one, many, pool)


async def _nothing_pending(town: Town) -> bool:
    return not await town.sql("SELECT 1 FROM commands WHERE done_seq IS NULL")


def red(report: AuditReport) -> set[Invariant]:
    """What does not hold."""
    return {name for name, check in report.invariants.items() if not check.holds}
