"""Histograms of durations that cost an observation next to nothing.

One observation by prometheus-client costs as much as a refused grab, above all where several processes count together. So
durations are only kept in lists, and put into their buckets all at once when they are handed over, twice a second.
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from prometheus_client import Histogram

GRAB_BOUNDS_S: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 1.5, 2.0, 2.5)
"""The last ones lie about the deadline of a grab."""

CALL_BOUNDS_S: Final = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
WAIT_BOUNDS_S: Final = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 1.5)


Labels = tuple[str, ...] | str
"""The values of the labels of a figure, or the only one."""


class _FilledHistogram(Histogram):
    def fill(self, durations_s: list[float]) -> None:
        """Observe all of them."""
        durations_s.sort()
        # Prometheus adds the buckets up itself: each has what lies above the bound before it, up to its own.
        ends = [0, *(bisect_right(durations_s, bound_s) for bound_s in self._upper_bounds)]
        for value, (begin, end) in zip(self._buckets, pairwise(ends), strict=True):
            if end > begin:
                value.inc(end - begin)
        self._sum.inc(sum(durations_s))


class Durations(dict[Labels, list[float]]):
    """A histogram by labels: to each the durations in seconds since the last flush."""

    def __init__(self, name: str, help_text: str, labels: Sequence[str], bounds_s: Sequence[float]) -> None:
        super().__init__()
        self._histogram = _FilledHistogram(name, help_text, labels, buckets=bounds_s)

    def __missing__(self, labels: Labels) -> list[float]:
        durations_s = self[labels] = []
        return durations_s

    def flush(self) -> None:
        """Hand them over, and begin anew; the lists stay the same."""
        for labels, durations_s in self.items():
            if durations_s:
                values = (labels,) if isinstance(labels, str) else labels
                (self._histogram.labels(*values) if values else self._histogram).fill(durations_s)
                durations_s.clear()
