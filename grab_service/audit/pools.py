"""Check that the units and codes which the cell would give out next are free.

Each page is read together with the cell's seq and judged by what Postgres knows as of that seq; where the ledger is not there
yet, the page is left for the next audit. Free units are compared for many campaigns at once: no index finds a claim by its unit
once it may have been given back, and a look at all claims for each campaign would keep Postgres busy for minutes after a year.
"""

from collections.abc import Sequence
from typing import Any, Final

from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from grab_service.audit.report import AuditFinding, Invariant
from grab_service.vocabulary.keys import CellKeys

PAGE: Final = 1000
PAGES_MAX: Final = 200

UNITS_A_LOOK: Final = 20_000
"""Free units that are compared at once, and a page more."""

_UNITS_HELD: Final = text(
    "SELECT campaign_id, unit_no, seq"
    " FROM unnest(CAST(:campaign_ids AS text[]), CAST(:units AS integer[]), CAST(:seqs AS bigint[]))"
    " AS free (campaign_id, unit_no, as_of_seq) JOIN claims USING (campaign_id, unit_no)"
    " WHERE seq <= as_of_seq AND (returned_seq IS NULL OR returned_seq > as_of_seq)"
    " AND (SELECT last_seq FROM log_cursor WHERE cell = :cell) >= as_of_seq"
)
_CODES_GRANTED: Final = text(
    "SELECT seq FROM claims WHERE code = ANY(CAST(:free AS text[])) AND seq <= :seq"
    " AND (SELECT last_seq FROM log_cursor WHERE cell = :cell) >= :seq"
)
_CODES_IMPORTED: Final = text(
    "SELECT count(*) FROM pool_codes WHERE campaign_id = :campaign_id AND code = ANY(CAST(:free AS text[]))"
)


async def check_pools(client: Redis, engine: AsyncEngine, cell_name: str, campaign_ids: Sequence[str]) -> list[AuditFinding]:
    """Compare free units and free codes with the claims in Postgres; of a campaign, at most `PAGES_MAX` pages each."""
    findings = await _check_units(client, engine, cell_name, campaign_ids)
    for campaign_id in campaign_ids:
        findings += await _check_codes(client, engine, cell_name, campaign_id)
    return findings


async def _check_units(client: Redis, engine: AsyncEngine, cell_name: str, campaign_ids: Sequence[str]) -> list[AuditFinding]:
    keys = CellKeys.of(cell_name)
    findings: list[AuditFinding] = []
    free: list[tuple[str, int, int]] = []
    for campaign_id in campaign_ids:
        for page in range(PAGES_MAX):
            async with client.pipeline(transaction=True) as pipeline:
                pipeline.hget(keys.cell, "seq")
                pipeline.zrange(keys.of_campaign(campaign_id).free, page * PAGE, page * PAGE + PAGE - 1)
                seq, units = await pipeline.execute()
            free += [(campaign_id, int(unit), int(seq or 0)) for unit in units]
            if len(free) >= UNITS_A_LOOK:
                findings += await _held(engine, cell_name, free)
                free = []
            if len(units) < PAGE:
                break
    return findings + await _held(engine, cell_name, free)


async def _held(engine: AsyncEngine, cell_name: str, free: list[tuple[str, int, int]]) -> list[AuditFinding]:
    """Which of these are in somebody's hands; each is a campaign, a unit, and the seq as of which the cell called it free."""
    if not free:
        return []
    campaign_ids, units, seqs = zip(*free, strict=True)
    about = {"campaign_ids": list(campaign_ids), "units": list(units), "seqs": list(seqs), "cell": cell_name}
    async with engine.connect() as connection:
        held = (await connection.execute(_UNITS_HELD, about)).mappings().all()
    return [AuditFinding(Invariant.CONSERVED, "a unit is free in the cell and held in Postgres", dict(row)) for row in held]


async def _check_codes(client: Redis, engine: AsyncEngine, cell_name: str, campaign_id: str) -> list[AuditFinding]:
    keys = CellKeys.of(cell_name)
    findings = []
    for page in range(PAGES_MAX):
        async with client.pipeline(transaction=True) as pipeline:
            pipeline.hget(keys.cell, "seq")
            pipeline.lrange(keys.of_campaign(campaign_id).codes, page * PAGE, page * PAGE + PAGE - 1)
            seq, free = await pipeline.execute()
        codes = [code.decode() for code in free]
        if codes:
            about: dict[str, Any] = {"campaign_id": campaign_id, "free": codes}
            async with engine.connect() as connection:
                as_of = {"free": codes, "seq": int(seq or 0), "cell": cell_name}
                granted = (await connection.execute(_CODES_GRANTED, as_of)).scalars().all()
                imported = (await connection.execute(_CODES_IMPORTED, about)).scalar_one()
            # The codes themselves are worth money to a reader of the report.
            twice = "a code is free in the cell and with a claim in Postgres"
            findings += [
                AuditFinding(Invariant.UNIQUE_UNIT, twice, {"campaign_id": campaign_id, "seq": claim_seq})
                for claim_seq in granted
            ]
            if imported != len(codes) or len(set(codes)) != len(codes):
                example = {"campaign_id": campaign_id, "free": len(codes), "imported": imported}
                findings.append(
                    AuditFinding(Invariant.CONSERVED, "the cell's pool holds codes twice, or that were never imported", example)
                )
        if len(free) < PAGE:
            break
    return findings
