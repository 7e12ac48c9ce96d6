"""What does a command have at hand to do the work of ops: Postgres, the cell, and the name of who does it?"""

import asyncio
import getpass
import os
import re
import unicodedata
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from grab_service.cell.connect import connect as connect_redis
from grab_service.cell.nodes import Nodes
from grab_service.cell.scripts import ScriptSources
from grab_service.cell.store import Cell
from grab_service.cli.settings_in_force import settings_in_force
from grab_service.embedded.external import check_postgres, check_redis
from grab_service.settings import Settings
from grab_service.sql.engine import connect as connect_sql
from grab_service.vocabulary.identifiers import ACTOR_MAX
from grab_service.vocabulary.passes import OpsIdentity, Role

T = TypeVar("T")

CONNECTIONS_MAX: Final = 4


@dataclass(frozen=True, slots=True)
class Desk:
    """What is at hand. `identity` stands in the log of what was done."""

    settings: Settings
    engine: AsyncEngine
    redis: Redis
    cell: Cell
    identity: OpsIdentity


def at_desk(work: Callable[[Desk], Awaitable[T]], *, needs_redis: bool = True) -> T:
    """Do the work with all that is at hand, which is closed afterwards.

    Raises:
        ServerError: Postgres, or Redis if it is needed, does not answer or is too old.
        grab_service.cli.errors.CommandError: the settings name none.
    """
    settings = settings_in_force("redis_url", "database_url")

    async def do() -> T:
        await check_postgres(settings.database_url)
        if needs_redis:
            await check_redis(settings.redis_url, settings.cell)
        async with opened(settings) as desk:
            return await work(desk)

    return asyncio.run(do())


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Desk]:
    """The same within an event loop, and without looking at the servers first."""
    engine = connect_sql(settings.database_url, connections_max=CONNECTIONS_MAX)
    nodes = Nodes(settings.cell)
    redis = connect_redis(settings.redis_url, connections_max=CONNECTIONS_MAX, timeout_s=settings.redis_timeout_s, nodes=nodes)
    try:
        yield Desk(settings, engine, redis, Cell(redis, settings.cell, ScriptSources.read()), whoever_types())
    finally:
        await redis.aclose()
        await engine.dispose()


def whoever_types() -> OpsIdentity:
    """The user of this machine as ops know them: `cli:<name>`, who may do everything here."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have a number only
        user = str(os.getuid())
    named = re.sub(r"[^\w:@.+-]", "-", unicodedata.normalize("NFKC", user))
    return OpsIdentity(f"cli:{named}"[:ACTOR_MAX], Role.ADMIN)
