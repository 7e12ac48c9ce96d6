"""A linearizability check of small histories: it searches for any order in which every answer is true.

The search of Wing and Gong ("Testing and Verifying Concurrent Objects", 1993): from the operations that nobody was answered
before, take one whose answer is true now, and go on; go back where that leads nowhere. It knows nothing of the log but which
claims are held in the end, and so it checks the checker that knows the log. Exponential: for a dozen operations.
"""

from dataclasses import dataclass

from loadtest.verifier.history import AnswerKind, Caller, History, Operation, RequestKind

OPERATIONS_MAX = 24

Holding = tuple[Caller, str, int]
"""(whose, which claim, which unit)."""


@dataclass(frozen=True, slots=True)
class State:
    """The campaign as one would write it on a slip of paper: who holds what, and which claims came back."""

    held: frozenset[Holding] = frozenset()
    returned: frozenset[str] = frozenset()

    def grab(self, caller: Caller, claim_id: str, unit_no: int, stock: int) -> "State | None":
        """The state after this claim is won now; None if it cannot be."""
        is_new = claim_id not in self.returned and all(claim_id != held for _, held, _ in self.held)
        is_free = 1 <= unit_no <= stock and all(unit_no != unit for _, _, unit in self.held)
        if not (is_new and is_free) or self.holds(caller):
            return None
        return State(self.held | {(caller, claim_id, unit_no)}, self.returned)

    def give_back(self, caller: Caller, claim_id: str) -> "State | None":
        """The state after this claim is given back now, or was before; None if it cannot be."""
        if claim_id in self.returned:
            return self
        mine = {holding for holding in self.held if holding[:2] == (caller, claim_id)}
        return State(self.held - mine, self.returned | {claim_id}) if mine else None

    def holds(self, caller: Caller) -> bool:
        """Whether the caller holds anything."""
        return any(caller == holder for holder, _, _ in self.held)


def is_linearizable(history: History) -> bool:
    """Whether there is an order, compatible with time, in which every answer is true and the end is what the ledger has.

    Raises:
        ValueError: more operations than can be tried.
    """
    operations, stock = history.operations, history.stock
    if len(operations) > OPERATIONS_MAX:
        raise ValueError(f"{len(operations)} operations, at most {OPERATIONS_MAX} can be tried")
    freed = {decision.claim_id for decision in history.decisions if decision.frees}
    granted = [(one.caller, one.claim_id, one.unit_no) for one in history.decisions if not one.frees]
    ledger = frozenset(holding for holding in granted if holding[1] not in freed)
    to_answer = frozenset(number for number, one in enumerate(operations) if one.heard is not AnswerKind.MAYBE)
    tried: set[tuple[frozenset[int], State]] = set()
    stack = [(frozenset[int](), State())]
    while stack:
        done, state = stack.pop()
        if (done, state) in tried:
            continue
        tried.add((done, state))
        if to_answer <= done and state.held == ledger:
            return True
        soonest = min((operations[number].answered_us for number in to_answer - done), default=None)
        for number, operation in enumerate(operations):
            if number not in done and (soonest is None or operation.true_from_us <= soonest):
                stack.extend((done | {number}, after) for after in _after(operation, state, stock, granted))
    return False


def _after(operation: Operation, state: State, stock: int, granted: list[Holding]) -> list[State]:
    """The states in which the campaign may be after this operation, whose answer is true; none if it is not.

    What nobody was told of a request is one of the claims that the ledger has of its caller; that it had no effect needs no
    step, for then it is left out.
    """
    caller = operation.caller
    match operation.asks, operation.heard:
        case RequestKind.GRAB, AnswerKind.WON:
            after = [state.grab(caller, operation.claim_id, operation.unit_no, stock)]
        case RequestKind.GRAB, AnswerKind.HELD:
            after = [state] if (caller, operation.claim_id, operation.unit_no) in state.held else []
        case RequestKind.GRAB, AnswerKind.SOLD_OUT:
            after = [state] if len(state.held) >= stock and not state.holds(caller) else []
        case RequestKind.GRAB, AnswerKind.MAYBE:
            after = [state.grab(caller, claim_id, unit_no, stock) for holder, claim_id, unit_no in granted if holder == caller]
        case RequestKind.RETURN, _:
            after = [state.give_back(caller, operation.claim_id)]
        case _:
            raise ValueError(operation)
    return [one for one in after if one is not None]
