"""The verdict after the faults: every acknowledged claim is on record once, and the stock is exact."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from loadtest.receipts import Attempt
from loadtest.service import CampaignFacts
from loadtest.verifier.checks import verify
from loadtest.verifier.evidence import ClaimSeen, Evidence, gather
from loadtest.verifier.truth import TruthClaim

_OVERSELL = ("I1 NoOversell", "I5 UniqueUnit")


@dataclass(slots=True)
class SeriesVerdict:
    """The verdict on one or more campaigns.

    Attributes:
        acknowledged: claims that a client was told of.
        lost: of those, not in Postgres, or not the same there.
        oversold: units granted beyond the stock or twice, among the claims in Postgres and those not lost.
        undersold: units left over although more members than units had asked to the end.
        broken: every other invariant that does not hold, in words.
        repeats: answers with a claim beyond the first one.
        requests: requests sent.
    """

    acknowledged: int = 0
    lost: int = 0
    oversold: int = 0
    undersold: int = 0
    broken: list[str] = field(default_factory=list)
    repeats: int = 0
    requests: int = 0

    def add(self, other: Self) -> None:
        """Add what came of another campaign."""
        self.acknowledged += other.acknowledged
        self.lost += other.lost
        self.oversold += other.oversold
        self.undersold += other.undersold
        self.broken += other.broken
        self.repeats += other.repeats
        self.requests += other.requests


def judge(receipts: Path, facts: CampaignFacts, truth: list[TruthClaim], audit: dict[str, Any], asked: int) -> SeriesVerdict:
    """Compare the receipts of one campaign with what Postgres holds; `asked` members have had a final answer."""
    evidence = gather([receipts], truth, facts)
    lost = {told.claim_id: told for told in evidence.told if not _kept(told, evidence.truth_by_id)}
    forgotten = {id(told.attempt) for told in evidence.told if not _kept(told, evidence.truth_by_id)}
    # A lost claim is counted as lost, and its unit belongs to somebody else by now.
    sound = Evidence(facts, tuple(truth), tuple(_but(evidence.attempts, forgotten)), evidence.clock_slack_us)
    findings = verify(sound)
    held = sum(claim.held for claim in truth)
    # Members who were told of a claim that is lost did not ask again, so nobody can have its unit.
    contented = {told.member_id for told in lost.values()} - {claim.member_id for claim in truth}
    verdict = SeriesVerdict(
        acknowledged=len({told.claim_id for told in evidence.told} | lost.keys()),
        lost=len({(told.claim_id, told.member_id) for told in evidence.told if id(told.attempt) in forgotten}),
        oversold=max(0, held - facts.total) + sum(findings[name].found for name in _OVERSELL),
        undersold=max(0, min(facts.total, asked - len(contented)) - len(truth)),
        repeats=len(evidence.told) - len({told.claim_id for told in evidence.told}),
        requests=len(evidence.attempts),
    )
    verdict.broken += [
        f"{name}: {finding.found}, such as {finding.counterexamples[0]}"
        for name, finding in findings.items()
        if not finding.holds and name not in {*_OVERSELL, "I2 NoUndersell"}
    ]
    verdict.broken += [
        f"audit: {name}: {check.get('detail')}" for name, check in audit["invariants"].items() if not check["holds"]
    ]
    if not audit["redis_equals_postgres"]:
        verdict.broken.append("audit: Redis does not equal Postgres")
    return verdict


def _kept(told: ClaimSeen, truth: dict[str, TruthClaim]) -> bool:
    claim = truth.get(told.claim_id)
    return claim is not None and (claim.member_id, claim.unit_no, claim.seq, claim.granted_at_ms, claim.code) == (
        told.member_id,
        told.unit_no,
        told.seq,
        told.granted_at_ms,
        told.code or "",
    )


def _but(attempts: tuple[Attempt, ...], forgotten: set[int]) -> list[Attempt]:
    return [attempt for attempt in attempts if id(attempt) not in forgotten]
