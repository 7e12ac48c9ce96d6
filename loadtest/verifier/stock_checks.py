"""Checks of the stock: not one unit too many, not one too few, no unit twice, and only in the window."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

from loadtest.contract import SOLD_OUT
from loadtest.verifier.evidence import ClaimSeen, Evidence, RunFinding
from loadtest.verifier.truth import TruthClaim

Granted = TruthClaim | ClaimSeen


def no_oversell(evidence: Evidence) -> RunFinding:
    """I1: never more active claims than units released, by the receipts alone and by the ledger alone.

    A claim that is active now was active ever since it was granted. So at each later release, those granted before it
    may be no more than what was released before it.
    """
    finding = RunFinding()
    held = [claim for claim in evidence.truth if claim.held]
    told = {told.claim_id: told for told in evidence.told if not evidence.freed(told.claim_id)}
    _check_steps(finding, evidence, "ledger", held)
    _check_steps(finding, evidence, "receipts", told.values())
    return finding


def no_undersell(evidence: Evidence) -> RunFinding:
    """I2: if at least as many members as there are units asked to the end, the whole stock was granted.

    These count: members who hold or held a claim, and members told sold-out on a request sent after the last opening that
    any request saw. Those refused for reasons of their own are no demand. Where there are fewer, nothing is checked.
    """
    finding = RunFinding()
    asked = [(attempt, attempt.source.server_us(attempt.sent_at_us)[0] / 1000) for attempt in evidence.attempts]
    last_ms = max((sent_ms for _, sent_ms in asked), default=0.0)
    openings = [release.opens_at_ms for release in evidence.facts.releases if release.opens_at_ms <= last_ms]
    if not openings:
        return finding
    stock = evidence.released_at_least(last_ms)
    turned_away = {a.member for a, sent_ms in asked if a.code == SOLD_OUT and sent_ms >= max(openings)}
    demand = len(turned_away | {claim.member_id for claim in evidence.truth})
    if demand < stock:
        return finding
    finding.checked = demand
    granted = len(evidence.truth_by_id)
    if granted < stock:
        finding.breach("units were left while members were turned away", stock=stock, granted=granted, demand=demand)
    return finding


def unique_unit(evidence: Evidence) -> RunFinding:
    """I5: no unit in two active claims, no code in two claims ever, in the ledger and in the receipts."""
    finding = RunFinding(checked=len(evidence.truth) + len(evidence.told))
    seen: set[str] = set()
    for claim in evidence.truth:
        if claim.claim_id in seen:
            finding.breach("a claim stands twice in the ledger", claim_id=claim.claim_id)
        seen.add(claim.claim_id)
    last_unit = max(evidence.facts.total, evidence.facts.planned)
    for granted in chain[Granted](evidence.truth, evidence.told):
        if not 1 <= granted.unit_no <= last_unit:
            finding.breach("there is no such unit", claim_id=granted.claim_id, unit_no=granted.unit_no)
    everyone: tuple[tuple[str, Iterable[Granted]], ...] = (("ledger", evidence.truth), ("receipts", evidence.told))
    for side, claims in everyone:
        units: defaultdict[int, set[str]] = defaultdict(set)
        codes: defaultdict[str, set[str]] = defaultdict(set)
        for granted in claims:
            if not evidence.freed(granted.claim_id):
                units[granted.unit_no].add(granted.claim_id)
            if granted.code:
                codes[granted.code].add(granted.claim_id)
        _check_alone(finding, f"a unit in two active claims, by the {side}", "unit_no", units)
        _check_alone(finding, f"a code in two claims, by the {side}", "code", codes)
    return finding


def window_only(evidence: Evidence) -> RunFinding:
    """I8: nothing is granted before the first opening, nor from the closing on, by the clock that decides."""
    finding = RunFinding(checked=len(evidence.truth) + len(evidence.told))
    opens_at_ms, closes_at_ms = evidence.facts.opens_at_ms, evidence.facts.closes_at_ms
    made_good = {claim.claim_id for claim in evidence.truth if claim.made_good}
    for claim in chain[Granted](evidence.truth, evidence.told):
        if claim.claim_id not in made_good and not opens_at_ms <= claim.granted_at_ms < closes_at_ms:
            finding.breach(
                "granted outside the window",
                claim_id=claim.claim_id,
                granted_at_ms=claim.granted_at_ms,
                opens_at_ms=opens_at_ms,
                closes_at_ms=closes_at_ms,
            )
    return finding


def _check_steps(finding: RunFinding, evidence: Evidence, side: str, active: Iterable[Granted]) -> None:
    moments = sorted(claim.granted_at_ms for claim in active)
    finding.checked += len(moments)
    if len(moments) > evidence.facts.total:
        finding.breach(f"more active claims than units, by the {side}", active=len(moments), stock=evidence.facts.total)
    for release in evidence.facts.releases[1:]:
        before = sum(moment < release.opens_at_ms for moment in moments)
        released = evidence.released_at_most(release.opens_at_ms - 1)
        if before > released:
            finding.breach(
                f"more active claims than units released so far, by the {side}",
                active=before,
                released=released,
                before_ms=release.opens_at_ms,
            )


def _check_alone(finding: RunFinding, what: str, name: str, holders: Mapping[Any, set[str]]) -> None:
    for thing, claim_ids in holders.items():
        if len(claim_ids) > 1:
            finding.breach(what, **{name: thing, "claim_ids": sorted(claim_ids)})
