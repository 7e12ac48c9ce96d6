"""The counts of one worker: gathered by second, and written to the cell once a second in one call, for the ledger to add up.

A call that brought no answer is not repeated, for its counts might be added twice; and a worker that is killed takes its last
second along. So the sums are lower bounds of what was answered, and never too high.
"""

import asyncio
import contextlib
import os
import socket
import time
from collections import Counter
from typing import Final

import structlog

from grab_service.cell.store import Cell, CellClosedError, CellError, CellUnreachableError
from grab_service.grabpath.view import View
from grab_service.metrics import GrabMetrics
from grab_service.vocabulary.counts import encode_counts

KEPT_MAX: Final = 20_000
"""Figures that a worker keeps while the cell takes none; the oldest seconds are forgotten first."""

HOST_MAX: Final = 40
LAST_WRITE_S: Final = 1.0

log = structlog.get_logger()


def name_of_this_process() -> str:
    """Host, process and start: no other worker of the cell is called so, now or later."""
    return f"{socket.gethostname()[:HOST_MAX]}-{os.getpid()}-{time.time_ns() // 1_000_000:x}"


class Counting:
    """Writes down what its worker counts. The cell's clock says which second it is."""

    def __init__(self, cell: Cell, metrics: GrabMetrics, view: View) -> None:
        """`cell`: not that of the grabs, which must not wait."""
        self.name = name_of_this_process()
        self._cell = cell
        self._metrics = metrics
        self._view = view
        self._kept: dict[int, dict[str, Counter[str]]] = {}
        self._forgets = False
        self._writing: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Gather and write until cancelled. A call that takes long does not keep the next second from being gathered."""
        while True:
            second, ms = divmod(self._view.now_ms(), 1000)
            await asyncio.sleep((1000 - ms) / 1000)
            self._keep(second, self._metrics.take_counts())
            # Without a fresh view the cell is closed or away, or this worker is late: the next second will do.
            if self._view.is_fresh and (self._writing is None or self._writing.done()):
                self._writing = asyncio.create_task(self._write())

    async def close(self) -> None:
        """Write what was counted last, if that can be done within a moment."""
        self._keep(self._view.now_ms() // 1000, self._metrics.take_counts())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_WRITE_S):
                if self._writing is not None:
                    await self._writing
                await self._write()

    def _keep(self, second: int, counts: dict[str, Counter[str]]) -> None:
        if counts:
            kept = self._kept.setdefault(second, {})
            for campaign_id, tally in counts.items():
                kept.setdefault(campaign_id, Counter()).update(tally)
        while sum(len(tally) for by_campaign in self._kept.values() for tally in by_campaign.values()) > KEPT_MAX:
            del self._kept[min(self._kept)]
            if not self._forgets:
                log.warning("counts_forgotten", kept=KEPT_MAX)
            self._forgets = True

    async def _write(self) -> None:
        counts, self._kept = self._kept, {}
        try:
            await self._cell.note_counts(self.name, encode_counts(counts), self._view.chain.note)
        except (CellClosedError, CellUnreachableError):
            for second, by_campaign in counts.items():
                self._keep(second, by_campaign)
        except CellError:
            log.warning("counts_lost", seconds=len(counts))
        else:
            self._forgets = False
