"""Can a worker do its work now, and if not, what is missing?"""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from grab_service.cell.store import Cell, CellError
from grab_service.ops.refusal import refusal_of
from grab_service.sql.tables import log_cursor
from grab_service.vocabulary.events import BadEntryError, decode

CHECK_TIMEOUT_S: Final = 2.0
LAG_MAX_MS: Final = 30_000
"""An entry of the log that has waited longer than this to be drained says that the ledger does not run."""


@dataclass(frozen=True, slots=True)
class Check:
    """Whether one thing is as it should be, in words for whoever is on call."""

    ok: bool
    detail: str


async def check_cell(cell: Cell) -> Check:
    """Redis answers, and the scripts are loaded."""
    try:
        now_ms = (await asyncio.wait_for(cell.read_campaigns([]), CHECK_TIMEOUT_S)).now_ms
    except CellError as error:
        return Check(ok=False, detail=str(error))
    except TimeoutError:
        return Check(ok=False, detail=f"no answer within {CHECK_TIMEOUT_S:.0f} s")
    return Check(ok=True, detail=f"epoch {cell.epoch}, Redis' clock is {now_ms}")


async def check_postgres(engine: AsyncEngine) -> Check:
    """Postgres answers, and has the tables."""

    async def ask() -> Check:
        async with engine.connect() as connection:
            await connection.execute(select(log_cursor.c.last_seq).limit(1))
        return Check(ok=True, detail="answers")

    return await _within_time(ask(), "Postgres")


async def check_ledger(engine: AsyncEngine, cell: Cell) -> Check:
    """What the cell logged is on record soon."""

    async def ask() -> Check:
        query = select(log_cursor.c.last_seq).where(log_cursor.c.cell == cell.name)
        async with engine.connect() as connection:
            last_seq = (await connection.execute(query)).scalar_one_or_none()
        if last_seq is None:
            return Check(ok=False, detail="the ledger has never run")
        reply = await cell.tail(last_seq, 1)
        if not reply.entries:
            return Check(ok=True, detail=f"on record up to seq {last_seq}")
        waits_ms = max(0, reply.now_ms - decode(*reply.entries[0]).at_ms)
        detail = f"on record up to seq {last_seq}, logged up to {reply.seq}, the oldest waits for {waits_ms} ms"
        return Check(ok=waits_ms <= LAG_MAX_MS, detail=detail)

    return await _within_time(ask(), "the ledger")


async def _within_time(check: Awaitable[Check], what: str) -> Check:
    try:
        return await asyncio.wait_for(check, CHECK_TIMEOUT_S)
    except BadEntryError as error:
        return Check(ok=False, detail=str(error)[:300])
    except Exception as error:
        refusal = refusal_of(error)
        if refusal is None:
            raise
        return Check(ok=False, detail=f"{what} cannot be asked: {refusal.name}")
