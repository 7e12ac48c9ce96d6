"""The service without one of its techniques, and with nothing else changed.

    python -m bench.without scheduler

Everything stays exact; only the speed changes. `decision` is no technique: it leaves the answer to the next best constant, so
that what remains is the server's own limit.
"""

import gc
import os
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from grab_service.grabpath import path, responder
from grab_service.grabpath.answers import Answer, of_claim, of_problem
from grab_service.server import reader, scheduler
from grab_service.service.serve import serve
from grab_service.settings import Settings
from grab_service.vocabulary.claims import ClaimRecord


def _batches() -> None:
    os.environ |= {"GRAB_BATCH_MAX": "1", "GRAB_BATCHES_IN_FLIGHT_MAX": "64"}


def _calls_at_once() -> None:
    os.environ["GRAB_BATCHES_IN_FLIGHT_MAX"] = "1"


def _gate() -> None:
    os.environ["GRAB_VIEW_AGE_MAX_S"] = "0.000000001"


def _lane() -> None:
    reader.GrabReader.read = lambda *_: None  # type: ignore[method-assign]


def _read_scheduler() -> None:
    """Each grab is answered where it was read, in a write of its own."""

    def read_soon(_: Any, connection: scheduler.Connection) -> None:
        connection.process_held(time.monotonic())

    def write_soon(_: Any, connection: scheduler.Connection) -> None:
        connection.write_unsent()

    scheduler.ReadScheduler.read_soon = read_soon  # type: ignore[method-assign,assignment]
    scheduler.ReadScheduler.write_soon = write_soon  # type: ignore[method-assign,assignment]


def _templates() -> None:
    """Each winner's answer is rendered from scratch."""

    class NoTemplate:
        def __init__(self, campaign: Any, epoch: int, granted_at_ms: int, as_of: Any) -> None:
            self._given = campaign, epoch, granted_at_ms, as_of

        def fill(self, member_id: str, seq: bytes, unit_no: bytes, code: bytes) -> Answer:
            campaign, epoch, granted_at_ms, as_of = self._given
            record = ClaimRecord(int(seq), epoch, int(unit_no), 1, granted_at_ms, code.decode(), "")
            return of_claim(201, campaign, member_id, record, as_of)

    vars(responder)["WinTemplate"] = NoTemplate


def _freezing() -> None:
    gc.freeze = lambda: None
    gc.set_threshold = lambda *_: None


def _decision() -> None:
    answer = of_problem("sold-out", "zh", next_release_at_ms=None, waitlist=False)
    path.GrabPath.knows = lambda *_: True  # type: ignore[method-assign]
    path.GrabPath.begin = lambda *_: answer  # type: ignore[method-assign]


TAKEN_OUT: Final[dict[str, Callable[[], None]]] = {
    "batches": _batches,
    "calls_at_once": _calls_at_once,
    "gate": _gate,
    "lane": _lane,
    "scheduler": _read_scheduler,
    "templates": _templates,
    "freezing": _freezing,
    "decision": _decision,
}


if __name__ in {"__main__", "__mp_main__"}:  # the supervisor, and each worker that it spawns
    TAKEN_OUT[sys.argv[1]]()
if __name__ == "__main__":
    serve(Settings())
