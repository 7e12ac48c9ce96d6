"""Which connections are open, and which of them keep this worker waiting for too long?"""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

SWEEP_INTERVAL_S: Final = 1.0


class Connection(Protocol):
    """One connection, as far as its time-outs go."""

    def look_at_the_clock(self, now_s: float) -> None:
        """End the connection if the other side has been silent, or has not read, for too long."""


class Connections:
    """The open connections of one worker. One sweep a second costs less than a timer for each answer."""

    def __init__(self, connections_max: int, clock: Callable[[], float]) -> None:
        self._connections_max = connections_max
        self._clock = clock
        self._open: set[Connection] = set()

    def __len__(self) -> int:
        return len(self._open)

    def add(self, connection: Connection) -> bool:
        """Note a new connection; False if there are too many and it has to be turned away."""
        if len(self._open) >= self._connections_max:
            return False
        self._open.add(connection)
        return True

    def discard(self, connection: Connection) -> None:
        """It is gone."""
        self._open.discard(connection)

    async def sweep_regularly(self) -> None:
        """Look at all of them once a second, until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_INTERVAL_S)
            now_s = self._clock()
            for connection in list(self._open):
                connection.look_at_the_clock(now_s)
