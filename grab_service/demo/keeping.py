"""Supervision of child processes: a child that dies is reported with its log and restarted, a limited number of times."""

import asyncio
import contextlib
import signal
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Protocol

from grab_service.demo.stopping import Stopping
from grab_service.embedded.errors import ServerDidNotStartError, ServerError

LOOK_INTERVAL_S: Final = 0.2
DEATHS_MAX: Final = 3
DEATHS_WINDOW_S: Final = 60.0
"""A child that dies so often within so many seconds has a reason that another start does not mend."""


class Kept(Protocol):
    """A child process that can be started again."""

    @property
    def name(self) -> str: ...
    @property
    def log_path(self) -> Path: ...
    @property
    def running(self) -> bool: ...
    @property
    def exit_status(self) -> int | None: ...
    async def start(self) -> None: ...


class KeepsDyingError(ServerError):
    """A child of the run dies again and again."""


@asynccontextmanager
async def kept(children: Sequence[Kept], stopping: Stopping, log: Callable[[str], None]) -> AsyncIterator[None]:
    """While this lasts, children that die are started again.

    Raises:
        ServerError: one of them cannot be, or dies again and again; waiters for `stopping` have been woken up.
    """
    keeping = asyncio.create_task(_keep_all(children, log))
    keeping.add_done_callback(lambda _: stopping.stop())
    try:
        yield
    finally:
        keeping.cancel()
        await asyncio.wait({keeping})
        if not keeping.cancelled() and isinstance(failed := keeping.exception(), BaseExceptionGroup):
            first = failed.exceptions[0]
            raise first if isinstance(first, ServerError) else failed


def manner(exit_status: int | None) -> str:
    """The end of a process, in words."""
    if exit_status is not None and exit_status < 0:
        names = {sign.value: sign.name for sign in signal.Signals}
        return f"was killed by {names.get(-exit_status, f'signal {-exit_status}')}"
    return f"ended with status {exit_status}"


async def _keep_all(children: Sequence[Kept], log: Callable[[str], None]) -> None:
    async with asyncio.TaskGroup() as tasks:
        for child in children:
            tasks.create_task(_keep(child, log))


async def _keep(child: Kept, log: Callable[[str], None]) -> None:
    deaths: deque[float] = deque(maxlen=DEATHS_MAX)
    while True:
        await asyncio.sleep(LOOK_INTERVAL_S)
        if child.running:
            continue
        end = f"{child.name} {manner(child.exit_status)}"
        deaths.append(time.monotonic())
        if len(deaths) == DEATHS_MAX and deaths[-1] - deaths[0] < DEATHS_WINDOW_S:
            raise KeepsDyingError(
                f"{end}, and was started again {DEATHS_MAX - 1} times in {DEATHS_WINDOW_S:.0f} s: the run ends.",
                f"Its log is {child.log_path}.",
            )
        log(f"{end}; its log is {child.log_path}. It is started again.")
        with contextlib.suppress(ServerDidNotStartError):  # that is one more death
            await child.start()
