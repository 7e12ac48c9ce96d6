"""The counters of this worker.

The grab path adds to plain integers; they are handed to Prometheus twice a second, because a labelled counter shared between
processes costs as much as verifying a pass. By campaign they are kept for the ledger until `take_counts`.
"""

from collections import Counter as Tally
from collections import defaultdict
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from grab_service.vocabulary.counts import NO_CAMPAIGN, OPENED

FLUSH_INTERVAL_S: Final = 0.5
BATCH_BUCKETS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)
CALL_BUCKETS_S: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.2, 1, 2)
CAMPAIGNS_MAX: Final = 256
"""Campaigns that are counted by themselves between two `take_counts`; what is answered about more counts for none."""

Tallies = defaultdict[str, Tally[str]]
"""Campaign → outcome → how often. Only a campaign that the view has may be written here: anybody can make up ids."""


class GrabMetrics:
    """Counts of one worker; build one per process."""

    def __init__(self) -> None:
        self.answers: Tallies = defaultdict(Tally)
        self.by_gate: Tallies = defaultdict(Tally)
        self.opened: Tally[str] = Tally()
        """Pages of campaigns that members opened, by campaign."""

        self._counts: Tallies = defaultdict(Tally)
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
        self._hand_over()
        self._waiting.set(waiting)
        self._view_age_s.set(view_age_s)

    def take_counts(self) -> dict[str, Tally[str]]:
        """What was answered and opened since this was last called, by campaign and outcome."""
        self._hand_over()
        taken, self._counts = dict(self._counts), defaultdict(Tally)
        return taken

    def _hand_over(self) -> None:
        for tallies, counter in ((self.answers, self._answers), (self.by_gate, self._by_gate)):
            for campaign_id, tally in tallies.items():
                self._count(campaign_id, tally)
                for outcome, count in tally.items():
                    counter.labels(outcome).inc(count)
            tallies.clear()
        for campaign_id, count in self.opened.items():
            self._count(campaign_id, Tally({OPENED: count}))
        self.opened.clear()

    def _count(self, campaign_id: str, tally: Tally[str]) -> None:
        fits = campaign_id in self._counts or len(self._counts) < CAMPAIGNS_MAX
        if tally:
            self._counts[campaign_id if fits else NO_CAMPAIGN].update(tally)
