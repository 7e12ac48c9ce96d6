"""How does one process send its part of the crowd, each tap at its moment, and hear everyone's answer?

Open loop: a tap is due at its intended moment whether or not earlier ones were answered. When every connection is
busy, due taps wait in order of their moment, and the waiting counts as latency. The loop does its work in ticks: all
that is due and finds a free connection is written to the receipts with one write, then to the sockets.
"""

import asyncio
import contextlib
import heapq
import random
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from loadtest.connection import IDLE, GrabConnection
from loadtest.contract import SOLD_OUT, UNREADABLE, Meaning, Problem, meaning_of, read_problem
from loadtest.crowd import Member
from loadtest.receipts import ReceiptBook, one_line
from loadtest.tally import Tally, bucket_of
from loadtest.wire import Answer, header

# At most so many requests between two looks at the sockets: answers must not wait for a burst of writes.
BURST_MAX = 256
# How long a tick may wait for the next due tap.
TICK_S = 0.001
SWEEP_S = 0.05

RETRY_AFTER_MAX_S = 5.0
RETRY_AFTER_DEFAULT_S = 0.2
LOSS_PAUSE_S = 0.02
LOSS_PAUSE_MAX_S = 1.0
CONNECT_AT_ONCE = 128
CONNECT_TIMEOUT_S = 5.0

