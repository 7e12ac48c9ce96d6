"""The fair read scheduler of one worker, with write coalescing.

The event loop runs nothing else while it reads, and a crowd that is answered as it is read keeps it reading. Grabs are
therefore queued as they are read, and processed in order of arrival in the next turns of the loop, a few milliseconds at a
time: in between, batches go out, replies come in, and the view stays young. Responses are written back to back, so the reader
wakes once; waking it per response costs more than all other work.
"""

from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

import structlog

CallSoon = Callable[[Callable[[], None]], object]

SLICE_S: Final = 0.005
AT_ONCE: Final = 32

log = structlog.get_logger()


class Writer(Protocol):
    """A connection with responses to write."""

    def write_unsent(self) -> None:
        """Write the responses that are ready."""

    def abort(self) -> None:
        """Close the connection at once."""


class Connection(Writer, Protocol):
    """A connection with a request to process."""

    def process_held(self, now_s: float) -> None:
        """Process the request that was read, unless it is gone. It came before `now_s`, by the scheduler's clock."""


class ReadScheduler:
    """The connections of one worker with a request to process, and those with responses to write."""

    def __init__(self, clock: Callable[[], float], call_soon: CallSoon) -> None:
        self._clock = clock
        self._call_soon = call_soon
        self._to_read: deque[Connection] = deque()
        self._to_write: list[Writer] = []
        self._scheduled = False

    def read_soon(self, connection: Connection) -> None:
        """Process the connection's request in one of the next turns of the loop; a connection is queued once."""
        self._to_read.append(connection)
        if not self._scheduled:
            self._run_soon()

    def write_soon(self, connection: Writer) -> None:
        """Write the connection's responses together with those of others, in this turn or the next."""
        self._to_write.append(connection)
        if not self._scheduled:
            self._run_soon()

    def _run_soon(self) -> None:
        self._scheduled = True
        self._call_soon(self._run)

    def _run(self) -> None:
        queue = self._to_read
        until_s = self._clock() + SLICE_S
        self._write_all()
        while queue and (now_s := self._clock()) <= until_s:
            for _ in range(min(AT_ONCE, len(queue))):
                connection = queue.popleft()
                try:
                    connection.process_held(now_s)
                except Exception:
                    # A fault of one connection must not stop the others in the queue.
                    log.exception("grab_failed")
                    connection.abort()
            self._write_all()
        self._scheduled = False
        if queue:
            self._run_soon()

    def _write_all(self) -> None:
        ready, self._to_write = self._to_write, []
        for connection in ready:
            try:
                connection.write_unsent()
            except Exception:
                log.exception("answer_failed")
                connection.abort()
