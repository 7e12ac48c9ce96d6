"""In which ways can claims be written into PostgreSQL?

From the plainest to the ledger's own; each writes the same rows, in the transaction that it is given.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from grab_service.sql.tables import claims
from grab_service.vocabulary.claims import Validity
from grab_service.vocabulary.events import Granted
from loadtest.bench.stand import VALID_DAYS
from reconcile.rows import Rows

VALIDITY: Final = Validity(valid_days=VALID_DAYS)
COLUMNS: Final = (
    *("seq", "epoch", "campaign_id", "member_id", "unit_no", "slot", "state", "granted_at_ms", "idempotency_key", "code"),
    *("voucher_state", "valid_from_ms", "valid_until_ms"),
)
ONE_ROW: Final = (
    f"INSERT INTO claims ({', '.join(COLUMNS)}) "  # noqa: S608 -- put together from constants
    f"VALUES ({', '.join(f'${number}' for number in range(1, len(COLUMNS) + 1))})"
)
UNNEST: Final = (
    f"INSERT INTO claims ({', '.join(COLUMNS)}) SELECT * FROM unnest($1::bigint[], $2::integer[], $3::text[], "  # noqa: S608
    "$4::text[], $5::integer[], $6::smallint[], $7::text[], $8::bigint[], $9::text[], $10::text[], $11::text[], $12::bigint[], "
    "$13::bigint[])"
)

Write = Callable[[AsyncConnection, Sequence[Granted]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Rung:
    """One way of writing."""

    name: str
    title: str
    write: Write


async def _row_by_row(connection: AsyncConnection, batches: Sequence[Granted]) -> None:
    driver = await _driver(connection)
    for row in _rows(batches):
        await driver.execute(ONE_ROW, *row)


async def _core(connection: AsyncConnection, batches: Sequence[Granted]) -> None:
    await connection.execute(insert(claims), [dict(zip(COLUMNS, row, strict=True)) for row in _rows(batches)])


async def _executemany(connection: AsyncConnection, batches: Sequence[Granted]) -> None:
    await (await _driver(connection)).executemany(ONE_ROW, _rows(batches))


async def _unnest(connection: AsyncConnection, batches: Sequence[Granted]) -> None:
    await (await _driver(connection)).execute(UNNEST, *_columns(batches))


async def _copy_records(connection: AsyncConnection, batches: Sequence[Granted]) -> None:
    await (await _driver(connection)).copy_records_to_table("claims", records=_rows(batches), columns=COLUMNS)


async def _copy_binary(connection: AsyncConnection, batches: Sequence[Granted]) -> None:
    await Rows().write(connection, batches)


RUNGS: Final = (
    Rung("row_by_row", "one INSERT a claim, a transaction for all of a page", _row_by_row),
    Rung("core", "SQLAlchemy Core, INSERT with many VALUES", _core),
    Rung("executemany", "asyncpg executemany", _executemany),
    Rung("unnest", "INSERT … SELECT FROM unnest", _unnest),
    Rung("copy_records", "COPY, rows written by asyncpg", _copy_records),
    Rung("copy_binary", "COPY, rows written by the ledger", _copy_binary),
)


async def _driver(connection: AsyncConnection) -> "asyncpg.Connection[Any]":
    driver = (await connection.get_raw_connection()).driver_connection
    assert isinstance(driver, asyncpg.Connection)
    return driver


def _rows(batches: Sequence[Granted]) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    for batch in batches:
        valid_from_ms, valid_until_ms = VALIDITY.of_grant(batch.at_ms)
        rows += [
            (
                *(seq, batch.epoch, batch.campaign_id, member_id, unit_no, slot, "fulfilled", batch.at_ms, key or None, code),
                *("active", valid_from_ms, valid_until_ms),
            )
            for seq, (member_id, unit_no, slot, code, key) in enumerate(batch.claims, batch.seq)
        ]
    return rows


def _columns(batches: Sequence[Granted]) -> list[list[Any]]:
    """The same by columns, which is cheaper than to turn rows round."""
    columns: list[list[Any]] = [[] for _ in COLUMNS]
    for batch in batches:
        wins = len(batch.claims)
        valid_from_ms, valid_until_ms = VALIDITY.of_grant(batch.at_ms)
        member_ids, unit_nos, slots, codes, keys = zip(*batch.claims, strict=True)
        parts: tuple[Sequence[Any], ...] = (
            range(batch.seq, batch.last_seq + 1),
            [batch.epoch] * wins,
            [batch.campaign_id] * wins,
            member_ids,
            unit_nos,
            slots,
            ["fulfilled"] * wins,
            [batch.at_ms] * wins,
            [key or None for key in keys],
            codes,
            ["active"] * wins,
            [valid_from_ms] * wins,
            [valid_until_ms] * wins,
        )
        for column, part in zip(columns, parts, strict=True):
            column.extend(part)
    return columns
