"""How is a cell made again from Postgres alone?

Everything that the rules read is written down here: members, campaigns, claims, bindings, what came back, codes. The cell's own
hash comes last, so that a rebuild that was interrupted looks like an emptied cell, and is begun again.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import chain
from types import TracebackType
from typing import Any, Final, Self

import structlog
from sqlalchemy import RowMapping, TextClause, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from grab_service.ops.publish import published_fields
from grab_service.sql.tables import campaigns
from grab_service.vocabulary.campaigns import BenefitKind, CampaignState
from grab_service.vocabulary.keys import CellKeys
from reconcile import records
from reconcile.hold import Hold
from reconcile.progress import Hear, Progress
from reconcile.wire import Command

PAIRS_PER_COMMAND: Final = 500
COMMANDS_AT_ONCE: Final = 10
ROWS_AT_ONCE: Final = 5000
KEYS_PER_SCAN: Final = 1000
ANSWER_TIMEOUT_S: Final = 20.0
"""Of one write of many records: a slow disk must not make a rebuild begin again and again."""

NOTHING: Final[Mapping[str, int]] = {"active": 0, "unit_sum": 0, "seq_sum": 0, "unit_max": 0, "bound": 0, "returned": 0}

log = structlog.get_logger()


class Bulk:
    """Gathers many small writes into few commands; while one lot is on its way, the next is gathered.

    What is gathered when the block ends is sent; leaving it by an error leaves it unsent.
    """

    def __init__(self, hold: Hold, hear: Hear, records_all: int) -> None:
        self._hold = hold
        self._hear = hear
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
        self._hear(Progress(self._done, self._all))

    async def _send(self) -> None:
        await self._arrived()
        commands, self._commands = self._commands, []
        if commands:
            self._on_its_way = asyncio.create_task(self._hold.write(commands, ANSWER_TIMEOUT_S))

    async def _arrived(self) -> None:
        on_its_way, self._on_its_way = self._on_its_way, None
        if on_its_way is not None:
            await on_its_way


async def empty_cell(hold: Hold) -> None:
    """Delete every key of the cell but the hold on it; its hash first, so that it is closed, and seen to be empty, at once."""
    keys = hold.keys
    await hold.write([["DEL", keys.cell, keys.scripts]])
    cursor = b"0"
    while True:
        cursor, found = await hold.wire.call("SCAN", cursor, "MATCH", keys.prefix + "*", "COUNT", KEYS_PER_SCAN)
        doomed = [key for key in found if key != keys.hold.encode()]
        if doomed:
            await hold.write([["UNLINK", *doomed]])
        if cursor == b"0":
            return


async def fill_cell(hold: Hold, engine: AsyncEngine, hear: Hear) -> int:
    """Write all but the cell's hash and the log, as of one snapshot of Postgres; the version of members it holds then.

    Raises:
        FencedOffError: another ledger has taken over.
        WireBrokenError, SQLAlchemyError, OSError: begin again.
    """
    keys = hold.keys
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="REPEATABLE READ")
        await connection.execute(records.ROOM_TO_SORT)
        members = (await connection.execute(records.COUNT_MEMBERS)).one()
        counted = {row["campaign_id"]: row for row in (await connection.execute(records.COUNT_CLAIMS)).mappings()}
        published = select(campaigns).where(campaigns.c.published_seq.is_not(None)).order_by(campaigns.c.campaign_id)
        rows = (await connection.execute(published)).mappings().all()
        claims = sum(counts["active"] + counts["bound"] + counts["returned"] for counts in counted.values())
        async with Bulk(hold, hear, members.members + claims) as bulk:
            async for page in _pages(connection, records.MEMBERS):
                await bulk.add("HSET", keys.members, _flat(page), 2, len(page))
            for row in rows:
                await _fill_campaign(connection, bulk, keys, row, counted.get(row["campaign_id"], NOTHING))
    return int(members.members_version)


async def _fill_campaign(
    connection: AsyncConnection, bulk: Bulk, keys: CellKeys, row: RowMapping, counted: Mapping[Any, int]
) -> None:
    campaign_id = row["campaign_id"]
    campaign = keys.of_campaign(campaign_id)
    about = {"campaign_id": campaign_id}
    async for page in _pages(connection, records.HOLDINGS, about):
        claims = len(page) + sum(holding.count("\n") for _, holding in page)
        await bulk.add("HSET", campaign.claims, _flat(page), 2, claims)
    for query, key in ((records.BINDINGS, campaign.bindings), (records.RETURNS, campaign.returns)):
        async for page in _pages(connection, query, about):
            await bulk.add("HSET", key, _flat(page), 2, len(page))
    # What was cut off the stock cannot be issued.
    issued = min(counted["unit_max"], row["total"])
    async for page in _pages(connection, records.FREE_UNITS, {**about, "issued": issued}):
        await bulk.add("ZADD", campaign.free, _flat(page), 2, 0)
    codes_loaded = 0
    fields = published_fields(row)
    if fields["benefit_kind"] == BenefitKind.CODE_POOL:
        async for page in _pages(connection, records.FREE_CODES, about):
            await bulk.add("RPUSH", campaign.codes, _flat(page), 1, 0)
        codes_loaded = (await connection.execute(records.CODES_LOADED, about)).scalar_one()
    state = CampaignState(row["state"])
    if state in {CampaignState.SETTLED, CampaignState.ARCHIVED}:
        state = CampaignState.CLOSED
    facts = {
        "state": state.value,
        **fields,
        "active": counted["active"],
        "issued": issued,
        "unit_sum": int(counted["unit_sum"]),  # sums come as decimals
        "seq_sum": int(counted["seq_sum"]),
        "codes_loaded": codes_loaded,
    }
    await bulk.add("HSET", campaign.campaign, _flat(facts.items()), 2, 0)
    await bulk.add("SADD", keys.campaigns, [campaign_id], 1, 0)
    log.info("campaign_rebuilt", campaign_id=campaign_id, active=counted["active"], issued=issued)


async def _pages(
    connection: AsyncConnection, query: TextClause, about: Mapping[str, Any] | None = None
) -> AsyncIterator[Sequence[Any]]:
    result = await connection.stream(query, dict(about or {}), execution_options={"max_row_buffer": ROWS_AT_ONCE})
    async for rows in result.partitions(ROWS_AT_ONCE):
        yield rows


def _flat(rows: Any) -> list[Any]:
    return list(chain.from_iterable(rows))
