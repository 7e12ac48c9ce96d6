"""The log of ops: every change that they request is recorded before it is tried, and again with its outcome."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import time
from typing import Any, Final

import structlog
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from grab_service.refusal import refusal_of
from grab_service.sql.tables import ops_log
from grab_service.vocabulary.passes import OpsIdentity

REQUESTED: Final = "requested"
DONE: Final = "done"
FAILED: Final = "failed"
OBJECT_ID_MAX: Final = 100
LINE: Final = ("entry_id", "at_ms", "actor", "role", "action", "object_id", "reason", "outcome", "detail")
"""The fields of a line of the log."""

log = structlog.get_logger()


@dataclass(slots=True)
class Entry:
    """A line of the log while its call runs; its fields are written with the outcome."""

    detail: dict[str, Any] = field(default_factory=dict)


@asynccontextmanager
async def logged(
    engine: AsyncEngine,
    identity: OpsIdentity,
    action: str,
    object_id: str | None,
    *,
    reason: str | None = None,
    detail: Mapping[str, Any] | None = None,
) -> AsyncIterator[Entry]:
    """Write `requested`, run the body, write `done`, or the name of the refusal, or `failed`.

    A line that still says `requested` is of a call that died on its way: it may have been done or not.
    """
    entry = Entry(dict(detail or {}))
    row = {
        "at_ms": int(time() * 1000),
        "actor": identity.actor,
        "role": identity.role.value,
        "action": action,
        "object_id": _written(object_id),
        "reason": reason,
        "outcome": REQUESTED,
        "detail": entry.detail,
    }
    async with engine.begin() as connection:
        entry_id = (await connection.execute(insert(ops_log).values(row).returning(ops_log.c.entry_id))).scalar_one()
    try:
        yield entry
    except Exception as error:
        refusal = refusal_of(error)
        await _conclude(engine, entry_id, entry, refusal.name if refusal else FAILED)
        raise
    await _conclude(engine, entry_id, entry, DONE)


def _written(object_id: str | None) -> str | None:
    """The object of a request, even where no such object can exist: bounded, and fit for the database."""
    if object_id is None or (object_id.isprintable() and len(object_id) <= OBJECT_ID_MAX):
        return object_id
    return ascii(object_id[:OBJECT_ID_MAX])


async def _conclude(engine: AsyncEngine, entry_id: int, entry: Entry, outcome: str) -> None:
    values = {"outcome": outcome, "detail": entry.detail}
    try:
        async with engine.begin() as connection:
            await connection.execute(update(ops_log).where(ops_log.c.entry_id == entry_id).values(values))
    except Exception as error:  # noqa: BLE001 -- the call itself is over, whatever this is
        # Its line goes on saying `requested`, which is no lie.
        what = {"entry_id": entry_id, "outcome": outcome, "error": type(error).__name__}
        log.error("ops_log_not_concluded", **what)  # noqa: TRY400 -- what Postgres says may hold names


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Filter of lines; None: all. `from_ms` is the first moment, `to_ms` the first one after."""

    object_id: str | None = None
    actor: str | None = None
    action: str | None = None
    outcome: str | None = None
    from_ms: int | None = None
    to_ms: int | None = None


EVERYTHING: Final = LogFilter()


async def read_log(
    engine: AsyncEngine, *, before_entry_id: int | None, limit: int, wanted: LogFilter = EVERYTHING
) -> list[dict[str, Any]]:
    """Lines of the log, newest first."""
    query = select(*(ops_log.c[name] for name in LINE)).order_by(ops_log.c.entry_id.desc()).limit(limit)
    if before_entry_id is not None:
        query = query.where(ops_log.c.entry_id < before_entry_id)
    if wanted.object_id is not None:
        query = query.where(ops_log.c.object_id == _written(wanted.object_id))
    for name in ("actor", "action", "outcome"):
        value = getattr(wanted, name)
        if value is not None:
            query = query.where(ops_log.c[name] == value)
    if wanted.from_ms is not None:
        query = query.where(ops_log.c.at_ms >= wanted.from_ms)
    if wanted.to_ms is not None:
        query = query.where(ops_log.c.at_ms < wanted.to_ms)
    async with engine.connect() as connection:
        return [dict(zip(LINE, row, strict=True)) for row in await connection.execute(query)]
