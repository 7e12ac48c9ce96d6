"""The figures of ordinary calls: by the template of their route, never by an address that a caller has made up."""

from collections import Counter as Tally
from typing import Final

from prometheus_client import Counter

from grab_service.measures.durations import CALL_BOUNDS_S, Durations

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER: Final = "other"
"""Any other method; an address that no route has."""


class CallMetrics:
    """The ordinary calls of one worker, and the requests refused before their call began; build one per process."""

    def __init__(self) -> None:
        self.refusals: Tally[str] = Tally()
        self._durations = Durations(
            "grab_http_request_seconds",
            "Ordinary calls, from their whole request to their answer",
            ("method", "route"),
            CALL_BOUNDS_S,
        )
        self._tally: Tally[tuple[str, str, str]] = Tally()
        self._requests = Counter("grab_http_requests", "Ordinary calls, by route and status", ["method", "route", "status"])
        self._refusals = Counter(
            "grab_http_refusals", "Requests refused before their call began, grabs among them, by problem", ["problem"]
        )

    def add(self, method: str, route: str | None, status: int, duration_s: float) -> None:
        """Count a call. `route` is a template of the application's, None: the address has none."""
        method = method if method in METHODS else OTHER
        self._tally[method, route or OTHER, str(status)] += 1
        self._durations[method, route or OTHER].append(duration_s)

    def flush(self) -> None:
        """Hand over what was counted."""
        self._durations.flush()
        for labels, count in self._tally.items():
            self._requests.labels(*labels).inc(count)
        for problem, count in self.refusals.items():
            self._refusals.labels(problem).inc(count)
        self._tally.clear()
        self.refusals.clear()
