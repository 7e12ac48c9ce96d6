"""An embedded server for as long as a block lasts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

from grab_service.embedded.server import EmbeddedServer

Server = TypeVar("Server", bound=EmbeddedServer)


@asynccontextmanager
async def started(server: Server) -> AsyncIterator[Server]:
    """The server, running; ended on the way out, whatever became of it."""
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
