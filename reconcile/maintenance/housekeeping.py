"""Housekeeping: deletion of old records, and regular audits of the running cell."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from grab_service.audit import AuditImpossibleError, audit_cell
from grab_service.audit.rotation import Rotation
from grab_service.cell.store import Cell, CellError
from grab_service.vocabulary.keys import CellKeys
from reconcile.alarms import AlarmKind, clear_alarms, raise_alarm
from reconcile.counters import Counters
from reconcile.drain.cursor import read_cursor
from reconcile.leader import Leader
from reconcile.rebuild.losses import report_losses

TRIM_PAGE: Final = 1000
TRIM_PAGES_MAX: Final = 100
TRIM_INTERVAL_S: Final = 60.0
LOSSES_INTERVAL_S: Final = 2.0
ALARMS_INTERVAL_S: Final = 2.0
RETRY_S: Final = 1.0
FORGOTTEN_MAX: Final = 10_000
ASSERTIONS_KEPT_S: Final = 600
"""An assertion that has expired cannot be used again; it is kept a while longer, against clocks that differ."""
TOKENS_KEPT_S: Final = 30 * 24 * 3600
"""A token of ops that has expired is shown for so long."""

_FORGET: Final = {
    text(
        f"DELETE FROM {table} WHERE {key} IN "  # noqa: S608 -- names of our own
        f"(SELECT {key} FROM {table} WHERE expires_at_ms < :before_ms ORDER BY expires_at_ms LIMIT :most)"
    ): kept_s
    for table, key, kept_s in (("used_assertions", "jti", ASSERTIONS_KEPT_S), ("ops_tokens", "token_id", TOKENS_KEPT_S))
}

_OPEN_ALARMS: Final = text(
    "SELECT kind, CASE WHEN acknowledged_at_ms IS NULL THEN 'open' ELSE 'acknowledged' END AS state, count(*) AS number "
    "FROM alarms WHERE cleared_at_ms IS NULL GROUP BY 1, 2"
)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Housekeeping:
    """Trims the log, forgets what has expired, audits in the background; only while leading."""

    engine: AsyncEngine
    redis: Redis
    cell: Cell
    leader: Leader
    counters: Counters
    log_retention_h: float
    audit_interval_s: float
    audit_soon: asyncio.Event

    def works(self) -> dict[str, Coroutine[Any, Any, None]]:
        """All there is to do, each at its own pace, until cancelled."""
        return {
            "trim": self._every(TRIM_INTERVAL_S, self.trim),
            "forget_expired": self._every(TRIM_INTERVAL_S, self.forget_expired),
            "losses": self._every(LOSSES_INTERVAL_S, self.report_losses),
            "alarms": self._every(ALARMS_INTERVAL_S, self.count_alarms),
            "audit": self._every(self.audit_interval_s, self.audit, self.audit_soon),
        }

    async def _every(self, interval_s: float, work: Callable[[], Awaitable[Any]], soon: asyncio.Event | None = None) -> None:
        """Work at intervals, and at once when `soon` is set; failed work is tried again before long."""
        soon = soon or asyncio.Event()
        wait_s = interval_s
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await soon.wait()
            soon.clear()
            wait_s = interval_s
            await self.leader.wait()
            try:
                await work()
            except (RedisError, CellError, SQLAlchemyError, AuditImpossibleError, OSError, TimeoutError) as error:
                wait_s = min(RETRY_S, interval_s)
                log.warning("housekeeping_waits", work=getattr(work, "__name__", ""), why=str(error)[:300])

    async def trim(self) -> int:
        """Take drained entries older than the retention off the log, the last one drained excepted; how many.

        Never by length: an entry that nobody has drained stays, however long the log gets.
        """
        log_key = CellKeys.of(self.cell.name).log
        horizon_ms = time.time_ns() // 1_000_000 - int(self.log_retention_h * 3_600_000)
        trimmed = 0
        for _ in range(TRIM_PAGES_MAX):
            cursor = await read_cursor(self.engine, self.cell.name)
            page: Any = await self.redis.xrange(log_key, count=TRIM_PAGE)
            if cursor is None or not page:
                break
            old = (
                int(entry_id.split(b"-")[0]) < cursor.last_seq and int(fields[b"at_ms"]) < horizon_ms
                for entry_id, fields in page
            )
            keep = next((at for at, is_old in enumerate(old) if not is_old), len(page) - 1)
            if keep == 0:
                break
            trimmed += await self.redis.xtrim(log_key, minid=page[keep][0], approximate=False)
        if trimmed:
            self.counters.trimmed += trimmed
            log.info("log_trimmed", entries=trimmed)
        return trimmed

    async def forget_expired(self) -> int:
        """Forget assertions and tokens of ops that expired a while ago; how many."""
        now_ms, forgotten = time.time_ns() // 1_000_000, 0
        async with self.engine.begin() as connection:
            for forget, kept_s in _FORGET.items():
                bounds = {"before_ms": now_ms - kept_s * 1000, "most": FORGOTTEN_MAX}
                forgotten += (await connection.execute(forget, bounds)).rowcount
        return forgotten

    async def report_losses(self) -> int:
        """Tell of what was lost with a life of the cell; workers may say it a while after the recovery."""
        told = await report_losses(self.engine)
        self.counters.alarms += told
        return told

    async def count_alarms(self) -> None:
        """Count the alarms that are not cleared, for the figures."""
        async with self.engine.connect() as connection:
            found = {(row.kind, row.state): row.number for row in await connection.execute(_OPEN_ALARMS)}
        states = ((kind.value, state) for kind in AlarmKind for state in ("open", "acknowledged"))
        self.counters.open_alarms = {labels: found.get(labels, 0) for labels in states}

    async def audit(self) -> bool:
        """Audit the open cell, claims one by one; whether everything holds. A fault raises an alarm; it closes nothing."""
        rotation = await Rotation.read(self.engine)
        report = await audit_cell(self.cell, self.engine, self.redis, rotation=rotation)
        await rotation.write(self.engine)
        self.counters.audit_green = int(report.holds)
        self.counters.audit_timestamp_seconds = report.at_ms / 1000
        self.counters.audit_share = report.share_compared
        oldest_ms = report.oldest_comparison_at_ms
        self.counters.audit_oldest_seconds = -1 if oldest_ms is None else max(0, (report.at_ms - oldest_ms) // 1000)
        compared = {
            "records": report.records_compared,
            "left": report.records_left,
            "share": round(report.share_compared, 4),
            "oldest_comparison_s": self.counters.audit_oldest_seconds,
        }
        if report.holds:
            log.info("audit_green", seq=report.seq, **compared)
            await clear_alarms(self.engine, (AlarmKind.AUDIT_RED,))
        else:
            self.counters.alarms += 1
            await raise_alarm(self.engine, AlarmKind.AUDIT_RED, {"seq": report.seq, "faults": report.faults, **compared})
        return report.holds
