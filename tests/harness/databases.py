"""Databases for tests, with all tables in them."""

from collections.abc import Awaitable, Callable

import asyncpg

from grab_service.embedded.postgres import PostgresServer
from tests.harness.shared_postgres import TEMPLATE

NewDatabase = Callable[[], Awaitable[str]]
"""Makes a database with the tables in it, for as long as the test lasts; its address for the superuser."""

CHOICE_SINCE = 15  # PostgreSQL 14 copies files anyway


async def in_postgres(url: str, *statements: str) -> None:
    """Run statements, each by itself."""
    session = await asyncpg.connect(url)
    try:
        for statement in statements:
            await session.execute(statement)
    finally:
        await session.close()


async def make_database(server: PostgresServer, name: str) -> str:
    """A copy of the template; its address for the superuser."""
    session = await asyncpg.connect(server.url_of("postgres"))
    try:
        # To copy its files takes a third of what to write it through the log takes.
        how = "STRATEGY FILE_COPY" if session.get_server_version().major >= CHOICE_SINCE else ""
        await session.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} {how}")
    finally:
        await session.close()
    return server.url_of(name)


async def drop_database(server: PostgresServer, name: str) -> None:
    """Drop it; connections that are still open are cut off."""
    await in_postgres(server.url_of("postgres"), f"DROP DATABASE {name} WITH (FORCE)")
