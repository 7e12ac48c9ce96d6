"""The open connections of a worker, and the end of those that keep it waiting for too long.

A worker that is to end drains: it takes no new connections, each answer from then on is the last of its connection, and an idle
connection may send one more request within the drain time. Closing it at once would reset a request that is on its way.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

SWEEP_INTERVAL_S: Final = 1.0
PROBES_MAX: Final = 64
"""Connections at the port of the probes, if they have one."""


class Connection(Protocol):
    """One connection, as far as its time-outs go."""

    def look_at_the_clock(self, now_s: float) -> None:
        """End the connection if the other side has been silent, or has not read, for too long."""


class Connections:
    """The open connections of one worker. One sweep a second costs less than a timer for each answer."""

    def __init__(self, connections_max: int, clock: Callable[[], float], *, drain_s: float = 0.0) -> None:
        self._connections_max = connections_max
        self.clock = clock
        self._drain_s = drain_s
        self._drains_since_s: float | None = None
        self.turned_away = 0
        """Connections beyond the limit, counted up, and taken by who shows it."""

        self._open: set[Connection] = set()
        self._turned_away: set[Connection] = set()
        self._of_probes: set[Connection] = set()

    def __len__(self) -> int:
        return len(self._open)

    @property
    def draining(self) -> bool:
        """Whether this worker is about to end, and every answer is the last of its connection."""
        return self._drains_since_s is not None

    @property
    def drained(self) -> bool:
        """Whether idle connections have been waited for long enough."""
        return self._drains_since_s is not None and self.clock() - self._drains_since_s >= self._drain_s

    def drain(self) -> None:
        """This worker is to end."""
        if self._drains_since_s is None:
            self._drains_since_s = self.clock()

    def add(self, connection: Connection) -> bool:
        """Note a new connection; False if there are too many and it has to be turned away."""
        if len(self._open) >= self._connections_max:
            self.turned_away += 1
            return False
        self._open.add(connection)
        return True

    def add_turned_away(self, connection: Connection, turned_away_max: int) -> bool:
        """Note one that is only to be told that there are too many; False if even these are too many."""
        if len(self._turned_away) >= turned_away_max:
            return False
        self._turned_away.add(connection)
        return True

    def add_probe(self, connection: Connection) -> bool:
        """Note one at the port of the probes; False if there are too many there. The others do not count here."""
        if len(self._of_probes) >= PROBES_MAX:
            return False
        self._of_probes.add(connection)
        return True

    def discard(self, connection: Connection) -> None:
        """It is gone."""
        self._of_probes.discard(connection)
        self._open.discard(connection)
        self._turned_away.discard(connection)

    async def sweep_regularly(self) -> None:
        """Look at all of them once a second, until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_INTERVAL_S)
            now_s = self.clock()
            for connection in [*self._open, *self._turned_away, *self._of_probes]:
                connection.look_at_the_clock(now_s)
