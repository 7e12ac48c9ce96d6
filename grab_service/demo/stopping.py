"""Shutdown of a long run on request, after all of its children."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Stopping:
    """Hears Ctrl-C and the like once it obeys signals."""

    def __init__(self) -> None:
        self._stop = asyncio.Event()

    def obey_signals(self) -> None:
        """From now on a signal that asks us to end is heard, and ends nothing by itself."""
        loop = asyncio.get_running_loop()
        # A shell ignores SIGINT for its background processes; a SIGINT sent to one is meant all the same.
        for sign in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(sign, self._stop.set)
        # SIGHUP: the terminal is gone, and its user with it. Under `nohup` we go on without them.
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            loop.add_signal_handler(signal.SIGHUP, self._stop.set)

    def stop(self) -> None:
        """Ask for the end as a signal would."""
        self._stop.set()

    async def wait(self) -> None:
        """Return when we are asked to stop."""
        await self._stop.wait()

    async def unless_stopped(self, work: Coroutine[Any, Any, T]) -> T | None:
        """The result of the work, or None if we were asked to stop before; the work is called off then."""
        task, stopped = asyncio.ensure_future(work), asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            for future in (task, stopped):
                future.cancel()
            await asyncio.gather(task, stopped, return_exceptions=True)
