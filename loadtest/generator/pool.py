"""The connections of one process: opened before the rush, and replaced when they are lost."""

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Callable

from loadtest.generator.connection import IDLE, Asker, GrabConnection

CONNECT_AT_ONCE = 128
CONNECT_TIMEOUT_S = 5.0
PAUSE_S = 0.02
PAUSE_MAX_S = 1.0


class Pool:
    """A number of connections to one address; the free ones wait in `idle`, the longest free first.

    Attributes:
        idle: may hold some that were closed meanwhile; a taker checks.
        open: all that are open.
    """

    def __init__(self, host: str, port: int, wanted: int, on_free: Callable[[], None]) -> None:
        self.idle: deque[GrabConnection] = deque()
        self.open: set[GrabConnection] = set()
        self._host = host
        self._port = port
        self._wanted = wanted
        self._on_free = on_free
        self._opening: set[asyncio.Task[None]] = set()
        self._gate = asyncio.Semaphore(CONNECT_AT_ONCE)
        self._complete = asyncio.Event()
        self._closing = False

    async def fill(self, asker: Asker, patience_s: float) -> int:
        """Open the connections, a bounded number at once.

        Returns:
            How many are open when all are, or when patience ends; the others are tried again for as long as it takes.
        """
        for _ in range(self._wanted):
            self._open_soon(asker, 0.0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await self._complete.wait()
        return len(self.open)

    def replace(self, connection: GrabConnection, asker: Asker) -> None:
        """Open another one for one that is gone."""
        self.open.discard(connection)
        if not self._closing:
            # A server that accepts and drops at once is not hammered.
            self._open_soon(asker, PAUSE_S if connection.useful else PAUSE_MAX_S)

    def close(self) -> None:
        """Close all: those that wait for an answer at once, the others in good order."""
        self._closing = True
        for task in self._opening:
            task.cancel()
        for connection in list(self.open):
            if connection.task != IDLE:
                connection.abort("given-up")
            else:
                connection.close()

    def _open_soon(self, asker: Asker, pause_s: float) -> None:
        task = asyncio.get_running_loop().create_task(self._open_one(asker, pause_s))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open_one(self, asker: Asker, pause_s: float) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if pause_s:
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))
            try:
                async with self._gate, asyncio.timeout(CONNECT_TIMEOUT_S):
                    _, connection = await loop.create_connection(lambda: GrabConnection(asker), self._host, self._port)
            except OSError:  # TimeoutError is one
                pause_s = min(PAUSE_MAX_S, max(PAUSE_S, pause_s * 2))
                continue
            break
        if connection.closed:
            return  # its replacement is under way
        self.open.add(connection)
        self.idle.append(connection)
        if len(self.open) == self._wanted:
            self._complete.set()
        self._on_free()
