"""The evidence about a campaign's rush, from the clients' side and from the server's."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson

from loadtest.contract import Meaning, meaning_of
from loadtest.receipts import Attempt, ReceiptsError, find_receipts, read_receipts
from loadtest.service import CampaignFacts
from loadtest.verifier.truth import TruthClaim

COUNTEREXAMPLES_MAX = 5


@dataclass(frozen=True, slots=True)
class ClaimSeen:
    """A claim as a client was told of it.

    Attributes:
        attempt: the request and its answer.
        claim_id: as answered, like the rest.
        campaign_id: of the campaign.
        member_id: whose claim it is said to be.
        unit_no: from 1.
        seq: its place in the order of all decisions.
        granted_at_ms: the deciding clock's.
        code: of the voucher, None while there is none.
    """

    attempt: Attempt
    claim_id: str
    campaign_id: str
    member_id: str
    unit_no: int
    seq: int
    granted_at_ms: int
    code: str | None

    @property
    def lasting(self) -> tuple[object, ...]:
        """The constant part of a claim."""
        return (self.claim_id, self.campaign_id, self.member_id, self.unit_no, self.seq, self.granted_at_ms)


@dataclass(slots=True)
class RunFinding:
    """The result of one check.

    Attributes:
        checked: how many things were looked at; 0 means that it did not apply, and then it says nothing.
        found: how many of them break the invariant.
        counterexamples: the first of those.
    """

    checked: int = 0
    found: int = 0
    counterexamples: list[dict[str, Any]] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether nothing was found."""
        return self.found == 0

    def breach(self, what: str, **details: object) -> None:
        """Note something that must not be."""
        self.found += 1
        if len(self.counterexamples) < COUNTEREXAMPLES_MAX:
            self.counterexamples.append({"what": what, **details})


@dataclass(frozen=True)
class Evidence:
    """Both sides of a rush.

    Attributes:
        facts: what the campaign promises.
        truth: the ledger's claims, drained.
        attempts: every request that may have been sent.
        clock_slack_us: how far the clock that decides and the clock that answers `/v1/time` may be apart.
    """

    facts: CampaignFacts
    truth: tuple[TruthClaim, ...]
    attempts: tuple[Attempt, ...]
    clock_slack_us: int = 5_000

    @cached_property
    def told(self) -> tuple[ClaimSeen, ...]:
        """All claims that clients were told of and that can be read."""
        return tuple(told for attempt in self._claim_answers if (told := read_told(attempt)) is not None)

    @cached_property
    def unreadable(self) -> tuple[Attempt, ...]:
        """Answers of 200 and 201 with no claim in them."""
        return tuple(attempt for attempt in self._claim_answers if read_told(attempt) is None)

    @cached_property
    def truth_by_id(self) -> dict[str, TruthClaim]:
        """The ledger's claims by id; of two with the same id, the last."""
        return {claim.claim_id: claim for claim in self.truth}

    @cached_property
    def _claim_answers(self) -> tuple[Attempt, ...]:
        return tuple(a for a in self.attempts if meaning_of(a.status, a.code) in {Meaning.WON, Meaning.HELD})

    def freed(self, claim_id: str) -> bool:
        """Whether the ledger says that the claim was given up since."""
        claim = self.truth_by_id.get(claim_id)
        return claim is not None and not claim.held

    def caller(self, attempt: Attempt) -> tuple[str, str | None]:
        """The key of one and the same answer: the member, and where the limit is above one, with their key."""
        return (attempt.member, None if self.facts.limit_per_member == 1 else attempt.key)

    def released_at_least(self, at_ms: float) -> int:
        """Number of units certainly released by then, whenever the stock was changed."""
        return min(self.facts.total, self._planned_by(at_ms))

    def released_at_most(self, at_ms: float) -> int:
        """Number of units possibly released by then, whenever the stock was changed."""
        return self._planned_by(at_ms) + max(0, self.facts.total - self.facts.planned)

    def _planned_by(self, at_ms: float) -> int:
        return sum(release.quantity for release in self.facts.releases if release.opens_at_ms <= at_ms)


def gather(places: Iterable[Path], truth: Iterable[TruthClaim], facts: CampaignFacts, clock_slack_us: int = 5_000) -> Evidence:
    """Read the receipts of the campaign; those of other campaigns in the same place are left aside.

    Raises:
        ReceiptsError: there is no request in them, or one cannot be read.
    """
    files = [read_receipts(path) for path in find_receipts(places)]
    attempts = [
        attempt
        for receipts in files
        if receipts.facts.get("campaign") == facts.campaign_id
        for attempt in receipts.attempts.values()
    ]
    if not attempts:
        raise ReceiptsError(f"the receipts hold no request to campaign {facts.campaign_id}")
    return Evidence(facts, tuple(truth), tuple(attempts), clock_slack_us)


def read_told(attempt: Attempt) -> ClaimSeen | None:
    """Read the claim in an answer; None if there is none."""
    try:
        claim = orjson.loads(attempt.body)
        voucher = claim["voucher"]
        code = None if voucher is None else voucher["code"]
        told = ClaimSeen(
            attempt=attempt,
            claim_id=claim["claim_id"],
            campaign_id=claim["campaign_id"],
            member_id=claim["member_id"],
            unit_no=claim["unit_no"],
            seq=claim["seq"],
            granted_at_ms=claim["granted_at_ms"],
            code=code,
        )
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    texts = (told.claim_id, told.campaign_id, told.member_id)
    numbers = (told.unit_no, told.seq, told.granted_at_ms)
    readable = all(isinstance(text, str) for text in texts) and all(type(number) is int for number in numbers)
    return told if readable and (code is None or isinstance(code, str)) else None


def surely_before(earlier: Attempt, later: Attempt) -> bool:
    """Whether the one was certainly answered before the other was sent.

    Within a run all processes share a clock; between runs only the bounds of the server's clock can be compared.
    """
    if not earlier.answered_at_us:
        return False
    if earlier.source.facts.get("run") == later.source.facts.get("run"):
        return earlier.answered_at_us < later.sent_at_us
    return earlier.source.server_us(earlier.answered_at_us)[1] < later.source.server_us(later.sent_at_us)[0]


def describe(attempt: Attempt) -> dict[str, Any]:
    """A request and its answer, as a counterexample shows it."""
    return {
        "member": attempt.member,
        "attempt": attempt.attempt,
        "sent_at_us": attempt.sent_at_us,
        "answered_at_us": attempt.answered_at_us,
        "status": attempt.status,
        "code": attempt.code,
        "receipts": attempt.source.path.name,
    }
