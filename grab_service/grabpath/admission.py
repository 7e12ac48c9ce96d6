"""Admission control: the concurrency limit of a worker's ordinary calls, so that grabs keep their share of it.

A crowd that refreshes its pages sends far more ordinary calls than grabs, and a page costs as much as many grabs. Calls beyond
the limit are refused before any work is done for them. A single caller gets only a few places, and all callers without a valid
pass or token share half of them: neither one member on many connections nor a crowd of strangers can switch off the pages of
others. A call takes no place while its body arrives or while its caller does not read. Admitted calls begin a few at a time:
a grab takes some turns of the loop, so a turn must not be filled with pages.
"""

import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Final

STARTS_A_TURN: Final = 4
PLACES_OF_ONE: Final = 8
"""Of one member, per worker. A browser opens six connections."""

STRANGER: Final = ""
"""All callers without a valid pass or token are one caller."""

OPS: Final = "ops "
"""Prefix of a caller with an ops token: an operator, or a program of ops. The name follows."""


class Admission:
    """Places for ordinary calls of one worker."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._of_one = min(places, PLACES_OF_ONE)
        self._half = max(1, places // 2)
        self._taken: Counter[str] = Counter()
        self._beginning: deque[tuple[Callable[[], None], float]] = deque()
        self._places = places
        self.on_wait: Callable[[float], object] = lambda _waited_s: None
        """Told how long each admitted call waited for its turn, in seconds."""

    @property
    def taken(self) -> int:
        """Places that are taken."""
        return self._places - self._free

    @property
    def free(self) -> int:
        """Free places; negative while calls that resumed after a slow reader exceed the limit."""
        return self._free

    def has_room(self, caller: str) -> bool:
        """Whether a place is free for this caller."""
        most = self._half if caller == STRANGER or caller.startswith(OPS) else self._of_one
        return self._free > 0 and self._taken[caller] < most

    def enter(self, caller: str) -> bool:
        """Take a place; False if none is free for this caller, and the call has to be refused."""
        if not self.has_room(caller):
            return False
        self.resume(caller)
        return True

    def begin_soon(self, start: Callable[[], None], call_soon: Callable[[Callable[[], None]], object]) -> None:
        """Begin an admitted call in one of the next turns of the loop."""
        self._beginning.append((start, time.monotonic()))
        if len(self._beginning) == 1:
            call_soon(lambda: self._begin(call_soon))

    def _begin(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        for _ in range(min(STARTS_A_TURN, len(self._beginning))):
            start, since_s = self._beginning[0]
            self.on_wait(time.monotonic() - since_s)
            start()
            self._beginning.popleft()
        if self._beginning:
            call_soon(lambda: self._begin(call_soon))

    def resume(self, caller: str) -> None:
        """Take the place again after `leave`: a call that has begun is completed, even beyond the limit."""
        self._free -= 1
        self._taken[caller] += 1

    def leave(self, caller: str) -> None:
        """Free the place."""
        self._free += 1
        if self._taken[caller] == 1:
            del self._taken[caller]
        else:
            self._taken[caller] -= 1
