"""The alarms of the ledger, and their end.

An alarm is a row that stays open until its cause is gone; there is one open row of a kind at most, with the newest detail.
"""

import time
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, Final

import structlog
from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from grab_service.sql.tables import alarms

log = structlog.get_logger()


class AlarmKind(StrEnum):
    """The kinds of alarms."""

    LOG_GAP = "log_gap"
    LOG_DUPLICATE = "log_duplicate"
    LOG_FOREIGN_EPOCH = "log_foreign_epoch"
    LOG_BAD_ENTRY = "log_bad_entry"
    LOG_VIOLATION = "log_violation"
    LOG_LOST = "log_lost"
    CELL_CLOSED = "cell_closed"
    AUDIT_RED = "audit_red"
    RETURN_REFUSED = "return_refused"
    PUBLISH_REFUSED = "publish_refused"
    SERVER_SETTINGS = "server_settings"
    RECOVERY_LOST = "recovery_lost"


LOG_KINDS: Final = frozenset(kind for kind in AlarmKind if kind.startswith("log_"))
"""Those that stop the drain."""


async def raise_alarm(engine: AsyncEngine, kind: AlarmKind, detail: Mapping[str, Any]) -> None:
    """Open an alarm, or give the open one of this kind the newest detail."""
    log.error("alarm_raised", kind=kind.value, **detail)
    row = insert(alarms).values(raised_at_ms=time.time_ns() // 1_000_000, kind=kind.value, detail=dict(detail))
    statement = row.on_conflict_do_update(
        index_elements=[alarms.c.kind],
        index_where=text("cleared_at_ms IS NULL AND kind <> 'recovery_lost'"),
        set_={"detail": row.excluded.detail},
    )
    async with engine.begin() as connection:
        await connection.execute(statement)


async def clear_alarms(engine: AsyncEngine, kinds: Iterable[AlarmKind]) -> None:
    """Close the open alarms of these kinds, if there are any."""
    statement = (
        alarms.update()
        .where(alarms.c.kind.in_([kind.value for kind in kinds]), alarms.c.cleared_at_ms.is_(None))
        .values(cleared_at_ms=time.time_ns() // 1_000_000)
        .returning(alarms.c.kind)
    )
    async with engine.begin() as connection:
        cleared = (await connection.execute(statement)).scalars().all()
    for kind in cleared:
        log.info("alarm_cleared", kind=kind)
