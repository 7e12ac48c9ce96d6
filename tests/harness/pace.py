"""Holds tests to times without being fooled by a machine that is busy with something else."""

import asyncio
import os
import time
from collections.abc import Awaitable
from typing import Final, TypeVar

T = TypeVar("T")

SPIN_S: Final = 0.05
STANDSTILL_S: Final = 0.1


def slowness() -> float:
    """Slowness of this machine now, as a factor over one that has nothing else to do; at least 1."""
    began_s, began_cpu_s = time.perf_counter(), time.thread_time()
    while time.thread_time() - began_cpu_s < SPIN_S:
        pass
    share = (time.perf_counter() - began_s) / SPIN_S
    return max(1.0, share, os.getloadavg()[0] / (os.cpu_count() or 1))


async def before_a_timer(seconds: float, work: Awaitable[T]) -> T:
    """The result of work that must end before a timer of the same event loop; what holds up the loop holds up both."""
    task = asyncio.ensure_future(work)
    await asyncio.wait([task], timeout=seconds)
    if not task.done():  # the loop may have stood still when both were due
        await asyncio.sleep(STANDSTILL_S)
    assert task.done(), f"not done when a timer of {seconds} s had ended"
    return task.result()
