"""The meaning of each answer and the taps that got it: noted during the rush, counted after it."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from loadtest.contract import SOLD_OUT, Meaning, read_answer
from loadtest.generator.http_parse import Answer
from loadtest.generator.tally import Tally, bucket_of
from loadtest.receipts import one_line

# Problem bodies repeat; remembering some saves reading them again.
_KNOWN_MAX = 512


@dataclass(frozen=True, slots=True)
class Note:
    """The meaning of an answer for the taps of the crowd.

    Attributes:
        status: of the answer.
        name: of the outcome, or of the reason to ask again.
        line_end: of its receipt.
        tasks: where taps are gathered that got it as their final answer; None if it is not final.
        opens_in_ms: how long until the opening, where the answer says so.
    """

    status: int
    name: str
    line_end: bytes
    tasks: list[int] | None
    opens_in_ms: int | None


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
        self._known: dict[bytes, Note] = {}

    @property
    def won(self) -> int:
        """Number of winners so far."""
        return len(self._outcomes.get(Meaning.WON, ()))

    @property
    def broken(self) -> int:
        """Number of members with an answer that the contract does not know."""
        return sum(len(tasks) for tasks in self._broken.values())

    def note(self, answer: Answer) -> Note:
        """Say what an answer means; the bytes of problems that came before are not read again."""
        note = self._known.get(answer.body)
        if note is not None and note.status == answer.status:
            return note
        reading = read_answer(answer.status, answer.body)
        tasks: list[int] | None = None
        if reading.meaning is Meaning.BROKEN:
            tasks = self._broken[f"{answer.status} {reading.code}".rstrip()]
        elif reading.meaning is not Meaning.AGAIN:
            tasks = self._outcomes[reading.name]
        kept = b"" if reading.code else one_line(answer.body)
        line_end = b"\t%d\t%b\t%b\n" % (answer.status, reading.code.encode("ascii"), kept)
        note = Note(answer.status, reading.name, line_end, tasks, reading.opens_in_ms)
        if reading.code:
            if reading.meaning is Meaning.REFUSED:
                self._refusals.add(reading.code)
            if len(self._known) >= _KNOWN_MAX:
                self._known.clear()
            self._known[answer.body] = note
        return note

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
