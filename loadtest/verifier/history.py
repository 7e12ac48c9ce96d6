"""The history of a rush: every request with its answer, and the order of decisions by the log.

A history is all that the two checkers need: `loadtest.verifier.witness` takes the order of the log for granted and looks
whether every answer is true in it; `tests.harness.linearizable` looks for any order at all, and so checks the checker.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from loadtest.contract import SOLD_OUT, Meaning, meaning_of
from loadtest.receipts import Attempt
from loadtest.verifier.evidence import Evidence, read_told

Caller = tuple[str, str | None]
"""The key of one and the same answer: the member, and where the limit is above one, with their key."""

NOTHING_DECIDED = frozenset({"overloaded", "paused-for-recovery", "rate-limited", "not-open-yet"})
"""Answers that say for certain that nothing became of the request; other answers that ask to repeat it do not."""

VIEW_AGE_MAX_US = 50_000
"""Greatest age of the truth behind a "sold out" when the request comes: it may count as asked so much earlier."""


class RequestKind(StrEnum):
    """The request of an operation."""

    GRAB = "grab"
    RETURN = "return"


class AnswerKind(StrEnum):
    """The answer to an operation; `MAYBE`: no answer, or one that does not say whether it was done."""

    WON = "won"
    HELD = "held"
    SOLD_OUT = "sold-out"
    RETURNED = "returned"
    MAYBE = "maybe"


@dataclass(frozen=True, slots=True)
class Operation:
    """One request and its answer.

    Attributes:
        caller: whose it is.
        asks: for what.
        sent_us: not before this moment; all times are of one clock.
        answered_us: not after this moment; without meaning if nobody knows what was done.
        heard: the answer.
        claim_id: which claim was won, is held, or is to be given back.
        unit_no: of that claim, where it was won or is held.
    """

    caller: Caller
    asks: RequestKind
    sent_us: int
    answered_us: int
    heard: AnswerKind
    claim_id: str = ""
    unit_no: int = 0

    @property
    def true_from_us(self) -> int:
        """Since when the answer may have been true."""
        return self.sent_us - VIEW_AGE_MAX_US if self.heard is AnswerKind.SOLD_OUT else self.sent_us


@dataclass(frozen=True, slots=True)
class Decision:
    """An entry of the log: at `seq` a claim was granted, or its unit came back.

    Attributes:
        seq: the place in the order of all decisions.
        caller: whose claim it is.
        claim_id: of the claim.
        unit_no: of the claim.
        frees: whether the unit comes back here.
        lapsed: of a grant: it was given up since, and it is not known when.
        released: units that were certainly there by then; None: all of the stock.
    """

    seq: int
    caller: Caller
    claim_id: str
    unit_no: int
    frees: bool = False
    lapsed: bool = False
    released: int | None = None


@dataclass(frozen=True, slots=True)
class History:
    """All operations on one campaign, and all decisions about it.

    Attributes:
        operations: in any order.
        decisions: in any order.
        stock: the units there are.
        others: where `is_whole`, the seqs at which something else was decided.
        is_whole: whether every seq between the first and the last is either of a decision or among `others`.
    """

    operations: tuple[Operation, ...]
    decisions: tuple[Decision, ...]
    stock: int
    others: frozenset[int] = frozenset()
    is_whole: bool = False


def history_of(evidence: Evidence) -> History:
    """The history that receipts and ledger tell; the ledger's claims do not say when a unit came back.

    Within a run all processes share a clock; of several runs only the bounds of the server's clock can be compared.
    """
    one_run = len({attempt.source.facts.get("run") for attempt in evidence.attempts}) == 1
    return History(
        operations=tuple(operations_of(evidence, evidence.attempts, by_server=not one_run)),
        decisions=tuple(
            Decision(
                seq=claim.seq,
                caller=(claim.member_id, None if evidence.facts.limit_per_member == 1 else claim.idempotency_key),
                claim_id=claim.claim_id,
                unit_no=claim.unit_no,
                lapsed=not claim.held,
                released=evidence.released_at_least(max(claim.granted_at_ms, evidence.facts.opens_at_ms)),
            )
            for claim in evidence.truth
        ),
        stock=max(evidence.facts.total, evidence.facts.planned),
    )


def operations_of(evidence: Evidence, attempts: Iterable[Attempt], *, by_server: bool) -> Iterable[Operation]:
    """The operations of the receipts, without those that had certainly no effect and tell nothing of the stock.

    Args:
        evidence: says who is owed one and the same answer.
        attempts: those to read.
        by_server: whether to give times by the bounds of the server's clock.
    """
    for attempt in attempts:
        heard, claim_id, unit_no = _heard(attempt)
        if heard is None:
            continue
        sent_us, answered_us = attempt.sent_at_us, attempt.answered_at_us
        if by_server:
            sent_us = attempt.source.server_us(sent_us)[0]
            answered_us = attempt.source.server_us(answered_us)[1]
        yield Operation(evidence.caller(attempt), RequestKind.GRAB, sent_us, answered_us, heard, claim_id, unit_no)


def _heard(attempt: Attempt) -> tuple[AnswerKind | None, str, int]:
    """(what it says, claim, unit); None for what certainly had no effect."""
    if not attempt.status:
        return AnswerKind.MAYBE, "", 0
    meaning = meaning_of(attempt.status, attempt.code)
    if meaning in {Meaning.WON, Meaning.HELD}:
        told = read_told(attempt)
        if told is None:
            return AnswerKind.MAYBE, "", 0
        return (AnswerKind.WON if meaning is Meaning.WON else AnswerKind.HELD), told.claim_id, told.unit_no
    if attempt.code == SOLD_OUT:
        return AnswerKind.SOLD_OUT, "", 0
    if meaning is Meaning.REFUSED or attempt.code in NOTHING_DECIDED:
        return None, "", 0
    return AnswerKind.MAYBE, "", 0
