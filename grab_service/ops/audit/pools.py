"""Are the units and codes that the cell would give out next really free?

Each page is read together with the cell's seq and judged by what Postgres knows as of that seq; where the ledger is not there
yet, the page is left for the next audit.
"""

from typing import Any, Final

from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from grab_service.ops.audit.report import Finding, Invariant
from grab_service.vocabulary.keys import CellKeys

PAGE: Final = 1000
PAGES_MAX: Final = 200

_UNITS_HELD: Final = text(
    "SELECT unit_no, seq FROM claims WHERE campaign_id = :campaign_id AND unit_no = ANY(CAST(:free AS integer[]))"
    " AND seq <= :seq AND (returned_seq IS NULL OR returned_seq > :seq)"
    " AND (SELECT last_seq FROM log_cursor WHERE cell = :cell) >= :seq"
)
_CODES_GRANTED: Final = text("SELECT seq FROM claims WHERE code = ANY(CAST(:free AS text[])) AND seq <= :seq")
_CODES_IMPORTED: Final = text(
    "SELECT count(*) FROM pool_codes WHERE campaign_id = :campaign_id AND code = ANY(CAST(:free AS text[]))"
)


async def check_pools(client: Redis, engine: AsyncEngine, cell_name: str, campaign_id: str) -> list[Finding]:
    """Compare the free units and the free codes of a campaign with its claims in Postgres; at most `PAGES_MAX` pages each."""
    return [
        *await _check_units(client, engine, cell_name, campaign_id),
        *await _check_codes(client, engine, cell_name, campaign_id),
    ]


async def _check_units(client: Redis, engine: AsyncEngine, cell_name: str, campaign_id: str) -> list[Finding]:
    keys = CellKeys.of(cell_name)
    findings = []
    for page in range(PAGES_MAX):
        async with client.pipeline(transaction=True) as pipeline:
            pipeline.hget(keys.cell, "seq")
            pipeline.zrange(keys.of_campaign(campaign_id).free, page * PAGE, page * PAGE + PAGE - 1)
            seq, free = await pipeline.execute()
        if free:
            about: dict[str, Any] = {"campaign_id": campaign_id, "free": [int(unit) for unit in free], "seq": int(seq or 0)}
            async with engine.connect() as connection:
                held = (await connection.execute(_UNITS_HELD, {**about, "cell": cell_name})).all()
            what = "a unit is free in the cell and held in Postgres"
            for row in held:
                example = {"campaign_id": campaign_id, "unit_no": row.unit_no, "seq": row.seq}
                findings.append(Finding(Invariant.CONSERVED, what, example))
        if len(free) < PAGE:
            break
    return findings


async def _check_codes(client: Redis, engine: AsyncEngine, cell_name: str, campaign_id: str) -> list[Finding]:
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
                granted = (await connection.execute(_CODES_GRANTED, {"free": codes, "seq": int(seq or 0)})).scalars().all()
                imported = (await connection.execute(_CODES_IMPORTED, about)).scalar_one()
            # The codes themselves are worth money to whoever reads the report.
            for claim_seq in granted:
                example = {"campaign_id": campaign_id, "seq": claim_seq}
                findings.append(Finding(Invariant.UNIQUE_UNIT, "a code is free in the cell and was granted before", example))
            if imported != len(codes) or len(set(codes)) != len(codes):
                example = {"campaign_id": campaign_id, "free": len(codes), "imported": imported}
                findings.append(
                    Finding(Invariant.CONSERVED, "the cell's pool holds codes twice, or that were never imported", example)
                )
        if len(free) < PAGE:
            break
    return findings
