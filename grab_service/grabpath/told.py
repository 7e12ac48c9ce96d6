"""The claims that members may have been told of and that are not on record yet, as one worker knows them.

It sees them in the log and in its own replies. When the cell begins another life, those of the life that is over may be lost,
and only its witnesses can say whose they were.
"""

from collections import OrderedDict
from typing import Final, NamedTuple

from grab_service.vocabulary.durability import Recorded

LIVES_MAX: Final = 8
"""Lives that are over and not written down yet, for want of Postgres."""


class ToldClaim(NamedTuple):
    """A claim by its place in the log."""

    seq: int
    campaign_id: str
    member_id: str


class Told:
    """Keeps the newest `claims_max` claims above the record."""

    def __init__(self, claims_max: int) -> None:
        self.outlived: list[tuple[int, list[ToldClaim]]] = []
        """(epoch, claims): of lives that are over; taken by who writes them down."""

        self._claims_max = claims_max
        self._epoch = 0
        self._claims: OrderedDict[int, ToldClaim] = OrderedDict()

    def note(self, epoch: int, claim: ToldClaim) -> None:
        """Keep a claim; again is no harm."""
        self.begin(epoch)
        if epoch == self._epoch:
            self._claims[claim.seq] = claim
            if len(self._claims) > self._claims_max:
                self._claims.popitem(last=False)

    def begin(self, epoch: int) -> None:
        """The cell is of that epoch, or of a newer one: what is known of an earlier one is of a life that is over."""
        if epoch > self._epoch:
            if self._claims and len(self.outlived) < LIVES_MAX:
                self.outlived.append((self._epoch, [*self._claims.values()]))
            self._epoch, self._claims = epoch, OrderedDict()

    def forget(self, recorded: Recorded) -> None:
        """Forget what is on record."""
        while self._claims and recorded.has(self._epoch, next(iter(self._claims))):
            self._claims.popitem(last=False)
