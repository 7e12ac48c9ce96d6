"""How is a cell made again from Postgres alone?

Everything that the rules read is written down here: members, campaigns, claims, bindings, what came back, codes. The cell's own
hash comes last, so that a rebuild that was interrupted looks like an emptied cell, and is begun again.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from sqlalchemy import RowMapping, Select, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from grab_service.ops.publish import published_fields, record_of
from grab_service.sql.tables import campaigns, claims, members, pool_codes
from grab_service.vocabulary.campaigns import BenefitKind, CampaignState
from grab_service.vocabulary.claims import ClaimRecord
from grab_service.vocabulary.keys import CampaignKeys, CellKeys
from reconcile.wire import Command, Wire

PAIRS_PER_COMMAND: Final = 500
COMMANDS_AT_ONCE: Final = 20
ROWS_AT_ONCE: Final = 5000
KEYS_PER_SCAN: Final = 1000

_FREE_CODES: Final = text(
    "SELECT code FROM pool_codes WHERE campaign_id = :campaign_id"
    " AND NOT EXISTS (SELECT FROM claims WHERE claims.code = pool_codes.code) ORDER BY position"
)

log = structlog.get_logger()


class Bulk:
    """Gathers many small writes into few commands; `flush` sends the rest."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._commands: list[Command] = []

    async def add(self, name: str, key: str, parts: Sequence[str | int], width: int) -> None:
        """`name key part…`, cut into commands of a bounded length; `width` parts belong together."""
        step = PAIRS_PER_COMMAND * width
        for at in range(0, len(parts), step):
            self._commands.append([name, key, *parts[at : at + step]])
            if len(self._commands) >= COMMANDS_AT_ONCE:
                await self.flush()

    async def flush(self) -> None:
        """Send what is gathered."""
        commands, self._commands = self._commands, []
        if commands:
            await self._wire.calls(commands)


@dataclass(slots=True)
class _Counted:
    """What the claims of one campaign add up to."""

    active: int = 0
    unit_sum: int = 0
    seq_sum: int = 0
    unit_max: int = 0
    units: set[int] = field(default_factory=set)

    def add(self, unit_no: int, seq: int, is_active: bool) -> None:
        self.unit_max = max(self.unit_max, unit_no)
        if is_active:
            self.active += 1
            self.unit_sum += unit_no
            self.seq_sum += seq
            self.units.add(unit_no)


async def empty_cell(wire: Wire, keys: CellKeys) -> None:
    """Delete every key of the cell; its hash first, so that it is closed and seen to be empty from the beginning."""
    await wire.call("DEL", keys.cell, keys.scripts)
    cursor = b"0"
    while True:
        cursor, found = await wire.call("SCAN", cursor, "MATCH", keys.prefix + "*", "COUNT", KEYS_PER_SCAN)
        if found:
            await wire.call("UNLINK", *found)
        if cursor == b"0":
            return


async def fill_cell(wire: Wire, engine: AsyncEngine, keys: CellKeys) -> int:
    """Write all but the cell's hash and the log, as of one snapshot of Postgres; the version of members it holds then.

    Raises:
        WireBrokenError, SQLAlchemyError, OSError: begin again.
    """
    bulk = Bulk(wire)
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="REPEATABLE READ")
        members_version = await _fill_members(connection, bulk, keys)
        published = select(campaigns).where(campaigns.c.published_seq.is_not(None)).order_by(campaigns.c.campaign_id)
        for row in (await connection.execute(published)).mappings().all():
            await _fill_campaign(connection, bulk, keys, row)
    await bulk.flush()
    return members_version


async def _fill_members(connection: AsyncConnection, bulk: Bulk, keys: CellKeys) -> int:
    members_version = 0
    async for rows in _pages(connection, select(members)):
        await bulk.add("HSET", keys.members, [part for row in rows for part in (row["member_id"], record_of(row))], 2)
        members_version = max(members_version, *(row["version"] for row in rows))
    return members_version


