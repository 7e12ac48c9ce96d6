"""Readiness of a worker, and the list of failed checks."""

import asyncio
from collections.abc import Awaitable
from enum import StrEnum
from math import isfinite
from typing import Final

from redis.asyncio import Redis
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from grab_service.cell.store import Cell, CellError
from grab_service.health.check import ReadinessCheck
from grab_service.health.redis_checks import SERVER_CHECKS, check_server
from grab_service.refusal import refusal_of
from grab_service.sql.sessions import READS_ONLY
from grab_service.sql.tables import log_cursor
from grab_service.vocabulary.events import BadEntryError, decode

CHECK_TIMEOUT_S: Final = 2.0
LAG_MAX_MS: Final = 30_000
"""An entry of the log that has waited longer than this to be drained says that the ledger does not run."""
LACKS_TABLES: Final = ("42P01", "42703")
"""SQLSTATEs of a database that an older release, or nobody, has prepared."""
VIEW_AGE_MAX_S: Final = 2.0
"""Much longer than what the gate may refuse by: a worker that was busy for a moment is not replaced."""


class CheckName(StrEnum):
    """What `/readyz` looks at."""

    REDIS = "redis"
    SCRIPTS = "scripts"
    VIEW = "view"
    STAYING = "staying"
    DATA = "data"
    EVICTION_POLICY = "eviction_policy"
    AOF_POLICY = "aof_policy"
    REPLICAS = "replicas"
    SKEW = "skew"
    POSTGRES = "postgres"
    LAG = "lag"


async def check_readiness(
    cell: Cell,
    redis: Redis,
    engine: AsyncEngine,
    *,
    view_age_s: float,
    draining: bool,
    loading: bool = False,
    replicas_min: int = 0,
) -> dict[CheckName, ReadinessCheck]:
    """Look at everything; each check within `CHECK_TIMEOUT_S`."""
    server, scripts, postgres, lag = await asyncio.gather(
        _check_server(cell, redis, replicas_min), check_scripts(cell), check_postgres(engine), check_lag(engine, cell)
    )
    staying = ReadinessCheck(ok=not draining, detail="is about to end" if draining else "serves")
    data = ReadinessCheck(ok=not loading, detail="is being loaded" if loading else "is there")
    view = _check_view(view_age_s)
    of_us = {"view": view, "staying": staying, "data": data}
    found = {**server, **of_us, "scripts": scripts, "postgres": postgres, "lag": lag}
    return {name: found[name] for name in CheckName}


async def _check_server(cell: Cell, redis: Redis, replicas_min: int) -> dict[str, ReadinessCheck]:
    try:
        return await asyncio.wait_for(check_server(redis, cell.keys, replicas_min), CHECK_TIMEOUT_S)
    except TimeoutError:
        silent = ReadinessCheck(ok=False, detail=f"Redis does not answer within {CHECK_TIMEOUT_S:.0f} s")
        return dict.fromkeys(SERVER_CHECKS, silent)


def _check_view(age_s: float) -> ReadinessCheck:
    return ReadinessCheck(ok=age_s <= VIEW_AGE_MAX_S, detail=f"{age_s:.3f} s old" if isfinite(age_s) else "not complete")


async def check_scripts(cell: Cell) -> ReadinessCheck:
    """The cell is open, and answers to the scripts of this release."""
    try:
        now_ms = (await asyncio.wait_for(cell.read_campaigns([]), CHECK_TIMEOUT_S)).now_ms
    except CellError as error:
        return ReadinessCheck(ok=False, detail=str(error))
    except TimeoutError:
        return ReadinessCheck(ok=False, detail=f"no answer within {CHECK_TIMEOUT_S:.0f} s")
    return ReadinessCheck(ok=True, detail=f"epoch {cell.epoch}, Redis' clock is {now_ms}")


async def check_postgres(engine: AsyncEngine) -> ReadinessCheck:
    """Postgres answers, has the tables, and takes writes."""

    async def ask() -> ReadinessCheck:
        async with engine.connect() as connection:
            await connection.execute(select(log_cursor.c.last_seq))
            if (await connection.execute(text(READS_ONLY))).scalar_one():
                return ReadinessCheck(ok=False, detail="takes no writes: it is a standby, or set so")
        return ReadinessCheck(ok=True, detail="answers")

    return await _within_time(ask(), "Postgres")


async def check_lag(engine: AsyncEngine, cell: Cell) -> ReadinessCheck:
    """Entries of the cell's log are on record soon."""

    async def ask() -> ReadinessCheck:
        query = select(log_cursor.c.last_seq).where(log_cursor.c.cell == cell.name)
        async with engine.connect() as connection:
            last_seq = (await connection.execute(query)).scalar_one_or_none()
        if last_seq is None:
            return ReadinessCheck(ok=False, detail="the ledger has never run")
        reply = await cell.tail(last_seq, 1)
        if not reply.entries:
            return ReadinessCheck(ok=True, detail=f"on record up to seq {last_seq}")
        waits_ms = max(0, reply.now_ms - decode(*reply.entries[0]).at_ms)
        detail = f"on record up to seq {last_seq}, logged up to {reply.seq}, the oldest waits for {waits_ms} ms"
        return ReadinessCheck(ok=waits_ms <= LAG_MAX_MS, detail=detail)

    return await _within_time(ask(), "the ledger")


async def _within_time(check: Awaitable[ReadinessCheck], what: str) -> ReadinessCheck:
    try:
        return await asyncio.wait_for(check, CHECK_TIMEOUT_S)
    except BadEntryError as error:
        return ReadinessCheck(ok=False, detail=str(error)[:300])
    except Exception as error:
        refusal = refusal_of(error)
        if refusal is None and not isinstance(error, DBAPIError):
            raise
        return ReadinessCheck(ok=False, detail=f"{what} cannot be asked: {refusal.name if refusal else _of_postgres(error)}")


def _of_postgres(error: Exception) -> str:
    sqlstate = str(getattr(getattr(error, "orig", None), "sqlstate", None) or "")
    if sqlstate in LACKS_TABLES:
        return "the database lacks tables or columns of this release; `grab migrate` makes them"
    return f"PostgreSQL refuses with SQLSTATE {sqlstate or 'unknown'}"
