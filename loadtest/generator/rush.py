"""The rush of one process: it sends each tap at its moment, and repeats it until its answer is final.

Open loop: a tap is due at its intended moment whether or not earlier ones were answered. When every connection is
busy, due taps wait in order of their moment, and the waiting counts as latency. The loop does its work in ticks: all
that is due and finds a free connection is written to the receipts with one write, then to the sockets.
"""

import asyncio
import heapq
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from loadtest.contract import pause_s
from loadtest.generator.connection import IDLE, GrabConnection
from loadtest.generator.http_parse import Answer, header
from loadtest.generator.notes import Notes
from loadtest.generator.pool import Pool
from loadtest.generator.tally import Tally, bucket_of
from loadtest.passes import Member
from loadtest.receipts import ReceiptBook

# At most so many requests between two looks at the sockets: answers must not wait for a burst of writes.
BURST_MAX = 256
# How long a tick may wait for the next due tap.
TICK_S = 0.001
TICK_MIN_NS = 250_000
SWEEP_S = 0.05

LOSS_PAUSE_S = 0.02
LOSS_PAUSE_MAX_S = 1.0


@dataclass(frozen=True, slots=True)
class RushPlan:
    """The part of one process.

    Attributes:
        crowd: who taps, in order of the taps.
        requests: their requests' bytes.
        offsets_ns: their moments after the start, rising.
        host: where to connect.
        port: the same.
        connections: how many to hold open.
        anchor_ns: wall clock minus monotonic clock.
        answer_timeout_s: an answer later than this is given up, and its connection.
        deadline_s: members without a final answer so long after the start are errors.
    """

    crowd: Sequence[Member]
    requests: Sequence[bytes]
    offsets_ns: Sequence[int]
    host: str
    port: int
    connections: int
    anchor_ns: int
    answer_timeout_s: float
    deadline_s: float


