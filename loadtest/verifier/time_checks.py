"""The check that "sold out" was true when it was said, by the clock that decides.

Only certain lies are called lies: every bound is taken in favour of the service.
"""

from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass

from loadtest.contract import SOLD_OUT
from loadtest.verifier.answer_checks import refused_holders, told_by_caller
from loadtest.verifier.evidence import Evidence, RunFinding, describe
from loadtest.verifier.truth import TruthClaim

# How old the truth of a "sold out" may be when the request comes.
VIEW_MAX_AGE_US = 50_000


def honest_refusal(evidence: Evidence) -> RunFinding:
    """I10: "sold out" only if it was, at most 50 ms before the request, and never to someone who holds a claim."""
    finding = RunFinding()
    possible = _possibly_sold_out(evidence)
    claims = _claims_by_caller(evidence)
    slack_us = evidence.clock_slack_us
    for attempt in evidence.attempts:
        if attempt.code != SOLD_OUT:
            continue
        finding.checked += 1
        sent_us = attempt.source.server_us(attempt.sent_at_us)[0]
        answered_us = attempt.source.server_us(attempt.answered_at_us)[1]
        since_us = sent_us - VIEW_MAX_AGE_US - slack_us
        until_us = answered_us + slack_us
        if not possible.within(since_us, until_us):
            finding.breach("sold out was said while units were certainly left", **describe(attempt))
        for claim in claims.get(evidence.caller(attempt), ()):
            # The stamp is a whole millisecond; the grant may be as late as its end.
            if claim.held and (claim.granted_at_ms + 1) * 1000 < since_us:
                finding.breach("sold out was said to a holder", claim_id=claim.claim_id, **describe(attempt))
    for told, later in refused_holders(evidence, told_by_caller(evidence)):
        if later.code == SOLD_OUT:
            finding.breach("sold out was said to someone told that they hold", claim_id=told.claim_id, **describe(later))
    return finding


@dataclass(frozen=True, slots=True)
class _Stretches:
    """Spans in which something was possible: `starts[i] <= t < ends[i]`, in order, microseconds of the server."""

    starts: list[int]
    ends: list[int]

    def within(self, since_us: int, until_us: int) -> bool:
        """Whether it was possible at some moment of the given stretch, ends included."""
        first = bisect_right(self.ends, since_us)
        return first < bisect_right(self.starts, until_us)


def _possibly_sold_out(evidence: Evidence) -> _Stretches:
    """Work out when the campaign may have been sold out.

    Active claims and offered units together are never more than all grants so far, because an offer comes from a unit
    given back. So while all grants so far are fewer than what was certainly released, units were left.
    """
    opens_us = evidence.facts.opens_at_ms * 1000
    grants_us = sorted(claim.granted_at_ms * 1000 for claim in evidence.truth_by_id.values())
    releases_us = [release.opens_at_ms * 1000 for release in evidence.facts.releases]
    starts: list[int] = []
    ends: list[int] = []
    for moment in sorted({opens_us, *grants_us, *releases_us}):
        granted = bisect_right(grants_us, moment)
        possible = moment >= opens_us and granted >= evidence.released_at_least(moment / 1000)
        if possible and len(starts) == len(ends):
            starts.append(moment)
        elif not possible and len(starts) > len(ends):
            ends.append(moment)
    if len(starts) > len(ends):
        ends.append(2**62)
    return _Stretches(starts, ends)


def _claims_by_caller(evidence: Evidence) -> dict[tuple[str, str | None], list[TruthClaim]]:
    grouped: defaultdict[tuple[str, str | None], list[TruthClaim]] = defaultdict(list)
    for claim in evidence.truth:
        key = None if evidence.facts.limit_per_member == 1 else claim.idempotency_key
        grouped[claim.member_id, key].append(claim)
    return grouped
