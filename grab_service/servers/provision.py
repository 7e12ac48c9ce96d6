"""How does somebody else's Redis and PostgreSQL come to the users and roles of a cell?

By whoever may make them there, once, and again after an upgrade and to change passwords; or by hand, from what `…_lines` write.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError

from grab_service.cell.nodes import addresses
from grab_service.cell.rights import Login
from grab_service.servers.external import driver_url
from grab_service.servers.postgres_roles import POSTGRES_LOGINS, role_statements
from grab_service.servers.redis_users import set_users, users_of
from grab_service.sql.grants import GRANTS, grant_statements, policy_statements

TIMEOUT_S: Final = 10.0


async def provision_redis(admin_url: str, cell: str, passwords: Mapping[str, str]) -> bool:
    """Set the cell's users on a Redis that runs, on all nodes of a cluster; whether they will be there after the next start.

    Raises:
        redis.exceptions.RedisError, OSError: it does not answer, or refuses; the users may be set in part. Repeat it.
    """
    users = users_of(cell, _of_redis(passwords))
    async with _admin(admin_url) as client:
        kept = await set_users(client, users)
        try:
            slots: Any = await client.execute_command("CLUSTER", "SLOTS")  # type: ignore[no-untyped-call]  # of redis-py
        except ResponseError:
            slots = ()  # a single server
    parts = urlsplit(admin_url)
    for host, port in addresses(slots, parts.hostname or ""):
        login, at, _ = parts.netloc.rpartition("@")
        async with _admin(
            parts._replace(netloc=f"{login}{at}{f'[{host}]' if ':' in host else host}:{port}").geturl()
        ) as client:
            kept = await set_users(client, users) and kept
    return kept


def _admin(url: str) -> Redis:
    return Redis.from_url(
        url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S, retry=Retry(NoBackoff(), 0), protocol=2
    )


async def provision_postgres(admin_url: str, cell: str, passwords: Mapping[str, str]) -> bool:
    """Make the cell's roles, in one transaction; whether the tables are there, to which they have their rights then.

    Raises:
        asyncpg.PostgresError, OSError, TimeoutError: it does not answer, or refuses; nothing was changed.
    """
    session = await asyncpg.connect(driver_url(admin_url), timeout=TIMEOUT_S, command_timeout=TIMEOUT_S)
    try:
        async with session.transaction():
            database = await session.fetchval("SELECT current_database()")
            for statement in role_statements(cell, _of_postgres(passwords), database):
                await session.execute(statement)
            there: bool = await session.fetchval("SELECT to_regclass('claims') IS NOT NULL")
            if there:
                for login in GRANTS:
                    for statement in grant_statements(cell, login):
                        await session.execute(statement)
                for statement in policy_statements(cell):
                    await session.execute(statement)
    finally:
        await session.close()
    return there


def redis_lines(cell: str, passwords: Mapping[str, str]) -> Iterator[str]:
    """The cell's users as lines of an ACL file, with hashes of their passwords."""
    return (user.line for user in users_of(cell, _of_redis(passwords)))


def postgres_lines(cell: str, passwords: Mapping[str, str], database_url: str) -> Iterator[str]:
    """What makes the cell's roles, as SQL, with what PostgreSQL keeps of their passwords."""
    database = urlsplit(database_url).path.removeprefix("/") or "grab"
    return (f"{statement};" for statement in role_statements(cell, _of_postgres(passwords), database))


def _of_redis(passwords: Mapping[str, str]) -> dict[Login, str]:
    return {login: passwords[login.value] for login in Login}


def _of_postgres(passwords: Mapping[str, str]) -> dict[str, str]:
    return {who: passwords[who] for who in POSTGRES_LOGINS if who in passwords}
