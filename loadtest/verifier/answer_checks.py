"""Checks of the answers: each member was told one and the same truth about their claim, and only if they had asked."""

from collections import Counter, defaultdict
from collections.abc import Iterable

from loadtest.contract import SOLD_OUT, Meaning, meaning_of
from loadtest.receipts import Attempt
from loadtest.verifier.evidence import ClaimSeen, Evidence, RunFinding, describe, surely_before


def no_lost_ack(evidence: Evidence) -> RunFinding:
    """I3: every claim that a client was told of is in the ledger, identical."""
    finding = RunFinding(checked=len(evidence.told) + len(evidence.unreadable))
    for attempt in evidence.unreadable:
        finding.breach("told of a claim, but the answer holds none", **describe(attempt))
    for told in evidence.told:
        claim = evidence.truth_by_id.get(told.claim_id)
        if claim is None:
            finding.breach("told of a claim that is not in the ledger", claim_id=told.claim_id, **describe(told.attempt))
            continue
        said = told.lasting
        kept = (claim.claim_id, claim.campaign_id, claim.member_id, claim.unit_no, claim.seq, claim.granted_at_ms)
        # While payment is due no code is shown; once one was shown it is the claim's for good.
        if said != kept or (told.code is not None and told.code != claim.code):
            finding.breach(
                "told otherwise than the ledger has it",
                told=[*said, told.code],
                ledger=[*kept, claim.code],
                **describe(told.attempt),
            )
    return finding


def one_answer(evidence: Evidence) -> RunFinding:
    """I4: all answers to one member for one claim are the same, and nobody holds more than the limit.

    A claim is won once (201) and held ever after (200). A holder who asks again hears of the claim, whatever became of
    the campaign meanwhile; being told sold-out instead is a matter of I10.
    """
    finding = RunFinding(checked=len(evidence.told))
    by_claim: defaultdict[str, list[ClaimSeen]] = defaultdict(list)
    by_caller: defaultdict[tuple[str, str | None], list[ClaimSeen]] = defaultdict(list)
    by_key: defaultdict[tuple[str, str], list[ClaimSeen]] = defaultdict(list)
    for told in evidence.told:
        by_claim[told.claim_id].append(told)
        by_caller[evidence.caller(told.attempt)].append(told)
        if told.attempt.key is not None:
            by_key[told.attempt.member, told.attempt.key].append(told)
    for claim_id, answers in by_claim.items():
        _check_same(finding, claim_id, answers)
    for (member, _), answers in by_caller.items():
        ids = {told.claim_id for told in answers if not evidence.freed(told.claim_id)}
        if len(ids) > 1:
            finding.breach("told of several claims", member=member, claim_ids=sorted(ids))
    for (member, key), answers in by_key.items():
        ids = {told.claim_id for told in answers}
        if len(ids) > 1:
            finding.breach("one key, several claims", member=member, key=key, claim_ids=sorted(ids))
    for told, later in refused_holders(evidence, by_caller):
        if later.code != SOLD_OUT:
            finding.breach("a holder was refused", claim_id=told.claim_id, **describe(later))
    held = Counter(claim.member_id for claim in evidence.truth if claim.held and not claim.made_good)
    for member, count in held.items():
        if count > evidence.facts.limit_per_member:
            finding.breach("more claims than the limit", member=member, held=count)
    return finding


def no_stranger(evidence: Evidence) -> RunFinding:
    """I7: every winner had asked, in this campaign, and the answer went to the member it names."""
    finding = RunFinding(checked=len(evidence.truth) + len(evidence.told))
    asked = {attempt.member for attempt in evidence.attempts}
    campaign_id = evidence.facts.campaign_id
    for claim in evidence.truth:
        if claim.member_id not in asked and not claim.made_good:
            finding.breach("won without asking", claim_id=claim.claim_id, member=claim.member_id)
        if claim.campaign_id != campaign_id:
            finding.breach("a claim of another campaign", claim_id=claim.claim_id, campaign_id=claim.campaign_id)
    for told in evidence.told:
        if told.member_id != told.attempt.member:
            finding.breach("told of somebody else's claim", whose=told.member_id, **describe(told.attempt))
        if told.campaign_id != campaign_id:
            finding.breach("told of another campaign's claim", campaign_id=told.campaign_id, **describe(told.attempt))
    return finding


def refused_holders(
    evidence: Evidence, told_by_caller: dict[tuple[str, str | None], list[ClaimSeen]]
) -> Iterable[tuple[ClaimSeen, Attempt]]:
    """Find business refusals of callers who had been told before they asked that they hold a claim, and still do.

    Yields:
        The earlier answer, and the refused request.
    """
    for attempt in evidence.attempts:
        answers = told_by_caller.get(evidence.caller(attempt))
        if answers is None or attempt.status not in {403, 409, 410}:
            continue
        for told in answers:
            if not evidence.freed(told.claim_id) and surely_before(told.attempt, attempt):
                yield told, attempt
                break


def told_by_caller(evidence: Evidence) -> dict[tuple[str, str | None], list[ClaimSeen]]:
    """Group what was told by who is owed one and the same answer."""
    grouped: defaultdict[tuple[str, str | None], list[ClaimSeen]] = defaultdict(list)
    for told in evidence.told:
        grouped[evidence.caller(told.attempt)].append(told)
    return grouped


def _check_same(finding: RunFinding, claim_id: str, answers: list[ClaimSeen]) -> None:
    first = answers[0]
    codes = {told.code for told in answers if told.code is not None}
    if len(codes) > 1:
        finding.breach("one claim, several codes", claim_id=claim_id, codes=sorted(codes))
    for told in answers[1:]:
        if told.lasting != first.lasting:
            finding.breach("one claim, told differently", first=list(first.lasting), **describe(told.attempt))
    wins = [told for told in answers if meaning_of(told.attempt.status, "") is Meaning.WON]
    if len(wins) > 1:
        finding.breach("one claim won more than once", claim_id=claim_id, **describe(wins[1].attempt))
