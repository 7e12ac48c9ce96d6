"""Checks that PostgreSQL is reachable, new enough, safe, and migrated to this release."""

from collections.abc import AsyncIterator
from importlib.resources import as_file, files
from typing import Final

from alembic.script import ScriptDirectory
from asyncpg import PostgresError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from grab_service.addresses import masked
from grab_service.doctor.finding import DoctorFinding, fail, ok, warn
from grab_service.embedded.errors import ServerError
from grab_service.embedded.external import check_postgres
from grab_service.health.postgres_checks import commits_of
from grab_service.sql.engine import connect
from grab_service.sql.sessions import READS_ONLY
from grab_service.vocabulary.durability import Durability

STATEMENT_TIMEOUT_S: Final = 5
AT_A_POOLER: Final = ", through a pooler (PgBouncer or alike) that keeps sessions apart"

_HAS_STEPS: Final = text("SELECT to_regclass('alembic_version') IS NOT NULL")
_STEPS: Final = text("SELECT version_num FROM alembic_version")


async def look_at_postgres(database_url: str, durability: Durability = Durability.DISK) -> AsyncIterator[DoctorFinding]:
    """Everything about the server and the tables; the first finding says whether it is there, and is the last if not."""
    try:
        pooled = await check_postgres(database_url)
    except ServerError as error:
        yield fail("postgres", error.message, error.hint)
        return
    engine = connect(database_url, connections_max=1, statement_timeout_s=STATEMENT_TIMEOUT_S)
    try:
        async with engine.connect() as connection:
            yield await _server(connection, f"{masked(database_url)}{AT_A_POOLER if pooled else ''}", durability)
            yield await _tables(connection)
    except (SQLAlchemyError, PostgresError, OSError, TimeoutError) as error:
        yield fail("postgres", f"it answered at first and then no more: {str(error)[:300]}", "Look at its log.")
    finally:
        await engine.dispose()


async def _server(connection: AsyncConnection, address: str, durability: Durability) -> DoctorFinding:
    version = str((await connection.execute(text("SHOW server_version"))).scalar_one()).split()[0]
    found = f"PostgreSQL {version} at {address}"
    if (await connection.execute(text("SELECT pg_is_in_recovery()"))).scalar_one():
        return fail("postgres", f"{found} is a standby", "Point DATABASE_URL at the primary: nothing can be written here.")
    if (await connection.execute(text(READS_ONLY))).scalar_one():
        hint = "Set `default_transaction_read_only` off, for the server, the database and the role."
        return fail("postgres", f"{found} is read-only: nothing can be put on record", hint)
    commits = await commits_of(connection, durability)
    if commits.detail:
        found, hint = f"{found}; {commits.detail}", "Turn it on: a crash may lose or damage what is on record."
        return warn("postgres", found, hint) if commits.ok else fail("postgres", found, hint)
    return ok("postgres", found)


async def _tables(connection: AsyncConnection) -> DoctorFinding:
    with as_file(files("reconcile") / "migrations") as folder:
        steps = ScriptDirectory(str(folder))
        newest = steps.get_current_head()
        known = {step.revision for step in steps.walk_revisions()}
    applied = (
        (await connection.execute(_STEPS)).scalar_one_or_none() if (await connection.execute(_HAS_STEPS)).scalar_one() else None
    )
    if applied == newest:
        return ok("tables", f"at step {applied}, the newest of this release")
    if applied is None:
        return fail("tables", "the database has none of ours", "Run `grab migrate`.")
    if applied in known:
        return fail("tables", f"at step {applied}, this release is at {newest}", "Run `grab migrate`.")
    return warn("tables", f"at step {applied}, which this release does not know", "Update this machine to the newer release.")
