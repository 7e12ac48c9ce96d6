"""How much ordinary work may a worker have in hand at once, so that grabs keep their share of it?

A crowd that refreshes its pages asks for far more than it grabs, and a page costs as much as many grabs. Calls beyond the
places are refused before any work is done for them. No caller has more than a few places, and all callers without a valid
pass or token share half of them: neither one member on many connections nor a crowd of strangers can switch off the pages of
others. A caller whose body is on its way, or who does not read, has no place. Calls that have a place begin a few at a time:
a grab takes some turns of the loop, so a turn must not be filled with pages.
"""

from collections import Counter, deque
from collections.abc import Callable
from typing import Final

STARTS_A_TURN: Final = 4
PLACES_OF_ONE: Final = 8
"""Of one member, per worker. A browser opens six connections."""

STRANGER: Final = ""
"""All callers without a valid pass or token are one caller."""

OPS: Final = "ops "
"""Somebody of ops, or a program of theirs: the name follows."""

PROBES: Final = frozenset({"/livez", "/readyz", "/metrics"})
_ALWAYS: Final = PROBES | {"/v1/time"}


def needs_place(path: str) -> bool:
    """Whether a call counts: grabs have bounds of their own, a glance costs what a refusal does, probes must get through."""
    return path not in _ALWAYS and not (path.startswith("/v1/campaigns/") and path.endswith(("/claims", "/state")))


class Desk:
    """Places for ordinary calls of one worker."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._of_one = min(places, PLACES_OF_ONE)
        self._half = max(1, places // 2)
        self._taken: Counter[str] = Counter()
        self._lined_up: deque[Callable[[], None]] = deque()

    @property
    def free(self) -> int:
        """Places that nobody has; less than none while slow readers came back to calls that had begun."""
        return self._free

    def has_room(self, caller: str) -> bool:
        """Whether there is a place for this caller."""
        most = self._half if caller == STRANGER or caller.startswith(OPS) else self._of_one
        return self._free > 0 and self._taken[caller] < most

    def enter(self, caller: str) -> bool:
        """Take a place; False if there is none for this caller, and the call has to be turned away."""
        if not self.has_room(caller):
            return False
        self.resume(caller)
        return True

    def line_up(self, start: Callable[[], None], call_soon: Callable[[Callable[[], None]], object]) -> None:
        """Have a call that has a place begin, in one of the next turns of the loop."""
        self._lined_up.append(start)
        if len(self._lined_up) == 1:
            call_soon(lambda: self._begin(call_soon))

    def _begin(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        for _ in range(min(STARTS_A_TURN, len(self._lined_up))):
            self._lined_up[0]()
            self._lined_up.popleft()
        if self._lined_up:
            call_soon(lambda: self._begin(call_soon))

    def resume(self, caller: str) -> None:
        """Go on after `leave`: a call that has begun is ended, even if more are at work for a moment than there are places."""
        self._free -= 1
        self._taken[caller] += 1

    def leave(self, caller: str) -> None:
        """Give the place back."""
        self._free += 1
        if self._taken[caller] == 1:
            del self._taken[caller]
        else:
            self._taken[caller] -= 1
