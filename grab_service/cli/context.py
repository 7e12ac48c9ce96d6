"""The context of a command: Postgres, Redis, the cell, and the identity of the operator."""

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
from grab_service.cell.store import Cell, Replicas
from grab_service.cli.settings_in_force import settings_in_force
from grab_service.embedded.external import check_postgres, check_redis
from grab_service.settings import Settings
from grab_service.sql.engine import connect as connect_sql
from grab_service.vocabulary.identifiers import ACTOR_MAX
from grab_service.vocabulary.passes import OpsIdentity, Role

T = TypeVar("T")

CONNECTIONS_MAX: Final = 4


@dataclass(frozen=True, slots=True)
class CommandContext:
    """The connections of a command. `identity` is recorded in the log of ops."""

    settings: Settings
    engine: AsyncEngine
    redis: Redis
    cell: Cell
    identity: OpsIdentity


def with_context(work: Callable[[CommandContext], Awaitable[T]], *, needs_redis: bool = True) -> T:
    """Run the work with a context, which is closed afterwards.

    Raises:
        ServerError: Postgres, or Redis if it is needed, does not answer or is too old.
        grab_service.cli.errors.CommandError: the settings name none.
    """
    settings = settings_in_force("redis_url", "database_url")

    async def do() -> T:
        await check_postgres(settings.database_url)
        if needs_redis:
            await check_redis(settings.redis_url, settings.cell)
        async with opened(settings) as context:
            return await work(context)

    return asyncio.run(do())


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[CommandContext]:
    """A context within an event loop, without checks of the servers first."""
    engine = connect_sql(settings.database_url, connections_max=CONNECTIONS_MAX)
    nodes = Nodes(settings.cell)
    redis = connect_redis(settings.redis_url, connections_max=CONNECTIONS_MAX, timeout_s=settings.redis_timeout_s, nodes=nodes)
    replicas = Replicas(settings.replicas_min, settings.replica_wait_s)
    cell = Cell(redis, settings.cell, ScriptSources.read(), replicas, durability=settings.durability)
    try:
        yield CommandContext(settings, engine, redis, cell, current_operator())
    finally:
        await redis.aclose()
        await engine.dispose()


def current_operator() -> OpsIdentity:
    """The user of this machine as an operator: `cli:<name>`, with the rights of an admin."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have a number only
        user = str(os.getuid())
    named = re.sub(r"[^\w:@.+-]", "-", unicodedata.normalize("NFKC", user))
    return OpsIdentity(f"cli:{named}"[:ACTOR_MAX], Role.ADMIN)
