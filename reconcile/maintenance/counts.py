"""The sums of what the workers counted: read from the cell once a second, and added up in Postgres.

Sums and cursor move in one transaction, by compare-and-set, so that each entry is added once, whichever ledger dies or sleeps.
Ids of the stream are times, so the cursor stays right when the stream is gone and begins anew: at worst, after a clock that
went back, entries are passed over, never added twice. The drain, which has connections of its own, does not wait for this.
"""

import asyncio
import time
from collections import Counter
from typing import Any, Final

import structlog
from redis.exceptions import ResponseError
from sqlalchemy import select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from grab_service.sql.tables import counts_cursor
from grab_service.vocabulary.counts import NO_CAMPAIGN, BadCountsError, Place, decode_counts
from grab_service.vocabulary.keys import CellKeys
from reconcile.drain.cursor import CursorMovedError
from reconcile.drain.drain import OpenLink
from reconcile.leader import Leader
from reconcile.redis_link import LinkBrokenError, RedisLink

INTERVAL_S: Final = 1.0
RETRY_MAX_S: Final = 30.0
ENTRIES_MAX: Final = 200
KEPT_MS: Final = 24 * 3_600_000
"""For so long what was added up stays in the cell, for a Postgres that is set back to an earlier point."""

TRIM_EVERY: Final = 60
HOUR_S: Final = 3600
_BEGIN: Final = "0-0"
_ADD: Final = text(
    "INSERT INTO counts (campaign_id, second, outcome, n) SELECT * FROM unnest("
    "CAST(:campaign_ids AS text[]), CAST(:seconds AS bigint[]), CAST(:outcomes AS text[]), CAST(:numbers AS bigint[])) "
    "ON CONFLICT (campaign_id, second, outcome) DO UPDATE SET n = counts.n + excluded.n"
)

log = structlog.get_logger()


class CountsReader:
    """Adds up what the workers counted, while its ledger leads."""

    def __init__(self, engine: AsyncEngine, cell_name: str, open_link: OpenLink, leader: Leader) -> None:
        self._engine = engine
        self._cell_name = cell_name
        self._key = CellKeys.of(cell_name).counts
        self._open_link = open_link
        self._leader = leader
        self._said = False

    async def run(self) -> None:
        """Read until cancelled. A Redis or a Postgres that is away is waited out, and said once."""
        retry_s = INTERVAL_S
        while True:
            await self._leader.wait()
            try:
                link = await self._open_link()
                try:
                    await self._read_on(link)
                finally:
                    await link.close()
                retry_s = INTERVAL_S
            except (LinkBrokenError, ResponseError, SQLAlchemyError, CursorMovedError, OSError, TimeoutError) as error:
                retry_s = min(2 * retry_s, RETRY_MAX_S) if self._said else INTERVAL_S
                if not self._said:
                    log.warning("counts_wait", why=str(error)[:300])
                self._said = True
            await asyncio.sleep(retry_s)

    async def _read_on(self, link: RedisLink) -> None:
        for turn in range(TRIM_EVERY):
            if not self._leader.leads:
                return
            while await self.step(link) == ENTRIES_MAX:
                pass
            self._said = False
            if turn == 0:
                await link.call("XTRIM", self._key, "MINID", "~", time.time_ns() // 1_000_000 - KEPT_MS)
            await asyncio.sleep(INTERVAL_S)

    async def step(self, link: RedisLink) -> int:
        """Add up the entries behind the cursor, so many at most; how many there were.

        Raises:
            CursorMovedError: another ledger has added up meanwhile; nothing was written.
            LinkBrokenError, ResponseError, SQLAlchemyError, OSError, TimeoutError: begin again.
        """
        query = select(counts_cursor.c.last_id).where(counts_cursor.c.cell == self._cell_name)
        async with self._engine.connect() as connection:
            before = (await connection.execute(query)).scalar_one_or_none()
        entries = await link.call("XRANGE", self._key, f"({before or _BEGIN}", "+", "COUNT", ENTRIES_MAX)
        if entries:
            await self._write(_sums_of(entries), before, entries[-1][0].decode())
        return len(entries)

    async def _write(self, sums: Counter[Place], before: str | None, last_id: str) -> None:
        moved = (
            insert(counts_cursor).values(cell=self._cell_name, last_id=last_id).on_conflict_do_nothing()
            if before is None
            else update(counts_cursor)
            .where(counts_cursor.c.cell == self._cell_name, counts_cursor.c.last_id == before)
            .values(last_id=last_id)
        )
        async with self._engine.begin() as connection:
            if (await connection.execute(moved)).rowcount != 1:
                raise CursorMovedError("another ledger has added up these counts")
            if sums:
                columns: dict[str, list[Any]] = {
                    "campaign_ids": [place.campaign_id for place in sums],
                    "seconds": [place.second for place in sums],
                    "outcomes": [place.outcome for place in sums],
                    "numbers": list(sums.values()),
                }
                await connection.execute(_ADD, columns)


def _sums_of(entries: list[Any]) -> Counter[Place]:
    """What these entries say together. One that no worker of ours wrote is passed over: it is a count, and stops nothing."""
    sums: Counter[Place] = Counter()
    for entry_id, flat in entries:
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        try:
            found = decode_counts(fields.get(b"counts", b""))
        except BadCountsError as error:
            log.warning("counts_unreadable", entry_id=entry_id.decode(), why=str(error)[:300])
            continue
        for place, n in found.items():
            # Without a campaign there is no end to it, so it is kept by the hour.
            coarse = place._replace(second=place.second - place.second % HOUR_S)
            sums[coarse if place.campaign_id == NO_CAMPAIGN else place] += n
    return sums
