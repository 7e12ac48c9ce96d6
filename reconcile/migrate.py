"""The migration of a database to the tables of this release."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from grab_service.sql.engine import DIALECT
from grab_service.sql.grants import grant_all
from grab_service.sql.sessions import Sessions
from grab_service.vocabulary.keys import DEFAULT_CELL

LOCK: Final = 0x67726162
"""Postgres' advisory lock under which steps are taken, so that of two starters one waits for the other."""

CONNECT_TIMEOUT_S: Final = 5
TIMEOUT_S: Final = 900.0


def upgrade(database_url: str, cell: str = DEFAULT_CELL) -> None:
    """Bring the database to the newest step, all or nothing; does nothing if it is there already.

    The roles of the cell, as far as there are any, get their rights anew.

    It may be called where an event loop runs, which it blocks until it is done.

    Raises:
        sqlalchemy.exc.SQLAlchemyError, OSError: the database cannot be reached or refuses; nothing was changed.
        TimeoutError: it took longer than `TIMEOUT_S`; nothing was changed.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="migrate") as elsewhere:
        elsewhere.submit(lambda: asyncio.run(asyncio.wait_for(_upgrade(database_url, cell), TIMEOUT_S))).result()


async def _upgrade(database_url: str, cell: str) -> None:
    sessions = Sessions(database_url, connect_timeout_s=CONNECT_TIMEOUT_S, command_timeout_s=TIMEOUT_S)
    engine = create_async_engine(DIALECT, async_creator=sessions.open, poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
            await connection.run_sync(_take_steps)
            await connection.run_sync(grant_all, cell)
    finally:
        await engine.dispose()


def _take_steps(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
