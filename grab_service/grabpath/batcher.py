"""The batcher sends all waiting grabs of a campaign in one script call.

While one batch is on its way, the next one gathers, so batches grow with the load. Every grab has a deadline: a grab that was
not sent by then is answered `overloaded`, and nothing was decided; a grab that was sent and got no reply is answered
`outcome-unknown`.

Grabs that would miss their deadline at the current call latency are refused on arrival, and grabs that waited too long are not
sent. Otherwise, under overload, units would go to clients who have stopped waiting.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final, Protocol

import structlog

from grab_service.cell.replies import GrabReply
from grab_service.cell.store import Cell, CellClosedError, CellSilentError, CellUnreachableError
from grab_service.grabpath.answers import Answer
from grab_service.metrics import GrabMetrics
from grab_service.vocabulary import voucher_codes
from grab_service.vocabulary.outcomes import Undecided

SWEEP_INTERVAL_S: Final = 0.05
CODES_KEPT: Final = 4096
BATCH_WORTH: Final = 16
"""Minimum queue length that justifies a second concurrent call for the same campaign."""

SLOWER_WEIGHT: Final = 0.3
"""Weight of a slower sample in the moving average of call latency; a faster sample replaces the average."""

log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class Grab:
    """One grab on its way; `respond` is called exactly once."""

    campaign_id: str
    member_id: str
    idempotency_key: str
    language: str
    respond: Callable[[Answer], None]
    deadline_s: float = 0.0
    sent: bool = False
    decided: bool = False


class Listener(Protocol):
    """Gets the decisions, and answers the members."""

    def decided(self, campaign_id: str, grabs: Sequence[Grab], reply: GrabReply) -> None:
        """The cell has decided these grabs, in this order."""

    def undecided(self, grab: Grab, why: Undecided) -> None:
        """The cell has not decided, or its decision is unknown."""


class CodeStock:
    """Candidate codes made ahead, so that the rush does not wait for randomness. Unused codes are offered again."""

    def __init__(self) -> None:
        self._codes: deque[str] = deque()

    def take(self, number: int) -> list[str]:
        """That many codes."""
        if len(self._codes) < number:
            self._codes.extend(voucher_codes.generate(CODES_KEPT))
        return [self._codes.popleft() for _ in range(number)]

    def put_back(self, codes: list[str]) -> None:
        """Keep codes that were offered and not used."""
        self._codes.extend(codes[: max(0, CODES_KEPT - len(self._codes))])


class Batcher:
    """The grabs of one worker. At most `batches_in_flight_max` script calls at once.

    A campaign has one call under way, and more only for large batches: a half-empty call costs as much as a full one.
    """

    def __init__(
        self,
        cell: Cell,
        metrics: GrabMetrics,
        listener: Listener,
        *,
        batch_max: int,
        batches_in_flight_max: int,
        waiting_max: int,
        deadline_s: float,
        clock: Callable[[], float],
        on_sold_out: Callable[[], None],
    ) -> None:
        self._cell = cell
        self._metrics = metrics
        self._listener = listener
        self._batch_max = batch_max
        self._batch_worth = min(batch_max, BATCH_WORTH)
        self._batches_in_flight_max = batches_in_flight_max
        self._waiting_max = waiting_max
        self._deadline_s = deadline_s
        self._clock = clock
        self._on_sold_out = on_sold_out
        self._queues: dict[str, deque[Grab]] = {}
        self._busy: dict[str, int] = {}  # campaign -> its calls under way
        self._began_s: dict[str, float] = {}  # campaign -> when the last of them began, or was about to
        self._call_s = 0.0
        self._called_at_s = 0.0
        self._unanswered: deque[Grab] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._batch_ids = count(1)
        self._codes = CodeStock()
        self._queued = 0
        self._was_closed = ""
        self._codes.put_back(voucher_codes.generate(CODES_KEPT))

    @property
    def waiting(self) -> int:
        """Grabs that have not been sent yet."""
        return self._queued

    def submit(self, grab: Grab, now_s: float) -> None:
        """Queue a grab; `respond` is called once, within the deadline, perhaps before this returns."""
        campaign_id = grab.campaign_id
        queue = self._queues.get(campaign_id)
        if self._queued >= self._waiting_max or (
            # A grab of the very next call waits for two calls at most.
            queue
            and (2 * self._call_s > self._deadline_s or len(queue) >= self._batch_max)
            and self._ready_in_s(campaign_id, len(queue), now_s) > self._deadline_s
        ):
            self._listener.undecided(grab, Undecided.OVERLOADED)
            return
        grab.deadline_s = now_s + self._deadline_s
        if not self._unanswered:
            asyncio.get_running_loop().call_later(SWEEP_INTERVAL_S, self._sweep)
        self._unanswered.append(grab)
        if queue is None:
            queue = self._queues[campaign_id] = deque()
        queue.append(grab)
        self._queued += 1
        if campaign_id not in self._busy or len(queue) == self._batch_worth:
            self._start_if_worth(campaign_id, queue)

    async def close(self) -> None:
        """Wait for the calls under way; no new grab is submitted by then."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _ready_in_s(self, campaign_id: str, ahead: int, now_s: float) -> float:
        """Time until the answer to a grab that arrives now, with `ahead` grabs of its campaign before it."""
        began_s = self._began_s.get(campaign_id)
        rest_s = 0.0 if began_s is None else max(0.0, began_s + self._call_s - now_s)
        turns = -(-(ahead // self._batch_max) * len(self._queues) // self._batches_in_flight_max)
        return rest_s + (turns + 1) * self._call_s

    def _start_if_worth(self, campaign_id: str, queue: deque[Grab]) -> None:
        busy = self._busy
        in_flight = sum(busy.values())
        if in_flight >= self._batches_in_flight_max or (campaign_id in busy and len(queue) < self._batch_worth):
            return
        busy[campaign_id] = busy.get(campaign_id, 0) + 1
        now_s = self._began_s[campaign_id] = self._clock()
        if now_s - self._called_at_s > self._deadline_s:
            self._call_s = 0.0  # a latency measured that long ago is no estimate
        task = asyncio.get_running_loop().create_task(self._run(campaign_id, queue))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, campaign_id: str, queue: deque[Grab]) -> None:
        """Send batches of one campaign until none of its grabs waits, or another campaign is due."""
        try:
            while queue:
                batch: list[Grab] = []
                now_s = self._began_s[campaign_id] = self._clock()
                too_late_s = now_s + min(self._call_s, self._deadline_s / 2)
                while queue and len(batch) < self._batch_max:
                    grab = queue.popleft()
                    self._queued -= 1
                    if grab.deadline_s < too_late_s:
                        self._listener.undecided(grab, Undecided.OVERLOADED)
                    elif not grab.decided:
                        batch.append(grab)
                if len(queue) >= self._batch_worth:
                    self._start_if_worth(campaign_id, queue)
                if batch:
                    await self._send(campaign_id, batch)
                if any(other not in self._busy for other in self._queues):
                    break
        finally:
            self._busy[campaign_id] -= 1
            if not self._busy[campaign_id]:
                del self._busy[campaign_id], self._began_s[campaign_id]
            if not queue:
                if self._queues.get(campaign_id) is queue:
                    del self._queues[campaign_id]
            else:  # to the end of the line
                self._queues[campaign_id] = self._queues.pop(campaign_id)
            for other, waiting in list(self._queues.items()):
                if other not in self._busy:
                    self._start_if_worth(other, waiting)

    async def _send(self, campaign_id: str, batch: list[Grab]) -> None:
        batch_id = b"%d" % next(self._batch_ids)
        codes = self._codes.take(len(batch))
        triples: list[str] = []
        for grab, code in zip(batch, codes, strict=True):
            grab.sent = True
            triples += (grab.member_id, grab.idempotency_key, code)
        started_s = self._clock()
        undecided = None
        try:
            reply = await self._cell.grab(campaign_id, batch_id, triples)
        except CellClosedError as error:
            undecided = Undecided.PAUSED_FOR_RECOVERY
            self._note_closed(str(error))
        except CellUnreachableError as error:
            undecided = Undecided.PAUSED_FOR_RECOVERY
            self._note_closed(str(error))
        except CellSilentError as error:
            undecided = Undecided.OUTCOME_UNKNOWN
            self._note_closed(str(error))
        self._called_at_s = self._clock()
        took_s = self._called_at_s - started_s
        self._call_s = min(took_s, self._call_s + SLOWER_WEIGHT * (took_s - self._call_s))
        if undecided is not None:
            for grab in batch:
                self._listener.undecided(grab, undecided)
            return
        if self._was_closed:
            log.info("cell_open", after=self._was_closed)
            self._was_closed = ""
        self._listener.decided(campaign_id, batch, reply)
        self._codes.put_back([code for code, said in zip(codes, reply.answers, strict=True) if not said.startswith(b"won")])
        self._metrics.batch(len(batch), took_s)
        if reply.available < 1:
            # The gate can refuse from now on, once the view contains the last claim.
            self._on_sold_out()

    def _note_closed(self, why: str) -> None:
        if why != self._was_closed:
            log.warning("cell_closed", why=why)
        self._was_closed = why

    def _sweep(self) -> None:
        """Answer the grabs whose deadline has come; deadlines are in the order of arrival."""
        now_s = self._clock()
        unanswered = self._unanswered
        while unanswered and (unanswered[0].decided or unanswered[0].deadline_s <= now_s):
            grab = unanswered.popleft()
            self._listener.undecided(grab, Undecided.OUTCOME_UNKNOWN if grab.sent else Undecided.OVERLOADED)
        if unanswered:
            asyncio.get_running_loop().call_later(SWEEP_INTERVAL_S, self._sweep)
