"""The counters of this worker.

The grab path adds to plain integers; they are handed to Prometheus twice a second, because a labelled counter shared between
processes costs as much as verifying a pass.
"""

from collections import Counter as Tally
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

FLUSH_INTERVAL_S: Final = 0.5
BATCH_BUCKETS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)
CALL_BUCKETS_S: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.2, 1, 2)


class GrabMetrics:
    """Counts of one worker; build one per process."""

    def __init__(self) -> None:
        self.answers: Tally[str] = Tally()
        self.by_gate: Tally[str] = Tally()
        self._answers = Counter("grab_answers", "Answers to grabs, by outcome", ["outcome"])
        self._by_gate = Counter("grab_gate_refusals", "Refusals given without asking the cell, by outcome", ["outcome"])
        self._batches = Histogram("grab_batch_members", "Members in one script call", buckets=BATCH_BUCKETS)
        self._call_s = Histogram(
            "grab_batch_seconds",
            "One script call, there and back",
            buckets=CALL_BUCKETS_S,
        )
        self._unconfirmed = Counter(
            "grab_unconfirmed_calls", "Script calls whose claims too few replicas had confirmed in time: outcome-unknown"
        )
        self._waiting = Gauge("grab_waiting", "Grabs waiting for a script call", multiprocess_mode="livesum")
        self._view_age_s = Gauge("grab_view_age_seconds", "Age of this worker's view of the log", multiprocess_mode="livemax")

    def batch(self, members: int, seconds: float) -> None:
        """One script call came back."""
        self._batches.observe(members)
        self._call_s.observe(seconds)

    def flush(self, *, waiting: int, view_age_s: float, unconfirmed: int) -> None:
        """Hand the counts to Prometheus; `unconfirmed` are those since the last time."""
        self._unconfirmed.inc(unconfirmed)
        for tally, counter in ((self.answers, self._answers), (self.by_gate, self._by_gate)):
            for outcome, count in tally.items():
                counter.labels(outcome).inc(count)
            tally.clear()
        self._waiting.set(waiting)
        self._view_age_s.set(view_age_s)
