"""Durability of a claim: what must have happened before a member is told of it."""

from enum import StrEnum
from typing import Final, NamedTuple, Self

TOLD_MAX: Final = 10_000
"""Claims above the record that a worker keeps in mind, and that the alarm of a loss names: the newest."""


class Durability(StrEnum):
    """Declared by the operator as `GRAB_DURABILITY`."""

    DISK = "disk"
    """Redis has the claim on its disk: appendonly yes, appendfsync always."""

    REPLICAS = "replicas"
    """As DISK, and `GRAB_REPLICAS_MIN` replicas have it."""

    RECORD = "record"
    """PostgreSQL has it: the ledger has committed the claim's place in the log."""


class Recorded(NamedTuple):
    """The log of that life of the cell is on record up to this seq, with this head of the chain there, in hex.

    (0, 0, ""): nothing is known.
    """

    epoch: int = 0
    seq: int = 0
    head: str = ""

    @classmethod
    def parse(cls, text: bytes) -> Self:
        """From the cell's field `recorded`; b"" if it has none.

        Raises:
            ValueError: it is not of that form.
        """
        if not text:
            return cls()
        epoch, seq, *head = text.split(b":")
        return cls(int(epoch), int(seq), b"".join(head).decode())

    def __str__(self) -> str:
        return f"{self.epoch}:{self.seq}:{self.head}"

    def has(self, epoch: int, seq: int) -> bool:
        """Whether this place in the log is on record. Not of another life: what that has lost is nowhere."""
        return epoch == self.epoch and seq <= self.seq
