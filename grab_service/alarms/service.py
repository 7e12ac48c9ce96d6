"""Alarms of the ledger: reading them, and recording their acknowledgement by ops."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Row, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from grab_service.ops_log.log import logged
from grab_service.refusal import RefusalError
from grab_service.sql.tables import alarms
from grab_service.vocabulary.passes import OpsIdentity

ALARM_ID_MAX: Final = 2**63 - 1


class AlarmState(StrEnum):
    """Open until its cause is gone; one that was acknowledged is open as well, and known."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    CLEARED = "cleared"


_IN_STATE: Final = {
    AlarmState.OPEN: alarms.c.cleared_at_ms.is_(None) & alarms.c.acknowledged_at_ms.is_(None),
    AlarmState.ACKNOWLEDGED: alarms.c.cleared_at_ms.is_(None) & alarms.c.acknowledged_at_ms.is_not(None),
    AlarmState.CLEARED: alarms.c.cleared_at_ms.is_not(None),
}


@dataclass(frozen=True, slots=True)
class Alarm:
    """One alarm. `kind` as HTTP writes it, with hyphens; times in Unix milliseconds, None: not (yet)."""

    alarm_id: int
    kind: str
    raised_at_ms: int
    detail: Mapping[str, Any]
    acknowledged_at_ms: int | None
    acknowledged_by: str | None
    cleared_at_ms: int | None

    @classmethod
    def of_row(cls, row: Row[Any]) -> "Alarm":
        """From a row of the table."""
        return cls(
            row.alarm_id,
            row.kind.replace("_", "-"),
            row.raised_at_ms,
            row.detail,
            row.acknowledged_at_ms,
            row.acknowledged_by,
            row.cleared_at_ms,
        )

    @property
    def state(self) -> AlarmState:
        """Its state, one of three."""
        if self.cleared_at_ms is not None:
            return AlarmState.CLEARED
        return AlarmState.OPEN if self.acknowledged_at_ms is None else AlarmState.ACKNOWLEDGED


async def list_alarms(engine: AsyncEngine, *, state: AlarmState | None, before_alarm_id: int | None, limit: int) -> list[Alarm]:
    """Alarms, newest first."""
    query = select(alarms).order_by(alarms.c.alarm_id.desc()).limit(limit)
    if state is not None:
        query = query.where(_IN_STATE[state])
    if before_alarm_id is not None:
        query = query.where(alarms.c.alarm_id < before_alarm_id)
    async with engine.connect() as connection:
        return [Alarm.of_row(row) for row in await connection.execute(query)]


async def acknowledge_alarm(engine: AsyncEngine, identity: OpsIdentity, alarm_id: str, reason: str) -> Alarm:
    """Take note of an alarm; the first ops user stays on record, and repeating is no error.

    Raises:
        RefusalError: alarm-not-found.
    """
    async with logged(engine, identity, "alarm.acknowledge", alarm_id, reason=reason):
        number = int(alarm_id) if alarm_id.isascii() and alarm_id.isdigit() and len(alarm_id) < 20 else 0
        if not 0 < number <= ALARM_ID_MAX:
            raise RefusalError("alarm-not-found")
        async with engine.begin() as connection:
            await connection.execute(
                update(alarms)
                .where(alarms.c.alarm_id == number, alarms.c.acknowledged_at_ms.is_(None))
                .values(acknowledged_at_ms=time.time_ns() // 1_000_000, acknowledged_by=identity.actor, acknowledged_why=reason)
            )
            row = (await connection.execute(select(alarms).where(alarms.c.alarm_id == number))).one_or_none()
        if row is None:
            raise RefusalError("alarm-not-found")
        return Alarm.of_row(row)
