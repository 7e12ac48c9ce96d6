"""Import of third-party codes into a campaign's pool.

Codes go into Postgres first, numbered in the order of the file; a published campaign's cell gets them at once. Unusable rows
are named, the others are taken.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import structlog
from sqlalchemy import Select, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from grab_service.campaigns.service import Campaign, read_campaign
from grab_service.cell.store import Cell, CellError
from grab_service.files.codes_csv import CodeRow, parse_codes
from grab_service.files.csv_rows import Rejection
from grab_service.http.uploads import Parsed, read_file
from grab_service.ops_log.log import logged
from grab_service.problems import Text
from grab_service.publishing.publish import publish_codes
from grab_service.refusal import RefusalError
from grab_service.sql.tables import pool_codes
from grab_service.vocabulary.campaigns import BenefitKind, CampaignState
from grab_service.vocabulary.passes import OpsIdentity

LOCK: Final = 0x636F6465
"""Of Postgres' advisory locks; the letters `code`. A code may stand in one campaign only, so imports wait for each other."""
ROWS_PER_STATEMENT: Final = 10_000
TAKING: Final = frozenset({CampaignState.DRAFT, CampaignState.SCHEDULED, CampaignState.PAUSED})

_TAKE_LOCK: Final = text("SELECT pg_advisory_xact_lock(:lock)")
_INSERT: Final = text(
    "INSERT INTO pool_codes (campaign_id, position, code) SELECT :campaign_id, place, code"
    " FROM unnest(CAST(:positions AS integer[]), CAST(:codes AS text[])) AS given (place, code)"
)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class CodesImport:
    """Result of an import: `rows` = codes taken + `rejected_rows`; and how many codes the campaign has now."""

    imported: int
    rejected: Sequence[Rejection]
    loaded: int
    rows: int
    rejected_rows: int


async def import_codes(engine: AsyncEngine, cell: Cell, identity: OpsIdentity, campaign_id: str, data: bytes) -> CodesImport:
    """Take the codes of a CSV file with the header `code`.

    A published campaign gets them even if the cell cannot be told now: the ledger's sweep tells it.

    Raises:
        RefusalError: campaign-not-found; wrong-state; validation if the campaign has no pool, or the file cannot be read.
    """
    async with logged(engine, identity, "campaign.codes", campaign_id) as entry:
        campaign = await read_campaign(engine, campaign_id)
        _check_takes_codes(campaign)
        parsed: Parsed[CodeRow] = await asyncio.to_thread(read_file, parse_codes, data, CodeRow)
        async with engine.begin() as connection:
            taken, known = await _insert(connection, campaign_id, parsed.rows)
            loaded = (await connection.execute(_count(campaign_id))).scalar_one()
        rejected = sorted([*parsed.rejected, *known], key=lambda rejection: rejection.row)
        entry.detail |= {"imported": taken, "rejected": len(rejected), "loaded": loaded}
        if taken and campaign.state is not CampaignState.DRAFT:
            try:
                await publish_codes(engine, cell, campaign_id)
            except CellError as error:
                log.warning("codes_not_published_yet", campaign_id=campaign_id, why=str(error))
        refused = parsed.rejected_rows + len(known)
        return CodesImport(taken, rejected, loaded, rows=taken + refused, rejected_rows=refused)


def _check_takes_codes(campaign: Campaign) -> None:
    if campaign.definition["benefit"]["kind"] != BenefitKind.CODE_POOL:
        reason = Text("只有 code_pool 的活动才导入券码", "codes are imported for a benefit of kind code_pool only")
        raise RefusalError("validation", errors=[{"field": "benefit.kind", "reason": reason}])
    if campaign.state not in TAKING:
        raise RefusalError("wrong-state", state=campaign.state.value)


def _count(campaign_id: str) -> Select[int]:
    return select(func.count()).select_from(pool_codes).where(pool_codes.c.campaign_id == campaign_id)


async def _insert(connection: AsyncConnection, campaign_id: str, rows: Sequence[CodeRow]) -> tuple[int, list[Rejection]]:
    """(codes taken, rejections of those that stand in a campaign already)."""
    await connection.execute(_TAKE_LOCK, {"lock": LOCK})
    last = select(func.max(pool_codes.c.position)).where(pool_codes.c.campaign_id == campaign_id)
    position = (await connection.execute(last)).scalar_one() or 0
    first, rejected = position, []
    for start in range(0, len(rows), ROWS_PER_STATEMENT):
        part = rows[start : start + ROWS_PER_STATEMENT]
        found = select(pool_codes.c.code, pool_codes.c.campaign_id).where(pool_codes.c.code.in_([row.code for row in part]))
        known: dict[str, str] = dict((await connection.execute(found)).all())
        fresh = [row.code for row in part if row.code not in known]
        rejected += [
            Rejection(row.row, "code", _known_already(known[row.code] == campaign_id)) for row in part if row.code in known
        ]
        positions = list(range(position + 1, position + 1 + len(fresh)))
        await connection.execute(_INSERT, {"campaign_id": campaign_id, "positions": positions, "codes": fresh})
        position += len(fresh)
    return position - first, rejected


def _known_already(here: bool) -> Text:
    if here:
        return Text("这个券码已经导入过了", "this code was imported before")
    return Text("这个券码已经用在别的活动里", "this code belongs to another campaign")
