"""A linearizability check with the log as a witness: every answer must be true in the order that the log gives.

The log is a witness: it names the order, so nobody has to search for one. Every decision has a place, and there are gaps
between the places. A win is at its place; "you hold it" is true in the gaps after its grant and before its return, "sold out"
in the gaps in which every unit was taken and the caller held none. An answer that came before another request must not
lie behind it. Each answer takes the earliest place at which it is true and not too early: if all find one, that is the order.

So a run that passes here is linearizable (Herlihy and Wing, 1990), and an order is at hand. The converse does not hold: this
check knows the log, and a history may be linearizable in another order than the log's; then the log is wrong, and that is a
fault, too. The tests compare it with a search for any order at all (Wing and Gong, "Testing and Verifying Concurrent Objects",
1993).
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from loadtest.verifier.evidence import Evidence, RunFinding
from loadtest.verifier.history import AnswerKind, Caller, Decision, History, Operation, RequestKind, history_of, operations_of

BEFORE_ALL = -1


def witness_order(evidence: Evidence) -> RunFinding:
    """The `seq` of claims is an order in which all answers are true; timeouts are "maybe", never half."""
    history = history_of(evidence)
    finding = check(history)
    runs = defaultdict(list)
    for attempt in evidence.attempts:
        runs[attempt.source.facts.get("run")].append(attempt)
    if len(runs) > 1:
        # The clock of one run orders its own requests exactly.
        places = _Places.of(history, RunFinding())
        for attempts in runs.values():
            _follow(tuple(operations_of(evidence, attempts, by_server=False)), places, finding)
    return finding


def check(history: History) -> RunFinding:
    """Look whether all answers are true in the order of the log."""
    finding = RunFinding(checked=len(history.decisions) + len(history.operations))
    places = _Places.of(history, finding)
    lows = _follow(history.operations, places, finding)
    _check_askers(history.operations, places, lows, finding)
    return finding


@dataclass(slots=True)
class _Claim:
    """One claim: its grant, and the places of its grant and its return; places are odd, gaps even."""

    grant: Decision
    granted_at: int
    freed_at: int | None = None


@dataclass(slots=True)
class _Places:
    """The order of the log. `sold_out` are the gaps in which every unit was taken."""

    end: int = 0
    claims: dict[str, _Claim] = field(default_factory=dict)
    of_caller: defaultdict[Caller, list[_Claim]] = field(default_factory=lambda: defaultdict(list))
    sold_out: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, history: History, finding: RunFinding) -> "_Places":
        """Go through the log; an entry that cannot follow the one before is a breach."""
        places = cls()
        ordered = sorted(history.decisions, key=lambda decision: decision.seq)
        _check_seqs(history, ordered, finding)
        units: dict[int, _Claim] = {}
        active = 0
        released = ordered[0].released if ordered else None
        if active >= (history.stock if released is None else released):
            places.sold_out.append(0)
        for number, decision in enumerate(ordered):
            at = 2 * number + 1
            if decision.frees:
                active -= places._free(decision, at, units, finding)
            else:
                active += places._grant(decision, at, units, history.stock, finding)
            places.end = at + 1
            if active >= (history.stock if decision.released is None else decision.released):
                places.sold_out.append(places.end)
        return places

    def _grant(self, decision: Decision, at: int, units: dict[int, _Claim], stock: int, finding: RunFinding) -> int:
        claim = _Claim(decision, at)
        if not 1 <= decision.unit_no <= stock:
            finding.breach("there is no such unit", claim_id=decision.claim_id, unit_no=decision.unit_no)
        if decision.claim_id in self.claims:
            finding.breach("a claim was granted twice", claim_id=decision.claim_id, seq=decision.seq)
        other = units.get(decision.unit_no)
        if other is not None and not other.grant.lapsed:
            ids = [other.grant.claim_id, decision.claim_id]
            finding.breach("a unit was granted that was in another hand", unit_no=decision.unit_no, claim_ids=ids)
        held = [one for one in self.of_caller[decision.caller] if one.freed_at is None and not one.grant.lapsed]
        if held:
            ids = [held[0].grant.claim_id, decision.claim_id]
            finding.breach("somebody who holds a claim was granted another", caller=decision.caller, claim_ids=ids)
        units[decision.unit_no] = self.claims[decision.claim_id] = claim
        self.of_caller[decision.caller].append(claim)
        return 1

    def _free(self, decision: Decision, at: int, units: dict[int, _Claim], finding: RunFinding) -> int:
        claim = self.claims.get(decision.claim_id)
        if claim is None or claim.freed_at is not None or claim.grant.caller != decision.caller:
            finding.breach("a claim came back that nobody held", claim_id=decision.claim_id, seq=decision.seq)
            return 0
        claim.freed_at = at
        if units.get(claim.grant.unit_no) is claim:
            del units[claim.grant.unit_no]
        return 1

    def claim_of(self, operation: Operation) -> _Claim | None:
        """The claim that an answer speaks of, if it is the caller's, and with that unit."""
        claim = self.claims.get(operation.claim_id)
        if claim is None or claim.grant.caller != operation.caller:
            return None
        return claim if operation.asks is RequestKind.RETURN or claim.grant.unit_no == operation.unit_no else None

    def earliest(self, operation: Operation, low: int) -> int | None:
        """The earliest place after `low` at which the answer is true; None if there is none."""
        gap = low + low % 2
        if operation.heard is AnswerKind.SOLD_OUT:
            return self._sold_out_from(operation.caller, max(gap, 0))
        claim = self.claim_of(operation)
        if claim is None:
            return None
        if operation.heard is AnswerKind.WON:
            return claim.granted_at if low < claim.granted_at else None
        if operation.heard is AnswerKind.RETURNED:
            if claim.freed_at is None:
                return None
            return claim.freed_at if low < claim.freed_at else gap
        place = max(gap, claim.granted_at + 1)
        return place if place <= self.end and (claim.freed_at is None or place < claim.freed_at) else None

    def _sold_out_from(self, caller: Caller, gap: int) -> int | None:
        mine = [claim for claim in self.of_caller.get(caller, ()) if not claim.grant.lapsed]
        number = bisect_left(self.sold_out, gap)
        while number < len(self.sold_out):
            place = self.sold_out[number]
            held = [one for one in mine if one.granted_at < place and (one.freed_at is None or place < one.freed_at)]
            if not held:
                return place
            if held[0].freed_at is None:
                return None
            number = bisect_left(self.sold_out, held[0].freed_at)
        return None


