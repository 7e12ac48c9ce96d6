"""In which order do grabs that came together pass?

While the loop reads what has come, it does nothing else, and reads on for as long as more comes: a crowd that is answered there
keeps it there. So what is read lines up here, and passes in the next turns of the loop, for a few milliseconds at a time: in
between, batches go out, their replies come in, and the view stays young. Their answers leave one right after the other: whoever
reads them is woken once and not each time, which costs more than all the rest.
"""

from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

import structlog

CallSoon = Callable[[Callable[[], None]], object]

SLICE_S: Final = 0.005
AT_ONCE: Final = 32

log = structlog.get_logger()


class Passenger(Protocol):
    """A connection."""

    def pass_through(self, now_s: float) -> None:
        """Take up the request that waits, if it is still there. It came before `now_s`, of the turnstile's clock."""

    def leave(self) -> None:
        """Send the answers that were given."""

    def give_up(self) -> None:
        """End the connection."""


class Turnstile:
    """The line of one worker, and its way out."""

    def __init__(self, clock: Callable[[], float], call_soon: CallSoon) -> None:
        self._clock = clock
        self._call_soon = call_soon
        self._line: deque[Passenger] = deque()
        self._leaving: list[Passenger] = []
        self._turns = False

    def line_up(self, connection: Passenger) -> None:
        """Have the connection pass in one of the next turns of the loop; it stands in line once."""
        self._line.append(connection)
        if not self._turns:
            self._turn_soon()

    def let_out(self, connection: Passenger) -> None:
        """Have the connection send its answers together with others, in this turn or the next."""
        self._leaving.append(connection)
        if not self._turns:
            self._turn_soon()

    def _turn_soon(self) -> None:
        self._turns = True
        self._call_soon(self._turn)

    def _turn(self) -> None:
        line = self._line
        until_s = self._clock() + SLICE_S
        self._let_go()
        while line and (now_s := self._clock()) <= until_s:
            for _ in range(min(AT_ONCE, len(line))):
                connection = line.popleft()
                try:
                    connection.pass_through(now_s)
                except Exception:
                    # Those behind it have nothing to do with it, and the line must go on.
                    log.exception("grab_failed")
                    connection.give_up()
            self._let_go()
        self._turns = False
        if line:
            self._turn_soon()

    def _let_go(self) -> None:
        leaving, self._leaving = self._leaving, []
        for connection in leaving:
            try:
                connection.leave()
            except Exception:
                log.exception("answer_failed")
                connection.give_up()
