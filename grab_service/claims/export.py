"""Export of a campaign's claims as a CSV file that is safe to open in a spreadsheet.

Every reader of a code can spend it, so codes are masked unless full ones are asked for, and the log of ops has every export.
"""

from collections.abc import AsyncIterator
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from grab_service.campaigns.service import read_campaign
from grab_service.http.safe_csv import csv_lines
from grab_service.ops_log.log import logged
from grab_service.refusal import RefusalError
from grab_service.sql.tables import claims, members, orgs
from grab_service.vocabulary.claims import ClaimRef, Codes
from grab_service.vocabulary.passes import OpsIdentity, Role
from grab_service.vocabulary.times import Clock

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
    "granted_at",
    "org_id",
    "org_name",
    "voucher_state",
    "valid_from",
    "valid_until",
    "source",
)
ROWS_PER_CHUNK: Final = 1000
SHOWN_OF_A_CODE: Final = 4
SEES_CODES: Final = frozenset({Role.OPERATOR, Role.ADMIN})
ACTION: Final = "claims.export"


async def export_claims(
    engine: AsyncEngine, identity: OpsIdentity, campaign_id: str, codes: Codes = Codes.MASKED, time_zone: str = "UTC"
) -> AsyncIterator[bytes]:
    """Open the file: its pieces, all claims of one moment in the order of the log, the header first.

    Times that people read are those of `time_zone`; the union is the member's of now.

    Raises:
        RefusalError: campaign-not-found, before the first piece; forbidden: this role sees codes masked only.
    """
    async with logged(engine, identity, ACTION, campaign_id, detail={"codes": codes.value}):
        if codes is Codes.FULL and identity.role not in SEES_CODES:
            raise RefusalError("forbidden", role=identity.role.value)
        await read_campaign(engine, campaign_id)
    return _pieces(engine, campaign_id, codes, Clock(time_zone))


def masked(code: str | None) -> str | None:
    """The end of a code, by which it can be told from others and not be used."""
    return None if code is None else f"****{code[-SHOWN_OF_A_CODE:] if len(code) > 2 * SHOWN_OF_A_CODE else ''}"


def seen_by_ops(body: dict[str, Any], source: str) -> dict[str, Any]:
    """A claim's body as ops see it: the code masked, and how the claim came about."""
    voucher = body["voucher"]
    return {
        **body,
        "voucher": None if voucher is None else voucher | {"code": masked(voucher["code"])},
        "source": source,
    }


async def _pieces(engine: AsyncEngine, campaign_id: str, codes: Codes, clock: Clock) -> AsyncIterator[bytes]:
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
            claims.c.voucher_state,
            claims.c.valid_from_ms,
            claims.c.valid_until_ms,
            claims.c.source,
            orgs.c.org_id,
            orgs.c.name.label("org_name"),
        )
        .select_from(claims.outerjoin(members, members.c.member_id == claims.c.member_id).outerjoin(orgs))
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
                        row.code if codes is Codes.FULL else masked(row.code),
                        row.idempotency_key,
                        clock.show(row.granted_at_ms, exactly=False),
                        row.org_id,
                        row.org_name,
                        row.voucher_state,
                        _shown(clock, row.valid_from_ms),
                        _shown(clock, row.valid_until_ms),
                        row.source,
                    )
                    for row in rows
                ]
            ).encode()


def _shown(clock: Clock, moment_ms: int | None) -> str | None:
    return None if moment_ms is None else clock.show(moment_ms, exactly=False)
