"""The audit compares Redis with Postgres and judges both, beside the running sale, at one consistent cut.

The cell gives its counters at one seq; once the ledger has drained up to there, Postgres is read in one snapshot, as of that
seq. Then the claims that the cell holds are compared one by one.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from grab_service.audit.books import Books, read_books, read_cursor_seq
from grab_service.audit.claims_compared import Comparison
from grab_service.audit.cut import AuditImpossibleError, CampaignCut, CellCut, brought_up, take_cut
from grab_service.audit.heads import judge_heads
from grab_service.audit.invariants import figures_of, judge, judge_configuration, judge_undersell
from grab_service.audit.pools import check_pools
from grab_service.audit.report import AuditFinding, AuditReport, CampaignFigures, Invariant, InvariantCheck, check_of
from grab_service.audit.rotation import Rotation
from grab_service.cell.store import Cell
from grab_service.vocabulary.keys import CellKeys

__all__ = [
    "AuditFinding",
    "AuditImpossibleError",
    "AuditReport",
    "CampaignCut",
    "CampaignFigures",
    "CellCut",
    "Invariant",
    "InvariantCheck",
    "audit_books",
    "audit_cell",
]

LEDGER_WAIT_S: Final = 5.0
POLL_S: Final = 0.02
RECORDS_MAX: Final = 200_000
"""Claims compared one by one in a call; above it the report says how many were left out."""


async def audit_cell(
    cell: Cell,
    engine: AsyncEngine,
    client: Redis | None,
    *,
    demand: Mapping[str, int] | None = None,
    ledger_wait_s: float = LEDGER_WAIT_S,
    records_max: int = RECORDS_MAX,
    rotation: Rotation | None = None,
) -> AuditReport:
    """Audit the open cell.

    Args:
        cell: asked for the cut.
        engine: of Postgres.
        client: reads the claims for the comparison one by one; None leaves that out.
        demand: of a campaign, how many members who met every rule asked for a unit, where somebody knows; for I2.
        ledger_wait_s: how long to wait until the ledger has drained up to the cut.
        records_max: claims to compare one by one at most.
        rotation: how far earlier audits have come; it is brought up to date. None: as the ledger has written it down, and what
            this one adds is told and not kept.

    Raises:
        AuditImpossibleError: try again when the ledger has caught up.
        CellError: the cell does not answer.
    """
    cut = await take_cut(cell)
    await _wait_for_ledger(engine, cell.name, cut, ledger_wait_s)
    books = await read_books(engine, cell.name, cut.seq)
    if books.epoch != cut.epoch:
        raise AuditImpossibleError(f"the ledger is of epoch {books.epoch}, the cell was of {cut.epoch}")
    findings = [*judge(cut, books), *await _configuration(cell, cut, books), *await judge_heads(engine, cut)]
    comparison = None
    rotation = rotation or await Rotation.read(engine)
    if client is not None:
        comparison = await _compare(client, engine, cell.name, cut, books, rotation, records_max)
        comparison.findings += await check_pools(client, engine, cell.name, sorted(cut.campaigns))
    return _report_of(cut, books, findings, comparison, demand or {}, rotation.oldest_ms(cut.campaigns))


async def _configuration(cell: Cell, cut: CellCut, books: Books) -> list[AuditFinding]:
    """Where Postgres has another state or stock than the cell; what the log changed since the cut is news, and no fault."""
    findings = judge_configuration(cut.campaigns, books)
    if findings and books.cursor_seq > cut.seq:
        findings = judge_configuration(await brought_up(cell, cut, books.cursor_seq), books)
    return findings


async def _compare(
    client: Redis, engine: AsyncEngine, cell_name: str, cut: CellCut, books: Books, rotation: Rotation, records_max: int
) -> Comparison:
    """Claims one by one: open and young campaigns have half of the bound, the others the rest, in their turn."""
    comparison = Comparison(client, engine, cell_name)
    nonce: Any = await client.hget(CellKeys.of(cell_name).cell, "nonce")
    arming = "" if nonce is None else nonce.decode()
    live, others = rotation.turns({one: books.campaigns.get(one) for one in cut.campaigns}, cut.now_ms)
    for campaign_ids, bound in ((live, records_max // 2 if others else records_max), (others, records_max)):
        for campaign_id in campaign_ids:
            place = rotation.begin(campaign_id, cut.now_ms, arming)
            reached = await comparison.of_campaign(campaign_id, place, bound)
            rotation.went_to(campaign_id, reached)
    return comparison


async def audit_books(cut: CellCut, engine: AsyncEngine, cell_name: str) -> AuditReport:
    """Judge a cut of a closed cell, which does not go on: only by counters that are quickly read, for members are waiting."""
    books = await read_books(engine, cell_name, cut.seq, distinct=False)
    findings = [*judge(cut, books), *judge_configuration(cut.campaigns, books)]
    return _report_of(cut, books, findings, None, {}, None)


def _report_of(
    cut: CellCut,
    books: Books,
    findings: list[AuditFinding],
    comparison: Comparison | None,
    demand: Mapping[str, int],
    oldest_ms: int | None,
) -> AuditReport:
    """Put together what was found."""
    judged, undersell = judge_undersell(cut, demand)
    findings = [*findings, *undersell, *(comparison.findings if comparison is not None else ())]
    compared, left = 0, sum(campaign.active for campaign in cut.campaigns.values())
    if comparison is not None:
        compared, left = comparison.compared, comparison.left
    counted = f"{len(cut.campaigns)} campaigns by their counters at seq {cut.seq}"
    one_by_one = f"{counted}, {compared} records one by one" + (f", {left} or more left out" if left else "")
    checks = {
        invariant: check_of(
            invariant,
            findings,
            one_by_one if invariant in {Invariant.NO_LOST_ACK, Invariant.ONE_ANSWER, Invariant.UNIQUE_UNIT} else counted,
        )
        for invariant in Invariant
    }
    sound = f"{judged} of {len(cut.campaigns)} campaigns; of the others it is not known here who else wanted a unit"
    checks[Invariant.NO_UNDERSELL] = check_of(Invariant.NO_UNDERSELL, findings, sound, checked=judged > 0)
    return AuditReport(
        seq=cut.seq,
        epoch=cut.epoch,
        at_ms=cut.now_ms,
        records_compared=compared,
        records_left=left,
        invariants=checks,
        campaigns=figures_of(cut, books),
        redis_equals_postgres=not any(finding.differs for finding in findings),
        oldest_comparison_at_ms=oldest_ms,
    )


async def _wait_for_ledger(engine: AsyncEngine, cell_name: str, cut: CellCut, wait_s: float) -> None:
    loop = asyncio.get_running_loop()
    until_s = loop.time() + wait_s
    while (drained := await read_cursor_seq(engine, cell_name)) < (cut.epoch, cut.seq):
        if loop.time() > until_s:
            raise AuditImpossibleError(
                f"the ledger is at epoch {drained[0]}, seq {drained[1]}; the cell is at {cut.epoch}, {cut.seq}"
            )
        await asyncio.sleep(POLL_S)
    if drained[0] != cut.epoch:
        raise AuditImpossibleError(f"the ledger is of epoch {drained[0]}, the cell of {cut.epoch}")
