"""The chain of the log as one worker folds it.

A worker reads the log from somewhere in its midst. It keeps the digests from there on, until the ledger's note in the cell
gives the head at one of these places; from then on it folds by itself, and compares each further note with its own head.
"""

from collections import deque
from typing import Final, NamedTuple

import structlog

from grab_service.vocabulary.chain import fold
from grab_service.vocabulary.durability import Recorded

KEPT_MAX: Final = 10_000
"""The last entries whose digests or heads are kept. If the ledger is further behind, the worker waits for a later note."""

log = structlog.get_logger()


class AsOf(NamedTuple):
    """A place in the log, and the head of the chain there in hex; None if the worker does not know it."""

    seq: int
    head: str | None


class Chain:
    """The chain up to the last entry that was added. `differs` is set once the ledger had another head at a place."""

    def __init__(self) -> None:
        self.as_of = AsOf(0, None)
        """The last place."""

        self.differs = False
        self._epoch = 0
        self._start_seq = 0
        self._head: bytes | None = None
        self._kept: deque[tuple[int, bytes]] = deque()
        """(last_seq, digest) while the head is not known; (last_seq, head) once it is."""

        self._note = Recorded()

    def begin(self, epoch: int, seq: int) -> None:
        """Entries behind `seq` of this life of the cell are added next."""
        self.as_of, self._epoch, self._start_seq, self._head = AsOf(seq, None), epoch, seq, None
        self._kept.clear()

    @property
    def note(self) -> str:
        """The last place with its head, for the audit; "" while the head is not known."""
        seq, head = self.as_of
        return "" if head is None else str(Recorded(self._epoch, seq, head))

    def add(self, last_seq: int, digest: bytes) -> None:
        """Fold in the next entry."""
        if self._head is None:
            self._kept.append((last_seq, digest))
            self.as_of = AsOf(last_seq, None)
        else:
            self._head = fold(self._head, digest)
            self._kept.append((last_seq, self._head))
            self.as_of = AsOf(last_seq, self._head.hex())
        if len(self._kept) > KEPT_MAX:
            self._start_seq, _ = self._kept.popleft()

    def at(self, seq: int) -> AsOf:
        """That place, at which an entry ends; without its head if it is long ago."""
        head = None if self._head is None else self._find(seq)
        return AsOf(seq, None if head is None else head.hex())

    def hear(self, note: Recorded) -> None:
        """Take in the ledger's note, once the entries up to its place are added."""
        if note == self._note or note.epoch != self._epoch or not note.head or note.seq > self.as_of.seq:
            return
        self._note = note
        if self._head is None:
            self._begin_to_fold(note)
            return
        seen = self._find(note.seq)
        if seen is not None and seen.hex() != note.head:
            self.differs = True
            log.error("chain_differs", epoch=note.epoch, seq=note.seq, of_the_ledger=note.head, of_this_worker=seen.hex())

    def _begin_to_fold(self, note: Recorded) -> None:
        if note.seq < self._start_seq:
            return
        head, digests = bytes.fromhex(note.head), self._kept
        self._kept = deque([(note.seq, head)])
        for last_seq, digest in digests:
            if last_seq > note.seq:
                head = fold(head, digest)
                self._kept.append((last_seq, head))
        self._head, self._start_seq = head, note.seq
        self.as_of = AsOf(self.as_of.seq, head.hex())

    def _find(self, seq: int) -> bytes | None:
        for last_seq, kept in reversed(self._kept):
            if last_seq <= seq:
                return kept if last_seq == seq else None
        return None
