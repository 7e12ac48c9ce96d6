"""The rate limit of one member.

By member and not by address, because an office shares one. Each worker counts for itself, in fixed windows; the table of a
window is dropped whole, so memory is bounded by the requests of one window.
"""


class RateLimit:
    """At most `burst` grabs of one member in one window of `window_s`."""

    def __init__(self, burst: int, window_s: float) -> None:
        self._burst = burst
        self._window_s = window_s
        self._ends_at_s = 0.0
        self._counts: dict[str, int] = {}

    def retry_after_s(self, member_id: str, now_s: float) -> int:
        """Count one grab; 0 if it may go on, else the whole seconds to wait. `now_s` is a monotonic clock."""
        if now_s >= self._ends_at_s:
            self._ends_at_s = now_s + self._window_s
            self._counts = {}
        count = self._counts.get(member_id, 0)
        if count >= self._burst:
            return max(1, int(self._ends_at_s - now_s + 0.999))
        self._counts[member_id] = count + 1
        return 0