def _check_seqs(history: History, ordered: Sequence[Decision], finding: RunFinding) -> None:
    for earlier, later in pairwise(ordered):
        if earlier.seq == later.seq:
            finding.breach("two decisions with one seq", seq=later.seq, claim_ids=[earlier.claim_id, later.claim_id])
        elif history.is_whole and set(range(earlier.seq + 1, later.seq)) - history.others:
            finding.breach("decisions are missing", after_seq=earlier.seq, before_seq=later.seq)


def _follow(operations: Sequence[Operation], places: _Places, finding: RunFinding) -> Mapping[int, int]:
    """Give every answer its place, in the order of time; by operation, the last place answered before it was asked."""
    moments = [(operation.true_from_us, 0, number) for number, operation in enumerate(operations)]
    moments += [(one.answered_us, 1, number) for number, one in enumerate(operations) if one.heard is not AnswerKind.MAYBE]
    highest, lows = BEFORE_ALL, {}
    for _, is_answer, number in sorted(moments):
        if not is_answer:
            lows[number] = highest
            continue
        operation = operations[number]
        if number not in lows:
            finding.breach("answered before it was asked", **_describe(operation))
        low = lows.setdefault(number, highest)
        place = places.earliest(operation, low)
        if place is None:
            finding.breach(_what_is_wrong(operation, places, low), **_describe(operation))
        else:
            highest = max(highest, place)
    return lows


def _what_is_wrong(operation: Operation, places: _Places, low: int) -> str:
    if operation.heard is AnswerKind.SOLD_OUT:
        holds = any(not one.grant.lapsed and one.freed_at is None for one in places.of_caller.get(operation.caller, ()))
        return "sold out was said to a holder" if holds else "sold out was said, and units were left"
    claim = places.claims.get(operation.claim_id)
    if claim is None:
        return "told of a claim that the log does not have"
    if places.claim_of(operation) is None:
        return "told of another claim than the log has"
    if operation.heard is AnswerKind.WON:
        return "decided before a claim that was answered before it was asked for" if low > claim.granted_at else "won twice"
    return "told of a claim at a time when the log does not have it so"


def _check_askers(operations: Sequence[Operation], places: _Places, lows: Mapping[int, int], finding: RunFinding) -> None:
    """Every decision was asked for: by the member who was told of it, or by a request whose end is unknown."""
    winners: dict[str, int] = {}
    maybes: defaultdict[Caller, list[int]] = defaultdict(list)
    returns: defaultdict[tuple[Caller, str], list[int]] = defaultdict(list)
    for number, operation in enumerate(operations):
        if operation.asks is RequestKind.RETURN:
            returns[operation.caller, operation.claim_id].append(lows[number])
        elif operation.heard is AnswerKind.MAYBE:
            maybes[operation.caller].append(lows[number])
        elif operation.heard is AnswerKind.WON:
            if operation.claim_id in winners:
                finding.breach("one claim won more than once", **_describe(operation))
            winners[operation.claim_id] = number
    for caller, claims in places.of_caller.items():
        untold = [claim for claim in claims if claim.grant.claim_id not in winners]
        for count, claim in enumerate(untold, start=1):
            # Those that could have been decided here could have been at every later place, too.
            if sum(low < claim.granted_at for low in maybes[caller]) < count:
                what = "granted, and nobody has asked whose request could have won it"
                finding.breach(what, caller=caller, claim_id=claim.grant.claim_id, seq=claim.grant.seq)
    for claim_id, claim in places.claims.items():
        asked = returns[claim.grant.caller, claim_id]
        if claim.freed_at is not None and not any(low < claim.freed_at for low in asked):
            finding.breach("given back, and nobody has asked for that", claim_id=claim_id)


def _describe(operation: Operation) -> dict[str, object]:
    return {
        "caller": operation.caller,
        "heard": operation.heard.value,
        "claim_id": operation.claim_id,
        "unit_no": operation.unit_no,
        "sent_us": operation.sent_us,
        "answered_us": operation.answered_us,
    }
