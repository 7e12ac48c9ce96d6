"""Answers that tell of claims, kept until these are on record.

Where the operator promises no more than what PostgreSQL has (`GRAB_DURABILITY=record`), a claim that only Redis knows may be
lost with it. So its answer waits for the ledger's commit, of which the view hears. The deadline of the grab holds meanwhile.
"""

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count

from grab_service.grabpath.batcher import Grab
from grab_service.grabpath.view import View

Tell = Callable[[], None]


class Unrecorded:
    """The answers of one worker that wait for the record of their claims."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._waiting: list[tuple[int, int, int, Grab, Tell]] = []
        """A heap of (epoch, seq, number, grab, tell)."""

        self._numbers = count()

    def keep(self, epoch: int, seq: int, grab: Grab, tell: Tell) -> None:
        """Call `tell` once this place in the log is on record, unless the grab is answered before, at its deadline."""
        grab.decided = False
        heappush(self._waiting, (epoch, seq, next(self._numbers), grab, tell))

    def release(self) -> None:
        """Answer those whose claims are on record by now."""
        recorded, waiting = self._view.recorded, self._waiting
        while waiting and waiting[0][:2] <= recorded:
            epoch, seq, _, grab, tell = heappop(waiting)
            # A claim of an earlier life that was still waiting may be lost: its grab is answered at the deadline.
            if recorded.has(epoch, seq) and not grab.decided:
                grab.decided = True
                tell()
