"""The user that the doctor runs as, and the checks that this user can make.

Each program has an environment of its own, with users that may do its work and nothing else. A part that they may not see is no
fault: it is named, and checked from where it can be seen. The names in the addresses, which `grab provision` gives, tell the
program; where one login does everything, Redis is asked whether it knows the cell's users beside it.
"""

from enum import StrEnum
from typing import Any, Final

from redis.exceptions import RedisError, ResponseError

from grab_service.addresses import AddressError, PostgresAddress, RedisAddress
from grab_service.cell.connect import connect
from grab_service.cell.nodes import Nodes
from grab_service.cell.rights import Login, user_of
from grab_service.doctor.finding import DoctorFinding, ok, warn
from grab_service.settings import Settings
from grab_service.sql.grants import role_of


class Standpoint(StrEnum):
    """The owner of the environment."""

    SERVICE = "the service"
    LEDGER = "the ledger"
    ADMIN = "an admin"
    ALL_IN_ONE = "an all-in-one program"
    """One login for all programs: nothing is hidden from it, and it must have all that they need."""

    @property
    def serves(self) -> bool:
        """Whether the service runs with these settings."""
        return self in {Standpoint.SERVICE, Standpoint.ALL_IN_ONE}


IN_THE_SERVICE: Final = "`grab doctor` in the environment of the service looks at it"


def user_in(url: str) -> str:
    """The name in an address; empty if there is none."""
    read = PostgresAddress.parse if url.startswith("postgres") else RedisAddress.parse
    try:
        return read(url).user
    except AddressError:
        return ""


def asks_scripts_only(settings: Settings) -> bool:
    """Whether the guard's commands are refused to the doctor's user: that of the service, or the ledger's own."""
    callers = {user_of(settings.cell, login) for login in (Login.API, Login.LEDGER)}
    return user_in(settings.redis_url_of_guard) in callers


async def find_standpoint(settings: Settings) -> Standpoint:
    """The owner of these settings' environment; asks Redis where the addresses do not tell."""
    names = {user_in(url) for url in (settings.redis_url, settings.guard_redis_url, settings.database_url)}
    logins = {Login.API: Standpoint.SERVICE, Login.LEDGER: Standpoint.LEDGER, Login.GUARD: Standpoint.LEDGER}
    for login, standpoint in logins.items():
        if names & {user_of(settings.cell, login), role_of(settings.cell, login)}:
            return standpoint
    return Standpoint.ADMIN if not settings.secrets and await _knows_the_users(settings) else Standpoint.ALL_IN_ONE


def look_at_standpoint(settings: Settings, standpoint: Standpoint) -> DoctorFinding:
    """As whom this is looked at; a user of one program beside the login of another is no environment that anybody means."""
    redis, postgres = user_in(settings.redis_url) or "default", user_in(settings.database_url) or "nobody by name"
    found = f"{standpoint.value}: {redis} in Redis, {postgres} in PostgreSQL"
    belongs = {
        Standpoint.SERVICE: (user_of(settings.cell, Login.API), role_of(settings.cell, Login.API)),
        Standpoint.LEDGER: (user_of(settings.cell, Login.LEDGER), role_of(settings.cell, Login.LEDGER)),
    }.get(standpoint)
    if belongs is not None and (redis, postgres) != belongs and not settings.dev:
        return warn("looks-as", found, f"{standpoint.value.capitalize()} logs in as {belongs[0]} and as {belongs[1]}.")
    return ok("looks-as", found)


async def _knows_the_users(settings: Settings) -> bool:
    """Whether the cell has users of its own in this Redis."""
    if not settings.redis_url:
        return False
    nodes = Nodes(settings.cell)
    try:
        async with connect(settings.redis_url, connections_max=1, timeout_s=settings.redis_timeout_s, nodes=nodes) as client:
            ask: Any = client.execute_command
            await ask("ACL", "DRYRUN", user_of(settings.cell, Login.API), "TIME")
    except ResponseError:
        return False  # no such user, or none of its business
    except (RedisError, OSError, ValueError):
        return False  # what looks at Redis will say so
    return True
