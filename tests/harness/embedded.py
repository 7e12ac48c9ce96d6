"""A server for as long as a block lasts."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from redis.asyncio import Redis
from redis.exceptions import RedisError

from grab_service.embedded.server import EmbeddedServer

PATIENCE_S: Final = 20.0

Server = TypeVar("Server", bound=EmbeddedServer)


@asynccontextmanager
async def started(server: Server) -> AsyncIterator[Server]:
    """The server, running; ended on the way out, whatever became of it."""
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def restart(server: EmbeddedServer) -> None:
    """Kill it, and start it again."""
    await server.kill()
    await server.start()


@asynccontextmanager
async def foreign_valkey(*argv: str, url: str, **env: str) -> AsyncIterator[None]:
    """A Valkey that others have started by these words."""
    process = await asyncio.create_subprocess_exec(*argv, env={**os.environ, **env}, stdout=sys.stderr)
    try:
        async with Redis.from_url(url) as client, asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    await client.ping()
                    break
                except RedisError:
                    await asyncio.sleep(0.05)
        yield
    finally:
        process.terminate()
        await process.wait()
