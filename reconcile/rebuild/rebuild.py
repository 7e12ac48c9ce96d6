"""The rebuild of a cell from Postgres alone.

Everything that the rules read is written down here: members, campaigns, claims, bindings, what came back, codes. The cell's own
hash comes last, so that a rebuild that was interrupted looks like an emptied cell, and is begun again.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from operator import itemgetter
from types import TracebackType
from typing import Any, Final, Self

import structlog
from sqlalchemy import RowMapping, TextClause, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from grab_service.audit.counters import COUNTERS
from grab_service.publishing.publish import published_fields
from grab_service.sql.tables import campaigns
from grab_service.vocabulary.campaigns import BenefitKind, CampaignState
from grab_service.vocabulary.keys import CampaignKeys, CellKeys
from reconcile.fence import Fence
from reconcile.rebuild import cell_from_sql
from reconcile.rebuild.progress import OnProgress, Progress
from reconcile.redis_link import Command

PAIRS_PER_COMMAND: Final = 500
COMMANDS_AT_ONCE: Final = 10
ROWS_AT_ONCE: Final = 5000
KEYS_PER_SCAN: Final = 1000
ANSWER_TIMEOUT_S: Final = 20.0
"""Of one write of many records: a slow disk must not make a rebuild begin again and again."""

NOTHING: Final = dict.fromkeys((*COUNTERS, "bound", "returned"), 0)

log = structlog.get_logger()


class Bulk:
    """Gathers many small writes into few commands; while one lot is on its way, the next is gathered.

    What is gathered when the block ends is sent; leaving it by an error leaves it unsent.
    """

    def __init__(self, fence: Fence, on_progress: OnProgress, records_all: int) -> None:
        self._fence = fence
        self._on_progress = on_progress
        self._all = records_all
        self._done = 0
        self._commands: list[Command] = []
        self._on_its_way: asyncio.Task[list[Any]] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None:
            await self._send()
            await self._arrived()
        elif self._on_its_way is not None:
            self._on_its_way.cancel()
            await asyncio.gather(self._on_its_way, return_exceptions=True)

    async def add(self, name: str, key: str, parts: Sequence[str | int], width: int, records_done: int) -> None:
        """`name key part…`, cut into commands of a bounded length; `width` parts belong together."""
        step = PAIRS_PER_COMMAND * width
        for at in range(0, len(parts), step):
            self._commands.append([name, key, *parts[at : at + step]])
            if len(self._commands) >= COMMANDS_AT_ONCE:
                await self._send()
        self._done += records_done
        self._on_progress(Progress(self._done, self._all))

    async def _send(self) -> None:
        await self._arrived()
        commands, self._commands = self._commands, []
        if commands:
            self._on_its_way = asyncio.create_task(self._fence.write(commands, ANSWER_TIMEOUT_S))

    async def _arrived(self) -> None:
        on_its_way, self._on_its_way = self._on_its_way, None
        if on_its_way is not None:
            await on_its_way


async def empty_cell(fence: Fence) -> None:
    """Delete every key of the cell but its fence; the hash first, so that the cell is closed and seen to be empty at once."""
    keys = fence.keys
    await fence.write([["DEL", keys.cell, keys.scripts]])
    cursor = b"0"
    while True:
        cursor, found = await fence.link.call("SCAN", cursor, "MATCH", keys.prefix + "*", "COUNT", KEYS_PER_SCAN)
        doomed = [key for key in found if key != keys.hold.encode()]
        if doomed:
            await fence.write([["UNLINK", *doomed]])
        if cursor == b"0":
            return


async def fill_cell(fence: Fence, engine: AsyncEngine, on_progress: OnProgress) -> int:
    """Write all but the cell's hash and the log, as of one snapshot of Postgres; the version of members it holds then.

    Raises:
        FencedOffError: another ledger has taken over.
        LinkBrokenError, SQLAlchemyError, OSError: begin again.
    """
    keys = fence.keys
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="REPEATABLE READ")
        await connection.execute(cell_from_sql.ROOM_TO_SORT)
        members = (await connection.execute(cell_from_sql.COUNT_MEMBERS)).one()
        counted = {row["campaign_id"]: row for row in (await connection.execute(cell_from_sql.COUNT_CLAIMS)).mappings()}
        published = select(campaigns).where(campaigns.c.published_seq.is_not(None)).order_by(campaigns.c.campaign_id)
        lots = [
            Lot(row["campaign_id"], keys.of_campaign(row["campaign_id"]), row, counted.get(row["campaign_id"], NOTHING))
            for row in (await connection.execute(published)).mappings()
        ]
        claims = sum(counts["active"] + counts["bound"] + counts["returned"] for counts in counted.values())
        async with Bulk(fence, on_progress, members.members + claims) as bulk:
            async for page in _pages(connection, cell_from_sql.MEMBERS):
                await bulk.add("HSET", keys.members, _flat(page), 2, len(page))
            await _fill_claims(connection, bulk, {lot.campaign_id: lot for lot in lots})
            await _fill_campaigns(connection, bulk, keys, lots)
    log.info("cell_filled", members=members.members, campaigns=len(lots), records=claims)
    return int(members.members_version)


@dataclass(frozen=True, slots=True)
class Lot:
    """One published campaign: its keys, its row, and what Postgres counted of its claims."""

    campaign_id: str
    keys: CampaignKeys
    row: RowMapping
    counted: Mapping[Any, int]

    @property
    def issued(self) -> int:
        """The highest unit ever issued; what was cut off the stock cannot be issued."""
        return min(self.counted["issued"], int(self.row["total"]))


async def _fill_claims(connection: AsyncConnection, bulk: Bulk, lots: Mapping[str, Lot]) -> None:
    """What was granted, bound, given back and is free again."""
    async for lot, parts in _by_campaign(connection, cell_from_sql.HOLDINGS, lots):
        holdings = parts[1::2]
        await bulk.add("HSET", lot.keys.claims, parts, 2, len(holdings) + sum(holding.count("\n") for holding in holdings))
    async for lot, parts in _by_campaign(connection, cell_from_sql.BINDINGS, lots):
        await bulk.add("HSET", lot.keys.bindings, parts, 2, len(parts) // 2)
    async for lot, parts in _by_campaign(connection, cell_from_sql.RETURNS, lots):
        await bulk.add("HSET", lot.keys.returns, parts, 2, len(parts) // 2)
    # Units that are held lie within what was issued: where as many are held, none is free.
    gaps = [lot for lot in lots.values() if lot.counted["active"] < lot.issued]
    about = {"campaign_ids": [lot.campaign_id for lot in gaps], "issued": [lot.issued for lot in gaps]}
    async for lot, parts in _by_campaign(connection, cell_from_sql.FREE_UNITS, lots, about):
        await bulk.add("ZADD", lot.keys.free, parts, 2, 0)


async def _fill_campaigns(connection: AsyncConnection, bulk: Bulk, keys: CellKeys, lots: Sequence[Lot]) -> None:
    """The codes of pools, and what the campaigns say of themselves."""
    fields_of = {lot.campaign_id: published_fields(lot.row) for lot in lots}
    pools = {lot.campaign_id: lot for lot in lots if fields_of[lot.campaign_id]["benefit_kind"] == BenefitKind.CODE_POOL}
    async for lot, parts in _by_campaign(connection, cell_from_sql.FREE_CODES, pools, {"campaign_ids": list(pools)}):
        await bulk.add("RPUSH", lot.keys.codes, parts, 1, 0)
    loaded = {row.campaign_id: row.codes_loaded for row in await connection.execute(cell_from_sql.CODES_LOADED)}
    for lot in lots:
        state = CampaignState(lot.row["state"])
        if state in {CampaignState.SETTLED, CampaignState.ARCHIVED}:
            state = CampaignState.CLOSED
        facts = {
            "state": state.value,
            **fields_of[lot.campaign_id],
            **{name: int(lot.counted[name]) for name in COUNTERS},  # sums come as decimals
            "issued": lot.issued,
            "codes_loaded": loaded.get(lot.campaign_id, 0) if lot.campaign_id in pools else 0,
        }
        if lot.row["closed_at_ms"] is not None:
            facts["closed_at_ms"] = lot.row["closed_at_ms"]
        await bulk.add("HSET", lot.keys.campaign, _flat(facts.items()), 2, 0)
    await bulk.add("SADD", keys.campaigns, [lot.campaign_id for lot in lots], 1, 0)


async def _by_campaign(
    connection: AsyncConnection, query: TextClause, lots: Mapping[str, Lot], about: Mapping[str, Any] | None = None
) -> AsyncIterator[tuple[Lot, list[Any]]]:
    """What a query says of these campaigns, flat and without the id, which stands first in its rows; in pieces of a page."""
    async for page in _pages(connection, query, about):
        for campaign_id, rows in groupby(page, itemgetter(0)):
            if campaign_id in lots:
                yield lots[campaign_id], [part for row in rows for part in row[1:]]


async def _pages(
    connection: AsyncConnection, query: TextClause, about: Mapping[str, Any] | None = None
) -> AsyncIterator[Sequence[Any]]:
    result = await connection.stream(query, dict(about or {}), execution_options={"max_row_buffer": ROWS_AT_ONCE})
    async for rows in result.partitions(ROWS_AT_ONCE):
        yield rows


def _flat(rows: Any) -> list[Any]:
    return list(chain.from_iterable(rows))
