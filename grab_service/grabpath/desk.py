"""How much ordinary work may a worker have in hand at once, so that grabs keep their share of it?

A crowd that refreshes its pages asks for far more than it grabs, and a page costs as much as many grabs. What is too much is
told so before any work is done for it. Who waits for a slow sender is not at work, and holds no more than what was sent. Those
who have a place begin a few at a time: a grab takes some turns of the loop, so a turn must not be filled with pages.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

STARTS_A_TURN: Final = 4

BODIES_MAX_BYTES: Final = 256 * 1024 * 1024
"""Of all bodies that a worker has received and not done with."""

_ALWAYS: Final = frozenset({"/livez", "/readyz", "/metrics", "/v1/time"})


def needs_place(path: str) -> bool:
    """Whether a call counts: grabs have bounds of their own, a glance costs what a refusal does, probes must get through."""
    return path not in _ALWAYS and not (path.startswith("/v1/campaigns/") and path.endswith(("/claims", "/state")))


class Desk:
    """Places for ordinary calls of one worker."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._bodies_bytes = 0
        self._lined_up: deque[Callable[[], None]] = deque()

    @property
    def free(self) -> int:
        """Places that nobody has; less than none if slow senders came back to calls that had begun."""
        return self._free

    def enter(self) -> bool:
        """Take a place; False if there is none, and the call has to be turned away."""
        if self._free <= 0:
            return False
        self._free -= 1
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

    def resume(self) -> None:
        """Go on after `leave`: what was begun is ended, even if more are at work for a moment than there are places."""
        self._free -= 1

    def leave(self) -> None:
        """Give the place back."""
        self._free += 1

    def hold(self, body_bytes: int) -> bool:
        """Note a piece of a body; False if all of them together have become too much."""
        self._bodies_bytes += body_bytes
        return self._bodies_bytes <= BODIES_MAX_BYTES

    def drop(self, body_bytes: int) -> None:
        """A body is done with."""
        self._bodies_bytes -= body_bytes
