"""The campaigns as Postgres has them, as of a seq.

A claim whose unit came back after that seq still held it then, whatever its state is now. One that was decided here and is not
freed in the cell yet counts as active, for in the cell it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from grab_service.audit.counters import COMPARED, columns_of
from grab_service.sql.tables import HELD
from grab_service.vocabulary.campaigns import Release

_CAMPAIGNS: Final = text(
    "SELECT campaign_id, state, releases, total, limit_per_member, definition -> 'benefit' ->> 'kind' AS benefit_kind,"
    " least(closes_at_ms, closed_at_ms) AS over_at_ms,"
    " (SELECT count(*) FROM pool_codes WHERE pool_codes.campaign_id = campaigns.campaign_id) AS pool_codes "
    "FROM campaigns WHERE published_seq <= :seq ORDER BY campaign_id"
)
_SUMS: Final = (
    " count(*) FILTER (WHERE NOT active) AS returned,"
    " coalesce(max(unit_no) FILTER (WHERE active), 0) AS unit_max,"
    " coalesce(max(ordinal) FILTER (WHERE source = 'grab'), 0) AS ordinal_max,"
    " count(*) FILTER (WHERE active AND source = 'make_good') AS made_good,"
    " count(code) AS codes,"
    " count(*) FILTER (WHERE code IS NOT NULL OR (returned_seq > :seq AND voucher_state IS NOT NULL)) AS codes_out,"
    " count(*) FILTER (WHERE held) AS held,"
    f" {columns_of(COMPARED)}"
)
_DISTINCT: Final = (
    ", count(DISTINCT member_id) FILTER (WHERE active) AS holders,"
    " count(DISTINCT unit_no) FILTER (WHERE active) AS units,"
    " count(DISTINCT member_id || '/' || ordinal) FILTER (WHERE active) AS ordinals,"
    " count(DISTINCT code) AS codes_distinct"
)
_AS_OF: Final = (
    " FROM (SELECT *, returned_seq IS NULL OR returned_seq > :seq AS active,"  # noqa: S608 -- put together from constants
    f" {HELD} AS held FROM claims WHERE seq <= :seq) AS as_of GROUP BY campaign_id"
)
_ROOM_TO_SORT: Final = text("SET LOCAL work_mem = '64MB'")
_CURSOR: Final = text("SELECT epoch, last_seq FROM log_cursor WHERE cell = :cell")


@dataclass(frozen=True, slots=True)
class CampaignBooks:
    """One published campaign in Postgres. All but `state`, `releases`, `total` and `held` are as of the seq asked for.

    `over_at_ms`: when it closes, or was closed.
    `ordinal_max` is that of claims that were grabbed; `made_good` counts active claims that ops have given.
    `counted`: what the counters of the rules should be, by name.
    `codes` counts those that claims have now, `codes_out` those that they had then: what came back since has given its code up.
    `holders`, `units`, `ordinals` and `codes_distinct` count what is distinct; None if that was not counted.
    """

    campaign_id: str
    state: str
    releases: tuple[Release, ...]
    total: int
    limit_per_member: int
    benefit_kind: str
    over_at_ms: int
    pool_codes: int
    counted: Mapping[str, int]
    returned: int = 0
    unit_max: int = 0
    ordinal_max: int = 0
    made_good: int = 0
    codes: int = 0
    codes_out: int = 0
    held: int = 0
    holders: int | None = 0
    units: int | None = 0
    ordinals: int | None = 0
    codes_distinct: int | None = 0

    @property
    def active(self) -> int:
        """Claims that hold a unit."""
        return self.counted["active"]


@dataclass(frozen=True, slots=True)
class Books:
    """All published campaigns, from one snapshot of Postgres; `strays` are ids that claims name and no campaign has."""

    epoch: int
    cursor_seq: int
    campaigns: Mapping[str, CampaignBooks]
    strays: tuple[str, ...]


async def read_cursor_seq(engine: AsyncEngine, cell_name: str) -> tuple[int, int]:
    """(epoch, last_seq) of what has been drained; (0, 0) if nothing ever was."""
    async with engine.connect() as connection:
        return await _cursor(connection, cell_name)


async def read_books(engine: AsyncEngine, cell_name: str, seq: int, *, distinct: bool = True) -> Books:
    """Read everything in one snapshot. The cursor must have reached `seq` before.

    To count what is distinct takes seconds for a million claims, all else a fraction of one. Without it the holders are known
    only where everybody may hold one claim.
    """
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="REPEATABLE READ")
        epoch, cursor_seq = await _cursor(connection, cell_name)
        campaigns = (await connection.execute(_CAMPAIGNS, {"seq": seq})).mappings().all()
        await connection.execute(_ROOM_TO_SORT)
        query = text("SELECT campaign_id," + _SUMS + (_DISTINCT if distinct else "") + _AS_OF)
        claims = {row["campaign_id"]: row for row in (await connection.execute(query, {"seq": seq})).mappings()}
    books = {}
    for row in campaigns:
        figures: dict[str, Any] = {**row, "releases": tuple(Release(*release) for release in row["releases"])}
        of_claims: Mapping[Any, Any] = claims.pop(row["campaign_id"], {})
        # Sums come as decimals.
        numbers = {name: int(value) for name, value in of_claims.items() if name != "campaign_id"}
        counted = {name: numbers.pop(name, 0) for name in COMPARED}
        figures |= numbers
        if numbers and not distinct:
            figures |= {"units": None, "ordinals": None, "codes_distinct": None}
            each_holds_one = row["limit_per_member"] == 1 and not numbers["made_good"]
            figures["holders"] = counted["active"] if each_holds_one else None
        books[row["campaign_id"]] = CampaignBooks(counted=counted, **figures)
    return Books(epoch, cursor_seq, books, tuple(sorted(claims)))


async def _cursor(connection: AsyncConnection, cell_name: str) -> tuple[int, int]:
    row = (await connection.execute(_CURSOR, {"cell": cell_name})).one_or_none()
    return (0, 0) if row is None else (row.epoch, row.last_seq)