async def _fill_campaign(connection: AsyncConnection, bulk: Bulk, keys: CellKeys, row: RowMapping) -> None:
    campaign_id = row["campaign_id"]
    campaign = keys.of_campaign(campaign_id)
    counted = await _fill_claims(connection, bulk, campaign, campaign_id)
    # What was cut off the stock cannot be issued; what lies below the highest unit ever issued and is not held is free.
    issued = min(counted.unit_max, row["total"])
    free = [unit for unit in range(1, issued + 1) if unit not in counted.units]
    await bulk.add("ZADD", campaign.free, [part for unit in free for part in (unit, unit)], 2)
    codes_loaded = 0
    fields = published_fields(row)
    if fields["benefit_kind"] == BenefitKind.CODE_POOL:
        codes_loaded = await _fill_codes(connection, bulk, campaign, campaign_id)
    state = CampaignState(row["state"])
    if state in {CampaignState.SETTLED, CampaignState.ARCHIVED}:
        state = CampaignState.CLOSED
    facts = {
        "state": state.value,
        **fields,
        "active": counted.active,
        "issued": issued,
        "unit_sum": counted.unit_sum,
        "seq_sum": counted.seq_sum,
        "codes_loaded": codes_loaded,
    }
    await bulk.add("HSET", campaign.campaign, [part for pair in facts.items() for part in pair], 2)
    await bulk.add("SADD", keys.campaigns, [campaign_id], 1)
    log.info("campaign_rebuilt", campaign_id=campaign_id, active=counted.active, free_units=len(free))


async def _fill_claims(connection: AsyncConnection, bulk: Bulk, campaign: CampaignKeys, campaign_id: str) -> _Counted:
    """Holdings, bindings and returns. The rows come by member, so that one member's claims stand together."""
    counted = _Counted()
    query = select(claims).where(claims.c.campaign_id == campaign_id).order_by(claims.c.member_id, claims.c.seq)
    holder, holding = "", ""
    async for rows in _pages(connection, query):
        holdings: list[str | int] = []
        bindings: list[str | int] = []
        returns: list[str | int] = []
        for row in rows:
            record = _record_of(row)
            is_active = row["returned_seq"] is None
            counted.add(record.unit_no, record.seq, is_active)
            if record.idempotency_key:
                bindings += (f"{row['member_id']}\t{record.idempotency_key}", record.encode())
            if not is_active:
                returns += (record.seq, row["returned_seq"])
            elif row["member_id"] == holder:
                holding = f"{holding}\n{record.encode()}"
            else:
                if holder:
                    holdings += (holder, holding)
                holder, holding = row["member_id"], record.encode()
        await bulk.add("HSET", campaign.claims, holdings, 2)
        await bulk.add("HSET", campaign.bindings, bindings, 2)
        await bulk.add("HSET", campaign.returns, returns, 2)
    if holder:
        await bulk.add("HSET", campaign.claims, [holder, holding], 2)
    return counted


async def _fill_codes(connection: AsyncConnection, bulk: Bulk, campaign: CampaignKeys, campaign_id: str) -> int:
    free: Iterable[str] = (await connection.execute(_FREE_CODES, {"campaign_id": campaign_id})).scalars()
    await bulk.add("RPUSH", campaign.codes, list(free), 1)
    loaded = select(pool_codes.c.position).where(pool_codes.c.campaign_id == campaign_id).order_by(pool_codes.c.position.desc())
    return (await connection.execute(loaded.limit(1))).scalar() or 0


async def _pages(connection: AsyncConnection, query: Select[Any]) -> AsyncIterator[Sequence[RowMapping]]:
    result = await connection.stream(query.execution_options(yield_per=ROWS_AT_ONCE))
    async for rows in result.mappings().partitions():
        yield rows


def _record_of(row: RowMapping) -> ClaimRecord:
    return ClaimRecord(
        seq=row["seq"],
        epoch=row["epoch"],
        unit_no=row["unit_no"],
        slot=row["slot"],
        granted_at_ms=row["granted_at_ms"],
        code=row["code"] or "",
        idempotency_key=row["idempotency_key"] or "",
    )