class Rush:
    """One process's part of the stampede: `connect`, then `run`."""

    def __init__(self, plan: RushPlan, book: ReceiptBook) -> None:
        self._plan = plan
        self._book = book
        self._pool = Pool(plan.host, plan.port, plan.connections, self._wake)
        self._notes = Notes(len(plan.crowd))
        self._members = [member.member_id for member in plan.crowd]
        self._unanswered = len(plan.crowd)
        self._next_task = 0
        self._again: list[tuple[int, int]] = []
        self._repeats: Counter[int] = Counter()
        self._lines: list[bytes] = []
        self._receipt_no = 0
        self._start_ns = 0
        self._running = False
        self._tick_queued = False
        self._ticked_ns = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_set = False
        self._over = asyncio.Event()
        self._stop_reason = "deadline"
        self._broken_by: OSError | None = None

    async def connect(self, patience_s: float) -> int:
        """Open the connections; returns how many are open when all are, or when patience ends."""
        return await self._pool.fill(self, patience_s)

    async def run(self, start_ns: int, on_progress: Callable[[dict[str, int]], None]) -> Tally:
        """Send everybody's tap and wait for all answers, the deadline, or `stop`.

        Args:
            start_ns: the opening, on the monotonic clock; the taps' offsets count from there.
            on_progress: called about four times a second with a few counts.

        Raises:
            OSError: the receipts could not be written; nothing was sent without one.
        """
        self._start_ns = start_ns
        connections = len(self._pool.open)
        self._running = True
        cpu_before, began_ns = time.process_time(), time.monotonic_ns()
        sweeper = asyncio.get_running_loop().create_task(self._sweep(on_progress))
        self._wake()
        try:
            await self._over.wait()
        except asyncio.CancelledError:
            self.stop("interrupted")
        self._running = False
        sweeper.cancel()
        if self._timer is not None:
            self._timer.cancel()
        self._pool.close()
        self._flush_or_stop()
        cpu_s, wall_s = time.process_time() - cpu_before, (time.monotonic_ns() - began_ns) / 1e9
        await asyncio.sleep(0)  # lets the connections close
        if self._broken_by is not None:
            raise self._broken_by
        tally = self._notes.count(self._plan.offsets_ns, start_ns, self._unanswered, self._stop_reason)
        tally.connections, tally.cpu_s, tally.wall_s = connections, cpu_s, wall_s
        return tally

    def stop(self, reason: str) -> None:
        """End the rush; members without a final answer become errors of that reason."""
        if not self._over.is_set():
            self._stop_reason = reason
            self._over.set()

    # -- sending -------------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        if self._running and not self._tick_queued:
            self._tick_queued = True
            asyncio.get_running_loop().call_soon(self._tick)

    def _tick(self) -> None:
        """Send what is due, as far as connections are free; receipts first."""
        self._tick_queued = False
        if not self._running:
            return
        self._ticked_ns = now_ns = time.monotonic_ns()
        self._timer_set = False
        batch, next_ns = self._take_due(now_ns)
        if not self._flush_or_stop():
            return
        requests = self._plan.requests
        for connection, task, receipt_no in batch:
            connection.send(requests[task], task, receipt_no, now_ns)
        if batch:
            self._notes.sent[self._bucket(now_ns)] += len(batch)
        if len(batch) == BURST_MAX:
            self._wake()
        elif next_ns is not None and self._pool.idle:
            self._sleep_until(next_ns, now_ns)

    def _take_due(self, now_ns: int) -> tuple[list[tuple[GrabConnection, int, int]], int | None]:
        """Match due taps with idle connections and write their lines.

        Returns:
            The connections with their taps and receipt numbers; and when the next tap is due, None if none is waiting.
        """
        idle, again, offsets, members = self._pool.idle, self._again, self._plan.offsets_ns, self._members
        start_ns, first, fresh_end = self._start_ns, self._next_task, len(self._members)
        lines, receipt_no = self._lines, self._receipt_no
        at_us = b"%d\n" % ((now_ns + self._plan.anchor_ns) // 1000)
        batch: list[tuple[GrabConnection, int, int]] = []
        fresh = first
        next_ns: int | None = None
        while len(batch) < BURST_MAX:
            next_ns = start_ns + offsets[fresh] if fresh < fresh_end else None
            repeat = bool(again) and (next_ns is None or again[0][0] <= next_ns)
            if repeat:
                next_ns = again[0][0]
            if next_ns is None or next_ns > now_ns or not idle:
                break
            connection = idle.popleft()
            if connection.closed:
                continue
            receipt_no += 1
            if repeat:
                task = heapq.heappop(again)[1]
                lines.append(b"S\t%d\t%b\t%d\t%b" % (receipt_no, members[task], self._repeats[task] + 1, at_us))
            else:
                task = fresh
                fresh += 1
                lines.append(b"S\t%d\t%b\t1\t%b" % (receipt_no, members[task], at_us))
            batch.append((connection, task, receipt_no))
        if fresh > first:
            self._notes.sendings.append((first, fresh, now_ns))
        self._next_task = fresh
        self._receipt_no = receipt_no
        return batch, next_ns

    def _sleep_until(self, due_ns: int, now_ns: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        wait_s = max(TICK_S, (due_ns - now_ns) / 1e9)
        self._timer_set = wait_s < 2 * TICK_S
        self._timer = asyncio.get_running_loop().call_later(wait_s, self._wake)

    def _flush_or_stop(self) -> bool:
        """Write the lines; a rush whose receipts cannot be written ends."""
        if self._lines:
            lines, self._lines = self._lines, []
            try:
                self._book.append(lines)
            except OSError as error:
                self._broken_by = error
                self.stop("receipts-not-written")
                return False
        return True

    async def _sweep(self, on_progress: Callable[[dict[str, int]], None]) -> None:
        """Look after what no event announces: answers that do not come, the deadline, progress."""
        timeout_ns = int(self._plan.answer_timeout_s * 1e9)
        deadline_ns = self._start_ns + int(self._plan.deadline_s * 1e9)
        turn = 0
        while True:
            await asyncio.sleep(SWEEP_S)
            now_ns = time.monotonic_ns()
            if now_ns > deadline_ns:
                self.stop("deadline")
                return
            late_ns = now_ns - timeout_ns
            for connection in list(self._pool.open):
                if connection.task != IDLE and connection.sent_at_ns < late_ns:
                    connection.abort("answer-timeout")
            turn += 1
            if turn % 5 == 0:
                on_progress(self._progress())

    def _progress(self) -> dict[str, int]:
        return {
            "answered": len(self._members) - self._unanswered,
            "won": self._notes.won,
            "retries": self._notes.retries.total(),
            "errors": self._notes.broken,
            "connections": len(self._pool.open),
        }

    # -- what connections tell -----------------------------------------------------------------------------------

    def on_answer(self, connection: GrabConnection, answer: Answer) -> None:
        """Take an answer: receipt, outcome, and the connection back."""
        now_ns = time.monotonic_ns()
        task = connection.task
        connection.task = IDLE
        if answer.closes:
            connection.close()
        else:
            self._pool.idle.append(connection)
        note = self._notes.note(answer)
        at_us = (now_ns + self._plan.anchor_ns) // 1000
        self._lines.append(b"A\t%d\t%d%b" % (connection.receipt_no, at_us, note.line_end))
        if note.tasks is None:
            self._notes.answers[self._bucket(now_ns)] += 1
            retry_after = header(answer.head, b"retry-after")
            wait_s = pause_s(None if retry_after is None else retry_after.decode("latin-1"), note.opens_in_ms)
            self._retry(task, now_ns + int(wait_s * 1e9), note.name)
        else:
            note.tasks.append(task)
            self._notes.answered_ns[task] = now_ns
            self._unanswered -= 1
            if self._unanswered == 0:
                self._over.set()
        # A tick costs the same for one tap as for many. While the next one is set, it is not hurried for every answer.
        if not (self._tick_queued or (self._timer_set and now_ns - self._ticked_ns < TICK_MIN_NS)):
            self._wake()

    def on_loss(self, connection: GrabConnection, reason: str) -> None:
        """Note that a request has no answer, and repeat it: if a claim was made, the repeat returns it."""
        now_ns = time.monotonic_ns()
        at_us = (now_ns + self._plan.anchor_ns) // 1000
        self._lines.append(b"L\t%d\t%d\t%b\n" % (connection.receipt_no, at_us, reason.encode("ascii")))
        if self._running:
            loss_pause_s = min(LOSS_PAUSE_MAX_S, LOSS_PAUSE_S * 2 ** min(10, self._repeats[connection.task]))
            self._retry(connection.task, now_ns + int(loss_pause_s * random.uniform(1.0, 2.0) * 1e9), reason)

    def on_gone(self, connection: GrabConnection) -> None:
        """Replace a connection that is gone."""
        self._pool.replace(connection, self)

    def _retry(self, task: int, due_ns: int, reason: str) -> None:
        self._repeats[task] += 1
        self._notes.retries[reason] += 1
        heapq.heappush(self._again, (due_ns, task))
        self._wake()

    def _bucket(self, at_ns: int) -> int:
        return bucket_of((at_ns - self._start_ns) // 1000)
