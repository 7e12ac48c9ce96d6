"""What did each answer mean, and who got which? Notes taken during the rush, and counted after it."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from loadtest.contract import SOLD_OUT, UNREADABLE, Meaning, Problem, meaning_of, read_problem
from loadtest.generator.http_parse import Answer
from loadtest.generator.tally import Tally, bucket_of
from loadtest.receipts import one_line

# Problem bodies repeat; remembering some saves reading them again.
_READINGS_MAX = 512


@dataclass(frozen=True, slots=True)
class Reading:
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


class Notes:
    """Notes of one process.

    Attributes:
        answered_ns: by tap, when its final answer came, monotonic.
        sendings: first and last tap (exclusive) that were sent for the first time at a moment.
        sent: requests by bucket of the timeline.
        answers: answers that were not final, by bucket.
        retries: by what made them necessary.
    """

    def __init__(self, taps: int) -> None:
        self.answered_ns = [0] * taps
        self.sendings: list[tuple[int, int, int]] = []
        self.sent: Counter[int] = Counter()
        self.answers: Counter[int] = Counter()
        self.retries: Counter[str] = Counter()
        self._outcomes: defaultdict[str, list[int]] = defaultdict(list)
        self._refusals: set[str] = set()
        self._broken: defaultdict[str, list[int]] = defaultdict(list)
        self._readings: dict[bytes, Reading] = {}

    @property
    def won(self) -> int:
        """How many have won so far."""
        return len(self._outcomes.get(Meaning.WON, ()))

    @property
    def broken(self) -> int:
        """How many got an answer the contract does not know."""
        return sum(len(tasks) for tasks in self._broken.values())

    def read(self, answer: Answer) -> Reading:
        """Say what an answer means; the bytes of problems heard before are not read again."""
        reading = self._readings.get(answer.body)
        if reading is not None and reading.status == answer.status:
            return reading
        status = answer.status
        if 200 <= status < 300:
            return self._read_success(status, answer.body)
        problem = read_problem(answer.body)
        meaning = meaning_of(status, problem.code)
        tasks: list[int] | None = None
        if meaning is Meaning.REFUSED:
            self._refusals.add(problem.code)
            tasks = self._outcomes[problem.code]
        elif meaning is Meaning.BROKEN:
            tasks = self._broken[f"{status} {problem.code}"]
        reading = Reading(
            status=status,
            name=str(status) if problem.code == UNREADABLE else problem.code,
            line_end=b"\t%d\t%b\t\n" % (status, problem.code.encode("ascii")),
            tasks=tasks,
            problem=problem,
        )
        if len(self._readings) >= _READINGS_MAX:
            self._readings.clear()
        self._readings[answer.body] = reading
        return reading

    def count(self, offsets_ns: Sequence[int], start_ns: int, unanswered: int, reason: str) -> Tally:
        """Make the tally of the notes.

        Args:
            offsets_ns: by tap, the intended moment after the start.
            start_ns: of the rush, monotonic.
            unanswered: how many taps have no final answer.
            reason: why not.
        """
        tally = Tally(refusals=self._refusals, retries=self.retries, sent=self.sent, answers=self.answers)
        for first, end, at_ns in self.sendings:
            tally.send_delay_us.extend((at_ns - start_ns - offsets_ns[task]) // 1000 for task in range(first, end))
        finals: list[int] = []
        for name, tasks in self._outcomes.items():
            after_us = [(self.answered_ns[task] - start_ns) // 1000 for task in tasks]
            tally.latency_us[name] = [at - offsets_ns[task] // 1000 for at, task in zip(after_us, tasks, strict=True)]
            finals += after_us
            if name == Meaning.WON and after_us:
                tally.grants = Counter(map(bucket_of, after_us))
                tally.last_win_us = max(after_us)
            elif name == SOLD_OUT and after_us:
                tally.first_sold_out_us = min(after_us)
        tally.last_final_us = max(finals, default=None)
        for name, tasks in self._broken.items():
            finals += [(self.answered_ns[task] - start_ns) // 1000 for task in tasks]
            tally.errors[name] += len(tasks)
        tally.answers.update(map(bucket_of, finals))
        if unanswered:
            tally.errors[reason] += unanswered
        return tally

    def _read_success(self, status: int, body: bytes) -> Reading:
        meaning = meaning_of(status, "")
        tasks = self._broken[str(status)] if meaning is Meaning.BROKEN else self._outcomes[meaning.value]
        return Reading(status, meaning.value, b"\t%d\t\t%b\n" % (status, one_line(body)), tasks, None)
