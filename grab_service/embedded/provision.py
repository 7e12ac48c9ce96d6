"""Creation of a cell's users and roles in Redis and PostgreSQL servers that others run.

An admin of these servers runs it once, and again after an upgrade or to change passwords; or types the lines of `…_lines`.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from redis.exceptions import ResponseError

from grab_service.addresses import PostgresAddress, RedisAddress
from grab_service.cell.connect import connect
from grab_service.cell.nodes import Nodes, addresses
from grab_service.cell.rights import Login
from grab_service.embedded.postgres_roles import POSTGRES_LOGINS, role_statements
from grab_service.embedded.redis_users import set_users, users_of
from grab_service.sql.grants import GRANTS, grant_statements, policy_statements
from grab_service.sql.sessions import Sessions

TIMEOUT_S: Final = 10.0


async def provision_redis(admin_url: str, cell: str, passwords: Mapping[str, str]) -> bool:
    """Set the cell's users on a Redis that runs, on all nodes of a cluster; whether they will be there after the next start.

    Raises:
        redis.exceptions.RedisError, OSError: it does not answer, or refuses; the users may be set in part. Repeat it.
    """
    users = users_of(cell, _of_redis(passwords))
    address = RedisAddress.parse(admin_url)
    async with connect(address, connections_max=1, timeout_s=TIMEOUT_S, nodes=Nodes(cell)) as client:
        kept = await set_users(client, users)
        try:
            slots: Any = await client.execute_command("CLUSTER", "SLOTS")  # type: ignore[no-untyped-call]  # of redis-py
        except ResponseError:
            slots = ()  # a single server
    for host, port in addresses(slots, address.nodes[0][0] if address.nodes else ""):
        async with connect(address.at(host, port), connections_max=1, timeout_s=TIMEOUT_S) as client:
            kept = await set_users(client, users) and kept
    return kept


async def provision_postgres(admin_url: str, cell: str, passwords: Mapping[str, str]) -> bool:
    """Make the cell's roles, in one transaction; whether the tables are there, to which they have their rights then.

    Raises:
        asyncpg.PostgresError, OSError, TimeoutError: it does not answer, or refuses; nothing was changed.
    """
    session = await Sessions(admin_url, connect_timeout_s=TIMEOUT_S, command_timeout_s=TIMEOUT_S).open()
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
    database = (PostgresAddress.parse(database_url).database if database_url else "") or "grab"
    return (f"{statement};" for statement in role_statements(cell, _of_postgres(passwords), database))


def _of_redis(passwords: Mapping[str, str]) -> dict[Login, str]:
    return {login: passwords[login.value] for login in Login}


def _of_postgres(passwords: Mapping[str, str]) -> dict[str, str]:
    return {who: passwords[who] for who in POSTGRES_LOGINS if who in passwords}
