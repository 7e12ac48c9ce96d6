"""Databases for tests, with all tables in them."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from grab_service.embedded.postgres import PostgresServer
from grab_service.embedded.postgres_roles import POSTGRES_LOGINS
from grab_service.sql.grants import role_of
from tests.harness.shared_postgres import TEMPLATE

NewDatabase = Callable[[], Awaitable[str]]
"""Makes a database with the tables in it, for as long as the test lasts; its address for the superuser."""

CHOICE_SINCE = 15  # PostgreSQL 14 copies files anyway


async def in_postgres(url: str, *statements: str) -> None:
    """Run statements, each by itself."""
    async with session_in(url) as session:
        for statement in statements:
            await session.execute(statement)


async def make_database(server: PostgresServer, name: str) -> str:
    """A copy of the template; its address for the superuser."""
    async with session_in(server.url_of("postgres")) as session:
        # To copy its files takes a third of what to write it through the log takes.
        how = "STRATEGY FILE_COPY" if session.get_server_version().major >= CHOICE_SINCE else ""
        await session.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} {how}")
    return server.url_of(name)


@asynccontextmanager
async def session_in(url: str, **options: Any) -> AsyncIterator[asyncpg.Connection]:
    """A session of its own, for as long as the block lasts."""
    session = await asyncpg.connect(url, **options)
    try:
        yield session
    finally:
        await session.close()


@asynccontextmanager
async def empty_database(server: PostgresServer, *, how: str = "", roles_of: str | None = None) -> AsyncIterator[str]:
    """A database with nothing in it; its address for the superuser. The roles of that cell go with it."""
    name, admin = f"e_{secrets.token_hex(6)}", server.url_of("postgres")
    await in_postgres(admin, f"CREATE DATABASE {name} {how}")
    try:
        yield server.url_of(name)
    finally:
        await drop_database(server, name)
        if roles_of is not None:
            await in_postgres(admin, *(f'DROP ROLE IF EXISTS "{role_of(roles_of, who)}"' for who in POSTGRES_LOGINS))


async def drop_database(server: PostgresServer, name: str) -> None:
    """Drop it; connections that are still open are cut off."""
    await in_postgres(server.url_of("postgres"), f"DROP DATABASE {name} WITH (FORCE)")
