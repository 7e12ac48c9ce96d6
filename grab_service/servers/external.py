"""Is a server that was given by its address new enough?"""

from typing import Final
from urllib.parse import urlsplit

import asyncpg
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from grab_service.servers.binaries import POSTGRES_MIN, REDIS_MIN, VALKEY_MIN, dotted, parse_version
from grab_service.servers.errors import ServerTooOldError, ServerUnreachableError

_ANSWER_TIMEOUT_S: Final = 5.0


async def check_redis(url: str) -> None:
    """See that REDIS_URL leads to a Redis or Valkey that knows what the rules use.

    Raises:
        ServerUnreachableError: nothing answers there, or something else.
        ServerTooOldError: it answers and is too old.
    """
    try:
        client = Redis.from_url(
            url,
            socket_timeout=_ANSWER_TIMEOUT_S,
            socket_connect_timeout=_ANSWER_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )
        async with client:
            info = await client.info("server")
    except (RedisError, OSError, ValueError) as problem:
        raise _unreachable("REDIS_URL", url, problem, "redis://:password@host:6379/0") from problem
    # Valkey also tells the version of Redis that it stands in for; its own comes first.
    kind, least = ("Valkey", VALKEY_MIN) if "valkey_version" in info else ("Redis", REDIS_MIN)
    found = parse_version(str(info.get("valkey_version") or info.get("redis_version", "")))
    if found < least:
        raise ServerTooOldError(
            f"REDIS_URL ({without_password(url)}) leads to {kind} {dotted(found)}, "
            f"and Redis >= {dotted(REDIS_MIN)} or Valkey >= {dotted(VALKEY_MIN)} is needed.",
            "Point it at a newer one, or unset it to use the embedded Valkey.",
        )


async def check_postgres(url: str) -> None:
    """See that DATABASE_URL leads to a PostgreSQL that knows what the tables use.

    Raises:
        ServerUnreachableError: nothing answers there, or something else, or the database does not exist.
        ServerTooOldError: it answers and is too old.
    """
    try:
        session = await asyncpg.connect(driver_url(url), timeout=_ANSWER_TIMEOUT_S, command_timeout=_ANSWER_TIMEOUT_S)
        try:
            found = parse_version(await session.fetchval("SHOW server_version"))
        finally:
            await session.close()
    except (TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError) as problem:
        raise _unreachable("DATABASE_URL", url, problem, "postgresql://user:password@host:5432/database") from problem
    if found < POSTGRES_MIN:
        raise ServerTooOldError(
            f"DATABASE_URL ({without_password(url)}) leads to PostgreSQL {dotted(found)}, "
            f"and PostgreSQL >= {dotted(POSTGRES_MIN)} is needed.",
            "Point it at a newer one, or unset it to use the embedded PostgreSQL.",
        )


def driver_url(url: str) -> str:
    """An address as the driver reads it, without the word for SQLAlchemy (`postgresql+asyncpg://`)."""
    return url.replace("+asyncpg://", "://", 1)


def without_password(url: str) -> str:
    """An address that may be shown."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    name, _, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{name.partition(':')[0]}:***@{host}").geturl()


def _unreachable(name: str, url: str, problem: Exception, example: str) -> ServerUnreachableError:
    why = str(problem) or type(problem).__name__
    return ServerUnreachableError(
        f"{name} ({without_password(url)}) leads to no server that can be used: {why}.",
        f"Start it, mend the address (like {example}), or unset {name} to use the embedded server.",
    )
