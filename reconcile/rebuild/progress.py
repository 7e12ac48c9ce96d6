"""The progress of a rebuild."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import structlog

SAY_EVERY_S: Final = 1.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Progress:
    """Records written into the cell so far, and how many there are."""

    done: int
    of: int


OnProgress = Callable[[Progress], None]


@dataclass(slots=True)
class ProgressLog:
    """Logs the progress, at most once a second."""

    _said_s: float = field(default_factory=time.monotonic)

    def __call__(self, progress: Progress) -> None:
        """OnProgress of progress."""
        now_s = time.monotonic()
        if now_s - self._said_s >= SAY_EVERY_S:
            self._said_s = now_s
            percent = 100 * progress.done // max(1, progress.of)
            log.info("rebuild_goes_on", records=progress.done, records_all=progress.of, percent=percent)
