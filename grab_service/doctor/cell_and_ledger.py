"""Checks that the cell is open and that the ledger keeps up with it."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, Final

from asyncpg import PostgresError
from redis.exceptions import ResponseError
from sqlalchemy import select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from grab_service.cell.connect import connect as connect_redis
from grab_service.cell.nodes import Nodes
from grab_service.cell.scripts import ScriptSources
from grab_service.cell.store import Cell, CellClosedError, CellError
from grab_service.doctor.finding import DoctorFinding, fail, ok
from grab_service.doctor.standpoint import asks_scripts_only
from grab_service.settings import Settings
from grab_service.sql.engine import connect
from grab_service.sql.tables import alarms
from grab_service.vocabulary.keys import CellKeys
from reconcile.alarms import AlarmKind
from reconcile.drain.cursor import Cursor, read_cursor
from reconcile.leader import LOCK
from reconcile.life import Life, LifeCheck, judge
from reconcile.redis_link import LinkBrokenError, RedisLink

STATEMENT_TIMEOUT_S: Final = 5
LOST: Final = AlarmKind.RECOVERY_LOST.value
LOOK_AGAIN_S: Final = 1.0
_ASK_AS_LEDGER: Final = "Run this in the environment of the ledger (GRAB_GUARD_REDIS_URL), or look at Redis' log."
START_IT: Final = "Start `grab reconcile`."

_LIFE_HINTS: Final = {
    LifeCheck.FIRST_START: ("the cell has not begun yet", f"{START_IT} It begins the cell and opens it."),
    LifeCheck.EMPTIED: ("Redis lost the cell", f"{START_IT} It rebuilds the cell from Postgres."),
    LifeCheck.WENT_BACK: ("Redis is older than what is on record", f"{START_IT} It rebuilds the cell from Postgres."),
    LifeCheck.OLDER_EPOCH: ("Redis holds an earlier life of the cell", f"{START_IT} It rebuilds the cell from Postgres."),
    LifeCheck.NEWER_EPOCH: (
        "Redis holds a later life of the cell than Postgres",
        "Postgres went back in time, or DATABASE_URL names another: somebody has to decide which of the two is right.",
    ),
    LifeCheck.UNKNOWN_TO_POSTGRES: (
        "Redis holds a cell of which Postgres knows nothing",
        "REDIS_URL, DATABASE_URL and GRAB_CELL do not belong together; mend the wrong one.",
    ),
}
_LEADS: Final = text(
    "SELECT EXISTS (SELECT FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database"
    " WHERE locktype = 'advisory' AND classid = 0 AND objid = :lock AND objsubid = 1 AND granted"
    " AND datname = current_database())"
)


async def look_at_cell(settings: Settings) -> AsyncIterator[DoctorFinding]:
    """The cell, the ledger and its alarms; Redis and Postgres must be there."""
    engine = connect(settings.database_url, connections_max=1, statement_timeout_s=STATEMENT_TIMEOUT_S)
    try:
        cursor = await read_cursor(engine, settings.cell)
        if asks_scripts_only(settings):
            found, at = await _cell_by_its_scripts(settings)
            yield found
        else:
            link = await RedisLink.open(settings.redis_url_of_guard, settings.redis_timeout_s, Nodes(settings.cell))
            try:
                life = await Life.read(link, CellKeys.of(settings.cell))
                yield await _cell(link, life, cursor)
                at = (life.epoch, life.seq)
            finally:
                await link.close()
        yield await _ledger(engine, settings.cell, at, cursor)
        yield await _alarms(engine)
    except (LinkBrokenError, ResponseError) as error:
        yield fail("cell", f"Redis does not answer the question: {error}", _ASK_AS_LEDGER)
    except (SQLAlchemyError, PostgresError, OSError, TimeoutError) as error:
        yield fail("ledger", f"Postgres does not answer the question: {str(error)[:300]}", "Look at its log.")
    finally:
        await engine.dispose()


async def _cell_by_its_scripts(settings: Settings) -> tuple[DoctorFinding, tuple[int, int]]:
    """The cell by the answers of its scripts, for a user who may only call them; and the (epoch, seq) they tell, or zeros."""
    sources = ScriptSources.read()
    nodes = Nodes(settings.cell)
    async with connect_redis(settings.redis_url, connections_max=1, timeout_s=settings.redis_timeout_s, nodes=nodes) as client:
        cell = Cell(client, settings.cell, sources)
        try:
            seq = (await cell.read_campaigns([])).seq
        except CellClosedError as error:
            hint = f"{START_IT} It opens the cell; its log, and `grab doctor` in its environment, say what is in the way."
            return fail("cell", f"nobody can grab: {error}", hint), (0, 0)
        except CellError as error:
            return fail("cell", f"Redis does not answer the question: {error}", "Look at Redis' log."), (0, 0)
    found = f"open: epoch {cell.epoch}, seq {seq:,}, the scripts of release {sources.digest} answer"
    return ok("cell", found), (cell.epoch, seq)


async def _cell(link: RedisLink, life: Life, cursor: Cursor | None) -> DoctorFinding:
    check = judge(life, cursor)
    where = f"epoch {life.epoch}, seq {life.seq:,}"
    if check is not LifeCheck.GOES_ON:
        found, hint = _LIFE_HINTS[check]
        on_record = f"; on record are epoch {cursor.epoch}, seq {cursor.last_seq:,}" if cursor is not None else ""
        return fail("cell", f"{found} ({where}{on_record})", hint)
    sources = ScriptSources.read()
    fields = [sources.table_field(name).encode() for name in sources.by_name]
    shas = [life.table[field] for field in fields if field in life.table]
    if life.nonce is None:
        return fail("cell", f"closed, nobody can grab ({where})", f"{START_IT} It audits the cell and opens it.")
    if len(shas) != len(fields):
        found = f"open, but not for this release {sources.digest}: its scripts are not loaded ({where})"
        return fail("cell", found, "Start `grab reconcile` of this release; it loads them beside the others.")
    if not all(await link.call("SCRIPT", "EXISTS", *shas)):
        found = f"closed: Redis has restarted and knows no scripts ({where})"
        return fail("cell", found, f"{START_IT} It audits the cell and opens it.")
    return ok("cell", f"open: {where}, the {len(shas)} scripts of release {sources.digest} are loaded")


async def _ledger(engine: AsyncEngine, cell_name: str, at: tuple[int, int], cursor: Cursor | None) -> DoctorFinding:
    """`at`: the epoch and the seq of the cell."""
    async with engine.connect() as connection:
        leads = (await connection.execute(_LEADS, {"lock": LOCK})).scalar_one()
    epoch, seq = at
    behind = max(0, seq - cursor.last_seq) if cursor is not None and cursor.epoch == epoch else 0
    found = "nothing is on record yet" if cursor is None else f"on record up to seq {cursor.last_seq:,}"
    found += f", {behind:,} behind" if behind else ""
    if not leads:
        return fail("ledger", f"no ledger is running; {found}", f"{START_IT} Without it nothing is recorded.")
    if behind:
        # A moment's lag is what a sale looks like; one that does not shrink is not.
        await asyncio.sleep(LOOK_AGAIN_S)
        later = await read_cursor(engine, cell_name)
        if later == cursor:
            return fail(
                "ledger", f"it runs, but has stopped; {found}", "The alarms below or the log of `grab reconcile` say why."
            )
    return ok("ledger", f"it runs; {found}")


async def _alarms(engine: AsyncEngine) -> DoctorFinding:
    query = select(alarms.c.kind, alarms.c.raised_at_ms, alarms.c.detail, alarms.c.acknowledged_by)
    query = query.where(alarms.c.cleared_at_ms.is_(None)).order_by(alarms.c.raised_at_ms)
    async with engine.connect() as connection:
        rows = (await connection.execute(query)).all()
    # A loss that somebody has taken note of stays on record, and is no reason to doubt what goes on now.
    rows = [row for row in rows if row.kind != LOST or row.acknowledged_by is None]
    if not rows:
        return ok("alarms", "none open")
    found = "; ".join(f"{kind} for {_since(raised_at_ms)}: {_detail_text(detail)}" for kind, raised_at_ms, detail, _ in rows)
    hint = "Each closes by itself when its cause is gone; docs/TROUBLESHOOTING says what to do for each kind."
    if any(row.kind == LOST for row in rows):
        hint += " `grab alarms acknowledge` takes note of a loss."
    return fail("alarms", found, hint)


def _since(moment_ms: int) -> str:
    seconds = max(0, time.time_ns() // 1_000_000 - moment_ms) // 1000
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60:,} min"


def _detail_text(detail: Any) -> str:
    return ", ".join(f"{name} {value}" for name, value in detail.items())[:300] if isinstance(detail, dict) else ""
