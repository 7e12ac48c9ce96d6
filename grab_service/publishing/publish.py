"""Publication from PostgreSQL into the cell: campaigns, codes, members.

Postgres comes first, then the cell: callers have committed. Each function may be repeated, by anybody, at any time and in
parallel; parts that are there already stay as they are. The ledger's sweep finishes an interrupted publication.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import orjson
from sqlalchemy import RowMapping, select, tuple_
from sqlalchemy.ext.asyncio import AsyncEngine

from grab_service.cell.store import Cell
from grab_service.sql.tables import campaigns, members, pool_codes
from grab_service.vocabulary.campaigns import BenefitKind, CampaignState, Release, encode_releases, encode_set
from grab_service.vocabulary.members import Member, MemberStatus, member_record
from grab_service.vocabulary.outcomes import CodesOutcome

CODES_PER_CALL: Final = 1000
MEMBERS_PER_CALL: Final = 1000
RULES_KEYS: Final = ("opens_at", "closes_at", "releases")
"""Parts of a definition not copied into `display`: they change after publication and stand in fields of their own."""


@dataclass(frozen=True, slots=True)
class Publication:
    """What the cell said to a campaign: `published`, `already`, or why not; `seq` of the log that shows it."""

    outcome: str
    seq: int


@dataclass(frozen=True, slots=True)
class CodesPublication:
    """Codes up to this position are in the pool; `seq` of the log that shows it; `loaded` of them by this call."""

    seq: int
    codes_loaded: int
    loaded: int


@dataclass(frozen=True, slots=True)
class MembersPublication:
    """Members up to this version are in the cell; `seq` of the log that shows it; `changed` of them by this call."""

    seq: int
    members_version: int
    changed: int


def published_fields(row: RowMapping) -> dict[str, str]:
    """What the cell keeps of a row of campaigns, by the names of the cell's fields; all but state and counters.

    The same for a campaign that is published and for a cell that is rebuilt, to the byte.
    """
    definition = row["definition"]
    eligibility = definition.get("eligibility") or {}
    display = {key: value for key, value in definition.items() if key not in RULES_KEYS}
    return {
        "version": str(row["version"]),
        "releases": encode_releases(Release(*release) for release in row["releases"]),
        "closes_at_ms": str(row["closes_at_ms"]),
        "limit_per_member": str(row["limit_per_member"]),
        "benefit_kind": definition["benefit"]["kind"],
        "orgs": encode_set(eligibility.get("orgs") or ()),
        "tags_any": encode_set(eligibility.get("tags_any") or ()),
        "birthday_months": encode_set(eligibility.get("birthday_months") or ()),
        "joined_before": eligibility.get("joined_before") or "",
        "display": orjson.dumps(display, option=orjson.OPT_SORT_KEYS).decode(),
    }


async def publish_campaign(engine: AsyncEngine, cell: Cell, campaign_id: str) -> Publication:
    """Put a campaign whose state in Postgres is `scheduled` into the cell, its codes first.

    Returns:
        outcome `published` or `already`; `published_before` if the cell has another version of it; `too_few_codes …` if the
        pool is smaller than the stock; `not_scheduled` if Postgres does not have it in that state, and nothing was done.

    Raises:
        CellError: see `grab_service.cell.store`; repeating is always safe.
    """
    async with engine.connect() as connection:
        row = (await connection.execute(select(campaigns).where(campaigns.c.campaign_id == campaign_id))).mappings().first()
    if row is None or row["state"] != CampaignState.SCHEDULED:
        return Publication("not_scheduled", 0)
    fields = published_fields(row)
    if fields["benefit_kind"] == BenefitKind.CODE_POOL:
        await publish_codes(engine, cell, campaign_id)
    reply = await cell.publish_campaign(campaign_id, fields)
    return Publication(f"{reply.outcome}\t{reply.detail}".rstrip("\t"), reply.seq)


async def publish_codes(engine: AsyncEngine, cell: Cell, campaign_id: str) -> CodesPublication:
    """Append to the campaign's pool in the cell what it does not have yet of the codes in Postgres, in their order.

    Raises:
        CellError: see `grab_service.cell.store`; repeating is always safe.
    """
    position, loaded, seq, loaded_in_cell = 0, 0, cell.seen_seq, 0
    while codes := await _codes_after(engine, campaign_id, position):
        outcome, seq, loaded_in_cell = await cell.load_codes(campaign_id, position + 1, codes)
        if outcome is CodesOutcome.CODES_LOADED:
            loaded += min(len(codes), loaded_in_cell - position)
        position = loaded_in_cell
    return CodesPublication(seq, loaded_in_cell, loaded)


async def publish_members(
    engine: AsyncEngine, cell: Cell, on_progress: Callable[[int], None] = lambda _done: None
) -> MembersPublication:
    """Bring the members' records in the cell up to what Postgres holds, in the order of their versions.

    After each call of the cell `hear` is told how many records it has been given so far.

    Raises:
        CellError: see `grab_service.cell.store`; repeating is always safe.
    """
    reply = await cell.snapshot(())
    seq, members_version, changed, sent = reply.seq, reply.members_version, 0, 0
    after = (members_version + 1, "")
    while rows := await _members_after(engine, after):
        last = rows[-1]
        # A version is only said to be complete when nobody else can have it.
        complete = last["version"] if len(rows) < MEMBERS_PER_CALL else last["version"] - 1
        members_version = max(members_version, complete)
        pairs = [text for row in rows for text in (row["member_id"], record_of(row))]
        _, seq, written = await cell.publish_members(members_version, pairs)
        changed += written
        sent += len(rows)
        on_progress(sent)
        after = (last["version"], last["member_id"])
    return MembersPublication(seq, members_version, changed)


def record_of(row: RowMapping) -> str:
    """The record in the cell of a row of members."""
    member = Member(
        member_id=row["member_id"],
        org_id=row["org_id"],
        person_id=None,
        name="",
        tags=tuple(row["tags"]),
        birthday_month=row["birthday_month"],
        joined_on=row["joined_on"],
        status=MemberStatus(row["status"]),
    )
    return member_record(member, row["blocked_until_ms"], row["version"])


async def _codes_after(engine: AsyncEngine, campaign_id: str, position: int) -> list[str]:
    query = (
        select(pool_codes.c.position, pool_codes.c.code)
        .where(pool_codes.c.campaign_id == campaign_id, pool_codes.c.position > position)
        .order_by(pool_codes.c.position)
        .limit(CODES_PER_CALL)
    )
    async with engine.connect() as connection:
        rows = (await connection.execute(query)).all()
    assert all(row.position == position + i for i, row in enumerate(rows, 1)), f"positions of codes of {campaign_id} have a gap"
    return [row.code for row in rows]


async def _members_after(engine: AsyncEngine, after: tuple[int, str]) -> Sequence[RowMapping]:
    key = tuple_(members.c.version, members.c.member_id)
    query = (
        select(
            members.c.member_id,
            members.c.version,
            members.c.status,
            members.c.org_id,
            members.c.blocked_until_ms,
            members.c.birthday_month,
            members.c.joined_on,
            members.c.tags,
        )
        .where(key > after)
        .order_by(members.c.version, members.c.member_id)
        .limit(MEMBERS_PER_CALL)
    )
    async with engine.connect() as connection:
        return (await connection.execute(query)).mappings().all()
