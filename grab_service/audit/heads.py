"""The chain of the log as the workers have folded it, compared with the ledger's at the same places."""

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from grab_service.audit.cut import CellCut
from grab_service.audit.report import AuditFinding, Invariant
from grab_service.sql.tables import log_entries


async def judge_heads(engine: AsyncEngine, cut: CellCut) -> list[AuditFinding]:
    """Where a worker tells members of another log than the ledger has. A younger head than the cut is left to the next."""
    noted = {who: one for who, one in cut.heads.items() if one.head and one.epoch == cut.epoch and one.seq <= cut.seq}
    query = select(log_entries.c.last_seq, log_entries.c.head).where(
        log_entries.c.last_seq.in_({one.seq for one in noted.values()}), log_entries.c.epoch == cut.epoch
    )
    async with engine.connect() as connection:
        first_seq = (await connection.execute(select(func.min(log_entries.c.last_seq)))).scalar_one() or 0
        on_record = {row.last_seq: row.head.hex() for row in await connection.execute(query)}
    findings = []
    for who, one in sorted(noted.items()):
        if one.seq >= first_seq and on_record.get(one.seq) != one.head:
            example = {"worker": who, "seq": one.seq, "head": one.head, "postgres": on_record.get(one.seq, "")}
            findings.append(AuditFinding(Invariant.ONE_ANSWER, "a worker has another chain of the log than Postgres", example))
    return findings
