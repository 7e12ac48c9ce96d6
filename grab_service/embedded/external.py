"""Checks of a server given by its address: it is reachable, new enough, and for our use."""

from contextlib import suppress
from typing import Any, Final

import asyncpg
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, RedisError, ResponseError

from grab_service.addresses import POSTGRES_EXAMPLE, REDIS_EXAMPLE, masked
from grab_service.cell.connect import connect
from grab_service.cell.nodes import Nodes
from grab_service.embedded.binaries import POSTGRES_MIN, REDIS_MIN, VALKEY_MIN, dotted, parse_version
from grab_service.embedded.errors import ServerTooOldError, ServerUnreachableError, UnfitDatabaseError
from grab_service.sql.sessions import Sessions, SharedSessionError
from grab_service.sql.tables import metadata

_ANSWER_TIMEOUT_S: Final = 5.0
_STEPS: Final = "alembic_version"
_HAS_TABLE: Final = "SELECT to_regclass(quote_ident($1)) IS NOT NULL"


async def check_redis(url: str, cell: str) -> None:
    """See that REDIS_URL leads to a Redis or Valkey that knows what the rules use.

    A user that may not ask for the version (INFO) is taken at its word: its scripts would not load on an older one.

    Raises:
        ServerUnreachableError: nothing answers there, or something else.
        ServerTooOldError: it answers and is too old.
    """
    try:
        async with connect(url, connections_max=1, timeout_s=_ANSWER_TIMEOUT_S, nodes=Nodes(cell)) as client:
            await client.time()
            info = await _server_info(client)
    except (RedisError, OSError, ValueError) as problem:
        raise _unreachable("REDIS_URL", url, problem, REDIS_EXAMPLE) from problem
    if info is None:
        return
    # Valkey also tells the version of Redis that it stands in for; its own comes first.
    kind, least = ("Valkey", VALKEY_MIN) if "valkey_version" in info else ("Redis", REDIS_MIN)
    found = parse_version(str(info.get("valkey_version") or info.get("redis_version", "")))
    if found < least:
        raise ServerTooOldError(
            f"REDIS_URL ({masked(url)}) leads to {kind} {dotted(found)}, "
            f"and Redis >= {dotted(REDIS_MIN)} or Valkey >= {dotted(VALKEY_MIN)} is needed.",
            "Point it at a newer one, or unset it to use the embedded Valkey.",
        )


async def _server_info(client: Redis) -> dict[str, Any] | None:
    """The server's INFO; None where this user may not ask."""
    try:
        return dict(await client.info("server"))
    except ResponseError as refusal:
        if isinstance(refusal, NoPermissionError) or "unknown" in str(refusal):
            return None
        raise


async def check_postgres(url: str) -> bool:
    """See that DATABASE_URL leads to a PostgreSQL that knows what the tables use, and to a database that is or can be ours.

    Returns:
        Whether a pooler stands between, which keeps sessions apart.

    Raises:
        ServerUnreachableError: nothing answers there, or something else, or the database does not exist.
        ServerTooOldError: it answers and is too old.
        UnfitDatabaseError: the database is not UTF8, belongs to another program, or is reached through a pooler that shares
            sessions.
    """
    try:
        sessions = Sessions(url, connect_timeout_s=_ANSWER_TIMEOUT_S, command_timeout_s=_ANSWER_TIMEOUT_S)
        session = await sessions.open()
        try:
            found = parse_version(await session.fetchval("SHOW server_version"))
            encoding = await session.fetchval("SHOW server_encoding")
            strange = await _whose(session)
        finally:
            await session.close()
    except SharedSessionError as problem:
        raise UnfitDatabaseError(
            f"DATABASE_URL ({masked(url)}) leads to a pooler: {problem}.",
            "Set pool_mode=session for this database in PgBouncer, or name PostgreSQL itself.",
        ) from problem
    except (TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError) as problem:
        raise _unreachable("DATABASE_URL", url, problem, POSTGRES_EXAMPLE) from problem
    if found < POSTGRES_MIN:
        raise ServerTooOldError(
            f"DATABASE_URL ({masked(url)}) leads to PostgreSQL {dotted(found)}, "
            f"and PostgreSQL >= {dotted(POSTGRES_MIN)} is needed.",
            "Point it at a newer one, or unset it to use the embedded PostgreSQL.",
        )
    if encoding != "UTF8":
        raise UnfitDatabaseError(
            f"The database of DATABASE_URL ({masked(url)}) has the encoding {encoding}, and it has to be UTF8: "
            "names of members would not fit.",
            "Make another one: CREATE DATABASE grab ENCODING 'UTF8' TEMPLATE template0.",
        )
    if strange:
        raise UnfitDatabaseError(
            f"The database of DATABASE_URL ({masked(url)}) belongs to another program: {strange}. Nothing was changed.",
            "Give the cell a database of its own.",
        )
    return sessions.pooled


async def refuse_unfit_postgres(url: str) -> None:
    """The same before a program starts; a Postgres that is away is waited for then, since grabs go on without it.

    Raises:
        ServerTooOldError, UnfitDatabaseError: it is there, and can never be used.
    """
    with suppress(ServerUnreachableError):
        await check_postgres(url)


async def _whose(session: asyncpg.Connection) -> str:
    """The sign that the database is somebody else's; empty if it is ours, or nobody's yet.

    Ours has Alembic's note of a step beside our tables, whichever release made them; nobody's has neither.
    """
    noted = await session.fetchval(_HAS_TABLE, _STEPS)
    ours = [name for name in metadata.tables if await session.fetchval(_HAS_TABLE, name)]
    if noted and not ours:
        return f"there is a table {_STEPS}, and none of grab-service"
    if ours and not noted:
        return f"there is a table {ours[0]}, and no {_STEPS} beside it"
    return ""


def _unreachable(name: str, url: str, problem: Exception, example: str) -> ServerUnreachableError:
    why = str(problem) or type(problem).__name__
    return ServerUnreachableError(
        f"{name} ({masked(url)}) leads to no server that can be used: {why}.",
        f"Start it, mend the address (like {example}), or unset {name} to use the embedded server.",
    )
