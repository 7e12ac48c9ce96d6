"""How do the claims of a campaign leave as a file that a spreadsheet can open without harm?"""

from collections.abc import AsyncIterator
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from grab_service.ops.campaigns import read_campaign
from grab_service.ops.safe_csv import csv_lines
from grab_service.sql.tables import claims
from grab_service.vocabulary.claims import ClaimRef

COLUMNS: Final = (
    "claim_id",
    "campaign_id",
    "member_id",
    "state",
    "unit_no",
    "seq",
    "granted_at_ms",
    "code",
    "idempotency_key",
)
ROWS_PER_CHUNK: Final = 1000


async def export_claims(engine: AsyncEngine, campaign_id: str) -> AsyncIterator[bytes]:
    """Open the file: its pieces, all claims of one moment in the order of the log, the header first.

    Raises:
        RefusalError: campaign-not-found, before the first piece.
    """
    await read_campaign(engine, campaign_id)
    return _pieces(engine, campaign_id)


async def _pieces(engine: AsyncEngine, campaign_id: str) -> AsyncIterator[bytes]:
    query = (
        select(
            claims.c.epoch,
            claims.c.seq,
            claims.c.member_id,
            claims.c.state,
            claims.c.unit_no,
            claims.c.granted_at_ms,
            claims.c.code,
            claims.c.idempotency_key,
        )
        .where(claims.c.campaign_id == campaign_id)
        .order_by(claims.c.seq)
    )
    yield csv_lines([COLUMNS]).encode()
    async with engine.connect() as connection:
        stream = await connection.stream(query)
        async for rows in stream.partitions(ROWS_PER_CHUNK):
            yield csv_lines(
                [
                    (
                        str(ClaimRef(campaign_id, row.epoch, row.seq)),
                        campaign_id,
                        row.member_id,
                        row.state,
                        row.unit_no,
                        row.seq,
                        row.granted_at_ms,
                        row.code,
                        row.idempotency_key,
                    )
                    for row in rows
                ]
            ).encode()
