"""The claims of a cell before an audit looks at it."""

from dataclasses import dataclass
from typing import Any

from grab_service.audit import AuditReport, Invariant, audit_cell
from grab_service.vocabulary.claims import ClaimRecord
from tests.harness.backend import Backend, until


@dataclass(slots=True)
class Day:
    """The claims of a cell before somebody corrupts it. `one` has units left, `pool` draws on codes."""

    backend: Backend
    names: list[str]
    one: list[ClaimRecord]
    many: list[ClaimRecord]
    pool: list[ClaimRecord]

    def key(self, campaign_id: str, what: str) -> str:
        return str(getattr(self.backend.keys.of_campaign(campaign_id), what))

    async def audit(self, **options: Any) -> AuditReport:
        return await audit_cell(self.backend.cell, self.backend.engine, self.backend.redis, **options)

    async def holding(self, campaign_id: str, name: str) -> bytes:
        holding = await self.backend.redis.hget(self.key(campaign_id, "claims"), name)
        assert isinstance(holding, bytes)
        return holding


async def a_day(backend: Backend) -> Day:
    """Three campaigns, a few claims, two units that came back. The ledger must be running."""
    await backend.open_for_business()
    names = await backend.enrol(20)
    await backend.schedule("one", stock=20)
    await backend.schedule("many", stock=20, limit=3)
    await backend.schedule("pool", stock=10, kind="code_pool", codes=12)
    one = await backend.win("one", names[:10])
    many = [*await backend.win("many", names[:3], key="a"), *await backend.win("many", names[:3], key="b")]
    pool = await backend.win_on_record("pool", names[:5])
    for campaign_id, claim, name in (("one", one[3], names[3]), ("pool", pool[2], names[2])):
        await backend.decide_return(claim, campaign_id, name)
    await until(lambda: _nothing_pending(backend))
    await backend.drained()
    return Day(backend, names, one, many, pool)


async def _nothing_pending(backend: Backend) -> bool:
    return not await backend.sql("SELECT 1 FROM commands WHERE done_seq IS NULL")


def red(report: AuditReport) -> set[Invariant]:
    """The invariants that do not hold."""
    return {name for name, check in report.invariants.items() if not check.holds}
