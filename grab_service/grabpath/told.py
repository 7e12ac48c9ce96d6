"""The claims that members may have been told of and that are not on record yet, as one worker knows them.

It sees them in the log and in its own replies. When the cell begins another life, those of the life that is over may be lost,
and only its witnesses can say whose they were. Entries and replies are kept whole and read only then, so a win costs nothing.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, Protocol

from grab_service.cell.replies import GrabReply
from grab_service.vocabulary.claims import UnknownRecordError, fields_of_record
from grab_service.vocabulary.durability import Recorded
from grab_service.vocabulary.events import Granted

LIVES_MAX: Final = 8
"""Lives that are over and not written down yet, for want of Postgres."""

REPLIES_MAX: Final = 1_000
"""Replies whose entries the worker has not read yet."""

_WON: Final = b"won\t"


class OfMember(Protocol):
    """A grab."""

    member_id: str


class ToldClaim(NamedTuple):
    """A claim by its place in the log."""

    seq: int
    campaign_id: str
    member_id: str


class Told:
    """Keeps the newest `claims_max` claims above the record, or a batch more."""

    def __init__(self, claims_max: int) -> None:
        self.outlived: list[tuple[int, list[ToldClaim]]] = []
        """(epoch, claims): of lives that are over; taken by who writes them down."""

        self._claims_max = claims_max
        self._epoch = 0
        self._claims = 0
        self._entries: deque[Granted] = deque()
        self._replies: deque[tuple[int, str, Sequence[OfMember], list[bytes]]] = deque(maxlen=REPLIES_MAX)
        """(seq, campaign_id, grabs, answers)."""

    def note_entry(self, event: Granted) -> None:
        """Keep an entry of the log."""
        self.begin(event.epoch)
        if event.epoch != self._epoch or not self._claims_max:
            return
        self._entries.append(event)
        self._claims += len(event.rows)
        while self._claims - len(self._entries[0].rows) >= self._claims_max:
            self._claims -= len(self._entries.popleft().rows)

    def note_reply(self, campaign_id: str, grabs: Sequence[OfMember], reply: GrabReply) -> None:
        """Keep a reply to these grabs, until its entry is read."""
        self.begin(reply.epoch)
        if reply.epoch == self._epoch and self._claims_max:
            self._replies.append((reply.seq, campaign_id, grabs, reply.answers))

    def begin(self, epoch: int) -> None:
        """The cell is of that epoch, or of a newer one: what is known of an earlier one is of a life that is over."""
        if epoch > self._epoch:
            claims = {claim.seq: claim for claim in (*self._of_entries(), *self._of_replies())}
            if claims and len(self.outlived) < LIVES_MAX:
                self.outlived.append((self._epoch, [claims[seq] for seq in sorted(claims)][-self._claims_max :]))
            self._epoch, self._claims = epoch, 0
            self._entries.clear()
            self._replies.clear()

    def forget(self, recorded: Recorded, read_seq: int) -> None:
        """Forget entries that are on record, and replies whose entries were read."""
        while self._entries and recorded.has(self._epoch, self._entries[0].last_seq):
            self._claims -= len(self._entries.popleft().rows)
        while self._replies and self._replies[0][0] <= read_seq:
            self._replies.popleft()

    def _of_entries(self) -> Iterator[ToldClaim]:
        for event in self._entries:
            for seq, claim in enumerate(event.claims, start=event.seq):
                yield ToldClaim(seq, event.campaign_id, claim.member_id)

    def _of_replies(self) -> Iterator[ToldClaim]:
        for _, campaign_id, grabs, answers in self._replies:
            for grab, answer in zip(grabs, answers, strict=True):
                if answer.startswith(_WON):
                    try:
                        seq, *_ = fields_of_record(answer[len(_WON) :])
                    except UnknownRecordError:
                        continue
                    yield ToldClaim(int(seq), campaign_id, grab.member_id)
