"""The conditions on which a worker begins to accept connections.

A worker that comes where others serve opens only when it can do what they do: its view has been complete once, and neither
Redis nor Postgres turns it away. Before that it would take its share of the members and answer them worse than those who had
them. It says what it waits for, and its supervisor decides. A restart is given up, and the old workers stay. In the place of a
worker that has died it goes on waiting while others serve: its door may open any moment, and a closed one harms nobody.

Where nobody else serves, the worker opens after a moment in any case: at the start of a service that is up before its
Redis (compose and `make run` start that way), and when the only worker has died. Members hear `paused-for-recovery` then, which
is true, and nothing needs to be restarted when the cell opens.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

LOOK_INTERVAL_S: Final = 0.2
"""Interval at which a waiting worker checks, and reports, the condition that keeps it closed."""

OPEN_ANYWAY_S: Final = 2.0
"""A worker of which nobody demands to be ready waits so long for its view, and for Postgres."""


def _ignore(_why: str) -> None:
    """Nobody listens."""


@dataclass(frozen=True, slots=True)
class Opening:
    """The terms on which one worker opens.

    Attributes:
        must_be_ready: whether it stays closed until it is.
        on_wait: called again and again while the worker waits, with the reason in words; empty if it is only not ready yet.
    """

    must_be_ready: bool = False
    on_wait: Callable[[str], None] = _ignore

    @property
    def look_s(self) -> float:
        """Wait for a condition before the check whether to go on without it."""
        return LOOK_INTERVAL_S if self.must_be_ready else OPEN_ANYWAY_S
