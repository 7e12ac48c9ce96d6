"""Import of members from a file, and blocks of a member for a time.

Postgres comes first, each change with a rising version; then the cell is told. The next grab obeys the change that ops were
answered.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog
from sqlalchemy import Row, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from grab_service.cell.store import Cell, CellError
from grab_service.files.csv_rows import Rejection
from grab_service.files.members_csv import MemberRow, parse_members
from grab_service.http.uploads import Parsed, read_file
from grab_service.members.versions import lock_versions, next_version
from grab_service.ops_log.log import logged
from grab_service.publishing.publish import publish_members
from grab_service.refusal import RefusalError
from grab_service.sql.tables import members, orgs
from grab_service.vocabulary.identifiers import is_member_id
from grab_service.vocabulary.members import Member, MemberStatus
from grab_service.vocabulary.passes import OpsIdentity
from grab_service.vocabulary.times import MOMENT_MAX_MS

ROWS_PER_STATEMENT: Final = 5_000
NEW_ORGS_LOGGED: Final = 20
FOREVER_MS: Final = MOMENT_MAX_MS
"""A block that lasts until it is lifted."""

# Tags hold no comma, so a list of them travels as one text: arrays of arrays would all have to be of one length.
_UPSERT: Final = text(
    "INSERT INTO members (member_id, org_id, person_id, name, tags, birthday_month, joined_on, status, version) "
    "SELECT member_id, org_id, person_id, name, string_to_array(tags, ','), birthday_month, joined_on, status,"
    " nextval('members_version') "
    "FROM unnest(CAST(:member_id AS text[]), CAST(:org_id AS text[]), CAST(:person_id AS text[]), CAST(:name AS text[]),"
    " CAST(:tags AS text[]), CAST(:birthday_month AS smallint[]), CAST(:joined_on AS date[]), CAST(:status AS text[])) "
    "AS given (member_id, org_id, person_id, name, tags, birthday_month, joined_on, status) "
    "ON CONFLICT (member_id) DO UPDATE SET org_id = excluded.org_id, person_id = excluded.person_id, name = excluded.name,"
    " tags = excluded.tags, birthday_month = excluded.birthday_month, joined_on = excluded.joined_on,"
    " status = excluded.status, version = excluded.version "
    "WHERE (members.org_id, members.person_id, members.name, members.tags, members.birthday_month, members.joined_on,"
    " members.status) IS DISTINCT FROM (excluded.org_id, excluded.person_id, excluded.name, excluded.tags,"
    " excluded.birthday_month, excluded.joined_on, excluded.status) "
    "RETURNING (xmax = 0) AS inserted"
)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class NewOrg:
    """A union that a file has made known, and how many of its rows name it."""

    org_id: str
    rows: int


@dataclass(frozen=True, slots=True)
class MembersImport:
    """What became of a file: `rows` = `imported` + `updated` + `rejected_rows`.

    Attributes:
        updated: were known before.
        unchanged: those of them who are as they were.
        rejected: a reason for each cell that could not be taken; a row may have several.
        new_orgs: unions that nobody had registered, and how many rows name each: a typo shows here.
        published: whether the cell has been told.
    """

    imported: int
    updated: int
    unchanged: int
    rejected: Sequence[Rejection]
    published: bool
    rows: int
    rejected_rows: int
    new_orgs: Sequence[NewOrg]


@dataclass(frozen=True, slots=True)
class Block:
    """A member who may not grab until then."""

    member_id: str
    until_ms: int
    reason: str


OnProgress = Callable[[str, int, int], None]
"""Is told how far an import has come: `read`, `written` or `published`, members so far, members in all."""


def _no_progress(_step: str, _done: int, _total: int) -> None:
    """What most callers want."""


async def import_members(
    engine: AsyncEngine, cell: Cell, identity: OpsIdentity, data: bytes, on_progress: OnProgress = _no_progress
) -> MembersImport:
    """Take the members of a CSV file; unions that nobody has named yet are registered by their id.

    Raises:
        RefusalError: validation if the file cannot be read.
    """
    async with logged(engine, identity, "members.import", None) as entry:
        parsed: Parsed[MemberRow] = await asyncio.to_thread(read_file, parse_members, data, MemberRow)
        total = len(parsed.rows)
        on_progress("read", total, total)
        imported = changed = 0
        async with engine.begin() as connection:
            await lock_versions(connection)
            new_orgs = await _know_orgs(connection, Counter(row.member.org_id for row in parsed.rows))
            for start in range(0, len(parsed.rows), ROWS_PER_STATEMENT):
                columns = _columns(parsed.rows[start : start + ROWS_PER_STATEMENT])
                written = (await connection.execute(_UPSERT, columns)).scalars().all()
                imported += sum(written)
                changed += len(written) - sum(written)
                on_progress("written", min(start + ROWS_PER_STATEMENT, total), total)
        updated = total - imported
        entry.detail |= {"imported": imported, "updated": updated, "rejected": parsed.rejected_rows}
        entry.detail["new_orgs"] = [org.org_id for org in new_orgs[:NEW_ORGS_LOGGED]]
        published = True
        try:
            await publish_members(engine, cell, lambda done: on_progress("published", done, max(done, imported + changed)))
        except CellError as error:
            log.warning("members_not_published_yet", why=str(error))
            published = False
        return MembersImport(
            imported,
            updated,
            updated - changed,
            parsed.rejected,
            published,
            rows=total + parsed.rejected_rows,
            rejected_rows=parsed.rejected_rows,
            new_orgs=new_orgs,
        )


def _columns(rows: Sequence[MemberRow]) -> dict[str, list[Any]]:
    people = [row.member for row in rows]
    return {
        "member_id": [member.member_id for member in people],
        "org_id": [member.org_id for member in people],
        "person_id": [member.person_id for member in people],
        "name": [member.name for member in people],
        "tags": [",".join(member.tags) for member in people],
        "birthday_month": [member.birthday_month for member in people],
        "joined_on": [member.joined_on for member in people],
        "status": [member.status.value for member in people],
    }


async def _know_orgs(connection: AsyncConnection, rows_of: Mapping[str, int]) -> list[NewOrg]:
    """Register those that nobody has; which these are."""
    new: list[NewOrg] = []
    org_ids = sorted(rows_of)
    for start in range(0, len(org_ids), ROWS_PER_STATEMENT):
        rows = [{"org_id": org_id, "name": org_id} for org_id in org_ids[start : start + ROWS_PER_STATEMENT]]
        made = await connection.execute(insert(orgs).values(rows).on_conflict_do_nothing().returning(orgs.c.org_id))
        new += [NewOrg(org_id, rows_of[org_id]) for org_id in made.scalars()]
    return new


@dataclass(frozen=True, slots=True)
class MemberOnRecord:
    """A member as Postgres has them; `block` None: not blocked at the time that was asked about."""

    member: Member
    block: Block | None


def _on_record(row: Row[Any], now_ms: int) -> MemberOnRecord:
    member = Member(
        member_id=row.member_id,
        org_id=row.org_id,
        person_id=row.person_id,
        name=row.name,
        tags=tuple(row.tags),
        birthday_month=row.birthday_month,
        joined_on=row.joined_on,
        status=MemberStatus(row.status),
    )
    is_blocked = row.blocked_until_ms is not None and row.blocked_until_ms > now_ms
    return MemberOnRecord(member, Block(row.member_id, row.blocked_until_ms, row.blocked_reason or "") if is_blocked else None)


async def list_members(
    engine: AsyncEngine, *, q: str | None, org_id: str | None, now_ms: int, after: str | None, limit: int
) -> list[MemberOnRecord]:
    """Members by id. `q` is the start of an id, or a part of a name; `org_id` their union."""
    query = select(members).order_by(members.c.member_id).limit(limit)
    if q:
        query = query.where(members.c.member_id.startswith(q, autoescape=True) | members.c.name.contains(q, autoescape=True))
    if org_id is not None:
        query = query.where(members.c.org_id == org_id)
    if after is not None:
        query = query.where(members.c.member_id > after)
    async with engine.connect() as connection:
        return [_on_record(row, now_ms) for row in await connection.execute(query)]


async def read_member(engine: AsyncEngine, member_id: str, *, now_ms: int) -> MemberOnRecord:
    """One member.

    Raises:
        RefusalError: member-not-found.
    """
    row = None
    if is_member_id(member_id):
        async with engine.connect() as connection:
            row = (await connection.execute(select(members).where(members.c.member_id == member_id))).one_or_none()
    if row is None:
        raise RefusalError("member-not-found")
    return _on_record(row, now_ms)


async def block(engine: AsyncEngine, cell: Cell, identity: OpsIdentity, member_id: str, until_ms: int, reason: str) -> Block:
    """Keep a member from winning until then; their claims stay theirs.

    Raises:
        RefusalError: member-not-found.
        CellError: it is on record, but the cell could not be told; repeat it.
    """
    detail = {"until_ms": until_ms}
    async with logged(engine, identity, "blocklist.set", member_id, reason=reason, detail=detail):
        await _write_block(engine, member_id, until_ms, reason)
        await publish_members(engine, cell)
        return Block(member_id, until_ms, reason)


async def unblock(engine: AsyncEngine, cell: Cell, identity: OpsIdentity, member_id: str) -> None:
    """Lift a block; no error if there is none.

    Raises:
        RefusalError: member-not-found.
        CellError: it is on record, but the cell could not be told; repeat it.
    """
    async with logged(engine, identity, "blocklist.lift", member_id):
        await _write_block(engine, member_id, None, None)
        await publish_members(engine, cell)


async def _write_block(engine: AsyncEngine, member_id: str, until_ms: int | None, reason: str | None) -> None:
    found = 0
    if is_member_id(member_id):
        async with engine.begin() as connection:
            version = await next_version(connection)
            written = await connection.execute(
                update(members)
                .where(members.c.member_id == member_id)
                .values(blocked_until_ms=until_ms, blocked_reason=reason, version=version)
            )
            found = written.rowcount
    if found != 1:
        raise RefusalError("member-not-found")


async def list_blocks(engine: AsyncEngine, *, now_ms: int, after: str | None, limit: int) -> list[Block]:
    """Members blocked at that time, by id."""
    query = (
        select(members.c.member_id, members.c.blocked_until_ms, members.c.blocked_reason)
        .where(members.c.blocked_until_ms > now_ms)
        .order_by(members.c.member_id)
        .limit(limit)
    )
    if after is not None:
        query = query.where(members.c.member_id > after)
    async with engine.connect() as connection:
        return [Block(member_id, until_ms, reason or "") for member_id, until_ms, reason in await connection.execute(query)]