# Problem bodies repeat; remembering some saves reading them again.
_VERDICTS_MAX = 512


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What an answer means.

    Attributes:
        status: of the answer.
        name: of the outcome, or of the reason to ask again.
        line_end: of its receipt.
        tasks: where taps are gathered that got it as their final answer; None if it is not final.
        problem: as read.
    """

    status: int
    name: str
    line_end: bytes
    tasks: list[int] | None
    problem: Problem | None


@dataclass(frozen=True, slots=True)
class RushPlan:
    """What one process is to do.

    Attributes:
        crowd: who taps, in order of the taps.
        requests: their requests' bytes.
        offsets_ns: their moments after the start, rising.
        host: where to connect.
        port: the same.
        connections: how many to hold open.
        anchor_ns: wall clock minus monotonic clock.
        answer_timeout_s: an answer later than this is given up, and its connection.
        deadline_s: after the start, whoever has no final answer is an error.
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
        self._tally = Tally()
        self._members = [member.member_id for member in plan.crowd]
        self._unanswered = len(plan.crowd)
        # What the tally is made of afterwards: the rush itself only takes notes.
        self._answered_ns = [0] * len(plan.crowd)
        self._outcomes: defaultdict[str, list[int]] = defaultdict(list)
        self._broken: defaultdict[str, list[int]] = defaultdict(list)
        self._first_sendings: list[tuple[int, int, int]] = []
        self._losses: Counter[int] = Counter()
        self._next_task = 0
        self._again: list[tuple[int, int]] = []
        self._idle: deque[GrabConnection] = deque()
        self._open: set[GrabConnection] = set()
        self._lines: list[bytes] = []
        self._receipt_no = 0
        self._start_ns = 0
        self._running = False
        self._tick_queued = False
        self._timer: asyncio.TimerHandle | None = None
        self._verdicts: dict[bytes, _Verdict] = {}
        self._reconnects: set[asyncio.Task[None]] = set()
        self._connect_gate = asyncio.Semaphore(CONNECT_AT_ONCE)
        self._connected = asyncio.Event()
        self._over = asyncio.Event()
        self._stop_reason = "deadline"
        self._broken_by: OSError | None = None

    def progress(self) -> dict[str, int]:
        """What a live line shows."""
        return {
            "answered": len(self._members) - self._unanswered,
            "won": len(self._outcomes.get(Meaning.WON, ())),
            "retries": self._tally.retries.total(),
            "errors": sum(len(tasks) for tasks in self._broken.values()),
            "connections": len(self._open),
        }

    # -- connections ---------------------------------------------------------------------------------------------

    async def connect(self, patience_s: float) -> int:
        """Open the connections, a bounded number at once.

        Returns:
            How many are open when all are, or when patience ends; the others are tried again during the rush.
        """
        for _ in range(self._plan.connections):
            self._reconnect(0.0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await self._connected.wait()
        return len(self._open)

    def _reconnect(self, pause_s: float) -> None:
        task = asyncio.get_running_loop().create_task(self._open_one(pause_s))
        self._reconnects.add(task)
        task.add_done_callback(self._reconnects.discard)

    async def _open_one(self, pause_s: float) -> None:
        loop = asyncio.get_running_loop()
        while not self._over.is_set():
            if pause_s:
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))
            try:
                async with self._connect_gate, asyncio.timeout(CONNECT_TIMEOUT_S):
                    _, connection = await loop.create_connection(lambda: GrabConnection(self), self._plan.host, self._plan.port)
            except OSError:  # TimeoutError is one
                pause_s = min(LOSS_PAUSE_MAX_S, max(LOSS_PAUSE_S, pause_s * 2))
                continue
            if not connection.closed:  # else on_gone has seen to it
                self._open.add(connection)
                self._idle.append(connection)
                if len(self._open) == self._plan.connections:
                    self._connected.set()
                self._wake()
            return

    # -- the rush ------------------------------------------------------------------------------------------------

    async def run(self, start_ns: int, on_progress: Callable[[], None] | None = None) -> Tally:
        """Send everybody's tap and wait for all answers, the deadline, or `stop`.

        Args:
            start_ns: the opening, on the monotonic clock; the taps' offsets count from there.
            on_progress: called every few ticks of the sweep, about four times a second.

        Raises:
            OSError: the receipts could not be written; nothing was sent without one.
        """
        self._start_ns = start_ns
        self._tally.connections = len(self._open)
        self._running = True
        cpu_before, began_ns = time.process_time(), time.monotonic_ns()
        sweeper = asyncio.get_running_loop().create_task(self._sweep(on_progress))
        self._wake()
        try:
            await self._over.wait()
        except asyncio.CancelledError:
            self.stop("interrupted")
        finally:
            self._running = False
            sweeper.cancel()
        self._finish()
        self._tally.cpu_s = time.process_time() - cpu_before
        self._tally.wall_s = (time.monotonic_ns() - began_ns) / 1e9
        await asyncio.sleep(0)
        if self._broken_by is not None:
            raise self._broken_by
        self._count()
        return self._tally

    def stop(self, reason: str) -> None:
        """End the rush; whoever has no final answer becomes an error of that reason."""
        if not self._over.is_set():
            self._stop_reason = reason
            self._over.set()

    def _finish(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for task in list(self._reconnects):
            task.cancel()
        for connection in list(self._open):
            if connection.task != IDLE:
                connection.abort("given-up")
            else:
                connection.close()
        try:
            self._flush()
        except OSError as error:
            self._broken_by = self._broken_by or error

    def _count(self) -> None:
        """Make the tally of the notes."""
        tally, offsets, start_ns = self._tally, self._plan.offsets_ns, self._start_ns
        for first, end, at_ns in self._first_sendings:
            tally.send_delay_us.extend((at_ns - start_ns - offsets[task]) // 1000 for task in range(first, end))
        for name, tasks in self._outcomes.items():
            after_us = [(self._answered_ns[task] - start_ns) // 1000 for task in tasks]
            tally.latency_us[name] = [at - offsets[task] // 1000 for at, task in zip(after_us, tasks, strict=True)]
            buckets = Counter(map(bucket_of, after_us))
            tally.answers += buckets
            if not after_us:
                continue
            tally.last_final_us = max(after_us) if tally.last_final_us is None else max(tally.last_final_us, *after_us)
            if name == Meaning.WON:
                tally.grants = buckets
                tally.last_win_us = max(after_us)
            elif name == SOLD_OUT:
                tally.first_sold_out_us = min(after_us)
        for name, tasks in self._broken.items():
            tally.answers += Counter(self._bucket(self._answered_ns[task]) for task in tasks)
            tally.errors[name] += len(tasks)
        if self._unanswered:
            tally.errors[self._stop_reason] += self._unanswered

    async def _sweep(self, on_progress: Callable[[], None] | None) -> None:
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
            for connection in list(self._open):
                if connection.task != IDLE and connection.sent_at_ns < late_ns:
                    connection.abort("answer-timeout")
            turn += 1
            if on_progress is not None and turn % 5 == 0:
                on_progress()

    def _wake(self) -> None:
        if self._running and not self._tick_queued:
            self._tick_queued = True
            asyncio.get_running_loop().call_soon(self._tick)

    def _tick(self) -> None:
        """Send what is due, as far as connections are free; receipts first."""
        self._tick_queued = False
        if not self._running:
            return
        now_ns = time.monotonic_ns()
        batch, next_ns = self._take_due(now_ns)
        try:
            self._flush()
        except OSError as error:
            self._broken_by = error
            self.stop("receipts-not-written")
            return
        requests = self._plan.requests
        for connection, task, receipt_no in batch:
            connection.send(requests[task], task, receipt_no, now_ns)
        if batch:
            self._tally.sent[self._bucket(now_ns)] += len(batch)
        if len(batch) == BURST_MAX:
            self._wake()
        elif next_ns is not None and self._idle:
            self._sleep_until(next_ns, now_ns)

    def _take_due(self, now_ns: int) -> tuple[list[tuple[GrabConnection, int, int]], int | None]:
        """Match due taps with idle connections and write their lines.

        Returns:
            Who carries what under which number; and when the next tap is due, None if none is waiting.
        """
        idle, again, offsets, members, lines = self._idle, self._again, self._plan.offsets_ns, self._members, self._lines
        start_ns, first, fresh_end, receipt_no = self._start_ns, self._next_task, len(self._members), self._receipt_no
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
                lines.append(b"S\t%d\t%b\t%d\t%b" % (receipt_no, members[task], self._losses[task] + 1, at_us))
            else:
                task = fresh
                fresh += 1
                lines.append(b"S\t%d\t%b\t1\t%b" % (receipt_no, members[task], at_us))
            batch.append((connection, task, receipt_no))
        if fresh > first:
            self._first_sendings.append((first, fresh, now_ns))
        self._next_task = fresh
        self._receipt_no = receipt_no
        return batch, next_ns

    def _sleep_until(self, due_ns: int, now_ns: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        wait_s = max(TICK_S, (due_ns - now_ns) / 1e9)
        self._timer = asyncio.get_running_loop().call_later(wait_s, self._wake)

    def _flush(self) -> None:
        if self._lines:
            lines, self._lines = self._lines, []
            self._book.append(lines)

    # -- what connections tell -----------------------------------------------------------------------------------

    def on_answer(self, connection: GrabConnection, answer: Answer) -> None:
        """Take an answer: receipt, outcome, and the connection back."""
        now_ns = time.monotonic_ns()
        task = connection.task
        connection.task = IDLE
        if answer.closes:
            connection.close()
        else:
            self._idle.append(connection)
        verdict = self._verdicts.get(answer.body)
        if verdict is None or verdict.status != answer.status:
            verdict = self._judge(answer)
        at_us = (now_ns + self._plan.anchor_ns) // 1000
        self._lines.append(b"A\t%d\t%d%b" % (connection.receipt_no, at_us, verdict.line_end))
        if verdict.tasks is None:
            self._tally.answers[self._bucket(now_ns)] += 1
            self._retry(task, now_ns + self._pause_ns(answer, verdict.problem), verdict.name)
        else:
            verdict.tasks.append(task)
            self._answered_ns[task] = now_ns
            self._unanswered -= 1
            if self._unanswered == 0:
                self._over.set()
        if not self._tick_queued:
            self._wake()

    def on_loss(self, connection: GrabConnection, reason: str) -> None:
        """Note that a request has no answer, and repeat it: if a claim was made, the repeat returns it."""
        now_ns = time.monotonic_ns()
        at_us = (now_ns + self._plan.anchor_ns) // 1000
        self._lines.append(b"L\t%d\t%d\t%b\n" % (connection.receipt_no, at_us, reason.encode("ascii")))
        if self._running:
            pause_s = min(LOSS_PAUSE_MAX_S, LOSS_PAUSE_S * 2 ** min(10, self._losses[connection.task]))
            self._retry(connection.task, now_ns + int(pause_s * random.uniform(1.0, 2.0) * 1e9), reason)

    def on_gone(self, connection: GrabConnection) -> None:
        """Replace a connection that is gone."""
        self._open.discard(connection)
        if not self._over.is_set():
            # A server that accepts and drops at once is not hammered.
            self._reconnect(LOSS_PAUSE_S if connection.useful else LOSS_PAUSE_MAX_S)

    def _retry(self, task: int, due_ns: int, reason: str) -> None:
        self._losses[task] += 1
        self._tally.retries[reason] += 1
        heapq.heappush(self._again, (due_ns, task))
        self._wake()

    def _judge(self, answer: Answer) -> _Verdict:
        """Read an answer not seen before, and remember what it means if others may hear the same."""
        status = answer.status
        if 200 <= status < 300:
            meaning = meaning_of(status, "")
            heard_by = self._broken[str(status)] if meaning is Meaning.BROKEN else self._outcomes[meaning.value]
            return _Verdict(status, str(status), b"\t%d\t\t%b\n" % (status, one_line(answer.body)), heard_by, None)
        problem = read_problem(answer.body)
        name = str(status) if problem.code == UNREADABLE else problem.code
        tasks: list[int] | None = None
        meaning = meaning_of(status, problem.code)
        if meaning is Meaning.REFUSED:
            self._tally.refusals.add(name)
            tasks = self._outcomes[name]
        elif meaning is Meaning.BROKEN:
            tasks = self._broken[f"{status} {problem.code}"]
        line_end = b"\t%d\t%b\t\n" % (status, problem.code.encode("ascii"))
        verdict = _Verdict(status, name, line_end, tasks, problem)
        if len(self._verdicts) >= _VERDICTS_MAX:
            self._verdicts.clear()
        self._verdicts[answer.body] = verdict
        return verdict

    def _bucket(self, at_ns: int) -> int:
        return bucket_of((at_ns - self._start_ns) // 1000)

    def _pause_ns(self, answer: Answer, problem: Problem | None) -> int:
        """How long to wait before the same request again."""
        if problem is not None and problem.opens_in_ms is not None:
            return max(1, problem.opens_in_ms) * 1_000_000
        try:
            asked_s = float(header(answer.head, b"retry-after") or b"")
        except ValueError:
            asked_s = RETRY_AFTER_DEFAULT_S
        pause_s = min(RETRY_AFTER_MAX_S, max(LOSS_PAUSE_S, asked_s))
        return int(pause_s * random.uniform(1.0, 1.5) * 1e9)
