"""Both checkers of histories find every lie; the one that knows the log passes nothing that the other would not."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.verifier.history import VIEW_AGE_MAX_US, AnswerKind, Caller, Decision, History, Operation, RequestKind
from loadtest.verifier.witness import check
from tests.harness.linearizable import OPERATIONS_MAX, State, is_linearizable

S = 1_000_000
A, B, C, D = ((name, None) for name in "abcd")


def grab(who: Caller, sent_s: float, answered_s: float, heard: AnswerKind, claim: str = "", unit: int = 0) -> Operation:
    return Operation(who, RequestKind.GRAB, int(sent_s * S), int(answered_s * S), heard, claim, unit)


SALE = History(
    operations=(
        grab(A, 0, 10, AnswerKind.WON, "c1", 1),
        grab(B, 20, 30, AnswerKind.WON, "c2", 2),
        grab(D, 40, 0, AnswerKind.MAYBE),
        grab(C, 200, 210, AnswerKind.SOLD_OUT),
        grab(A, 220, 230, AnswerKind.HELD, "c1", 1),
        Operation(A, RequestKind.RETURN, 240 * S, 250 * S, AnswerKind.RETURNED, "c1"),
        grab(C, 400, 410, AnswerKind.WON, "c4", 1),
        grab(A, 500, 510, AnswerKind.SOLD_OUT),
        grab(D, 520, 530, AnswerKind.HELD, "c3", 3),
    ),
    decisions=(
        Decision(1, A, "c1", 1),
        Decision(2, B, "c2", 2),
        Decision(3, D, "c3", 3),
        Decision(4, A, "c1", 1, frees=True),
        Decision(6, C, "c4", 1),
    ),
    stock=3,
    others=frozenset({5}),
    is_whole=True,
)
"""Three units: a and b win, d never hears of winning, c is turned away; a gives back, c wins, a is turned away, d asks on."""


def test_an_honest_sale_passes_both() -> None:
    assert check(SALE).counterexamples == []
    assert is_linearizable(SALE)


def operation(history: History, number: int, **changes: object) -> History:
    changed = replace(history.operations[number], **changes)  # type: ignore[arg-type]
    return replace(history, operations=(*history.operations[:number], changed, *history.operations[number + 1 :]))


def decision(history: History, number: int, **changes: object) -> History:
    changed = replace(history.decisions[number], **changes)  # type: ignore[arg-type]
    return replace(history, decisions=(*history.decisions[:number], changed, *history.decisions[number + 1 :]))


def without_operation(history: History, number: int) -> History:
    return replace(history, operations=history.operations[:number] + history.operations[number + 1 :])


def without_decision(history: History, number: int) -> History:
    rest = history.decisions[:number] + history.decisions[number + 1 :]
    return replace(history, decisions=rest, others=history.others | {history.decisions[number].seq})


LIES: dict[str, History] = {
    "two_members_have_one_unit": decision(operation(SALE, 6, unit_no=2), 4, unit_no=2),
    "a_unit_that_is_none": decision(operation(SALE, 6, unit_no=4), 4, unit_no=4),
    "won_before_the_unit_came_back": operation(SALE, 6, sent_us=212 * S, answered_us=215 * S),
    "an_answer_that_changed": operation(SALE, 4, unit_no=3),
    "an_answer_that_speaks_of_another_claim": operation(SALE, 4, claim_id="c2", unit_no=2),
    "sold_out_too_early": operation(SALE, 3, sent_us=12 * S, answered_us=15 * S),
    "sold_out_while_a_unit_was_back": replace(
        SALE, operations=(*SALE.operations, grab(("e", None), 300, 310, AnswerKind.SOLD_OUT))
    ),
    "sold_out_to_a_holder": operation(SALE, 4, heard=AnswerKind.SOLD_OUT, claim_id="", unit_no=0),
    # The unit is somebody else's already.
    "a_timeout_with_half_an_effect": decision(operation(SALE, 8, unit_no=2), 2, unit_no=2),
    # Nobody has asked who could have won it: what d sent was refused for certain, and so is not in the history.
    "a_refusal_with_an_effect": without_operation(SALE, 2),
    "an_effect_before_its_request": operation(SALE, 2, sent_us=300 * S),
    "a_lost_win": without_decision(SALE, 1),
    "a_lost_return": without_decision(SALE, 3),
    "won_twice": operation(SALE, 4, heard=AnswerKind.WON),
    "undone_by_a_guess": replace(SALE, decisions=(*SALE.decisions, Decision(7, B, "c2", 2, frees=True))),
    "given_back_at_the_request_of_somebody_else": operation(SALE, 5, caller=B, heard=AnswerKind.MAYBE),
    "held_after_it_was_given_back": operation(SALE, 4, sent_us=420 * S, answered_us=430 * S),
    "held_before_it_was_won": operation(
        operation(SALE, 0, sent_us=16 * S, answered_us=19 * S), 4, sent_us=0, answered_us=5 * S
    ),
    "answered_before_it_was_asked": operation(SALE, 0, answered_us=-1),
}


LIES_ABOUT_THE_LOG: dict[str, History] = {
    "the_order_of_the_log_is_another": decision(decision(SALE, 0, seq=2), 1, seq=1),
    "a_seq_is_missing": replace(SALE, others=frozenset()),
    "a_seq_stands_twice": decision(SALE, 1, seq=1),
}


@pytest.mark.parametrize("lie", LIES)
def test_both_find_every_lie(lie: str) -> None:
    assert not check(LIES[lie]).holds
    assert not is_linearizable(LIES[lie])


@pytest.mark.parametrize("lie", LIES_ABOUT_THE_LOG)
def test_only_the_witness_knows_the_log(lie: str) -> None:
    assert not check(LIES_ABOUT_THE_LOG[lie]).holds
    assert is_linearizable(LIES_ABOUT_THE_LOG[lie])


def test_a_sold_out_may_be_as_old_as_a_view() -> None:
    """The unit came back, and a moment later somebody is told by a view of before."""
    asked_us = 250 * S + VIEW_AGE_MAX_US
    for late_us, is_true in ((0, True), (1, False)):
        said = Operation(("e", None), RequestKind.GRAB, asked_us + late_us, asked_us + S, AnswerKind.SOLD_OUT)
        sale = replace(SALE, operations=(*SALE.operations, said))
        assert check(sale).holds is is_true
        assert is_linearizable(sale) is is_true


def test_what_is_too_much_to_try_is_said() -> None:
    with pytest.raises(ValueError, match="at most"):
        is_linearizable(replace(SALE, operations=SALE.operations * OPERATIONS_MAX))


# -- by chance ---------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Made:
    """A true execution, made one operation after the other; each is stretched over the time around its moment."""

    dice: random.Random
    stock: int
    state: State
    operations: list[Operation]
    decisions: list[Decision]
    claims: list[tuple[Caller, str]]

    @classmethod
    def of(cls, dice: random.Random) -> "Made":
        made = cls(dice, dice.randint(1, 3), State(), [], [], [])
        for number in range(dice.randint(1, 9)):
            made.step(number * 40_000)
        return made

    def step(self, at_us: int) -> None:
        who = self.dice.choice((A, B, C, D))
        if self.claims and self.dice.random() < 0.3:
            owner, claim_id = self.dice.choice(self.claims)
            after = self.state.give_back(owner, claim_id)
            assert after is not None
            if after != self.state:
                unit_no = next(unit for _, held, unit in self.state.held if held == claim_id)
                self.decide(owner, claim_id, unit_no, frees=True)
            self.state = after
            self.say(owner, RequestKind.RETURN, at_us, AnswerKind.RETURNED, claim_id)
            return
        mine = [(claim_id, unit_no) for holder, claim_id, unit_no in self.state.held if holder == who]
        free = sorted(set(range(1, self.stock + 1)) - {unit for _, _, unit in self.state.held})
        if self.dice.random() < 0.1:
            self.operations.append(Operation(who, RequestKind.GRAB, at_us, 0, AnswerKind.MAYBE))  # had no effect
        elif mine:
            self.say(who, RequestKind.GRAB, at_us, AnswerKind.HELD, *mine[0])
        elif free:
            claim_id, unit_no = f"c{len(self.decisions)}", self.dice.choice(free)
            after = self.state.grab(who, claim_id, unit_no, self.stock)
            assert after is not None
            self.state = after
            self.decide(who, claim_id, unit_no)
            self.claims.append((who, claim_id))
            self.say(who, RequestKind.GRAB, at_us, AnswerKind.WON, claim_id, unit_no)
        else:
            # Perhaps by a view that is as old as it may be.
            self.say(who, RequestKind.GRAB, at_us + self.dice.choice((0, VIEW_AGE_MAX_US)), AnswerKind.SOLD_OUT)

    def decide(self, who: Caller, claim_id: str, unit_no: int, *, frees: bool = False) -> None:
        self.decisions.append(Decision(len(self.decisions) + 1, who, claim_id, unit_no, frees=frees))

    def say(self, who: Caller, asks: RequestKind, at_us: int, heard: AnswerKind, claim_id: str = "", unit_no: int = 0) -> None:
        sent_us, answered_us = at_us - self.dice.randint(0, 100_000), at_us + self.dice.randint(0, 100_000)
        if heard is AnswerKind.SOLD_OUT:
            sent_us = at_us
        if self.dice.random() < 0.15:  # the answer is lost
            kept = claim_id if asks is RequestKind.RETURN else ""
            self.operations.append(Operation(who, asks, sent_us, 0, AnswerKind.MAYBE, kept))
        else:
            self.operations.append(Operation(who, asks, sent_us, answered_us, heard, claim_id, unit_no))

    def history(self) -> History:
        return History(tuple(self.operations), tuple(self.decisions), self.stock, is_whole=True)


def corrupted(history: History, dice: random.Random) -> History:
    """The same with something falsified, perhaps without harm."""
    operations, decisions = list(history.operations), list(history.decisions)
    at = dice.randrange(len(operations))
    one, other = operations[at], dice.choice(operations)
    kind = dice.randrange(9)
    if kind == 0:
        operations[at] = replace(one, heard=other.heard, claim_id=other.claim_id, unit_no=other.unit_no, asks=other.asks)
    elif kind == 1:
        operations[at] = replace(one, unit_no=dice.randint(0, history.stock + 1))
    elif kind == 2:
        moved_us = dice.randint(-200_000, 200_000)
        operations[at] = replace(one, sent_us=one.sent_us + moved_us, answered_us=one.answered_us + moved_us)
    elif kind == 3:
        del operations[at]
    elif kind == 4:
        operations[at] = replace(one, caller=other.caller)
    elif kind == 5:
        operations[at] = replace(one, heard=AnswerKind.SOLD_OUT, asks=RequestKind.GRAB, claim_id="", unit_no=0)
    elif decisions:
        place = dice.randrange(len(decisions))
        if kind == 6:
            decisions[place] = replace(decisions[place], unit_no=dice.randint(1, history.stock))
        elif kind == 7:
            del decisions[place]
        else:
            swapped = dice.randrange(len(decisions))
            seqs = decisions[place].seq, decisions[swapped].seq
            decisions[place] = replace(decisions[place], seq=seqs[1])
            decisions[swapped] = replace(decisions[swapped], seq=seqs[0])
    return replace(history, operations=tuple(operations), decisions=tuple(decisions))


SEEDS = st.integers(min_value=0, max_value=2**63)
BY_CHANCE = settings(max_examples=300, deadline=None, derandomize=True, database=None)


@BY_CHANCE
@given(seed=SEEDS)
def test_what_is_linearizable_by_birth_passes_both(seed: int) -> None:
    history = Made.of(random.Random(seed)).history()
    assert check(history).counterexamples == []
    assert is_linearizable(history)


@BY_CHANCE
@given(seed=SEEDS, falsified=st.integers(min_value=1, max_value=3))
def test_whatever_the_witness_lets_pass_is_linearizable(seed: int, falsified: int) -> None:
    dice = random.Random(seed)
    history = Made.of(dice).history()
    for _ in range(falsified):
        if history.operations:
            history = corrupted(history, dice)
    if check(history).holds:
        assert is_linearizable(history)


def test_chance_makes_histories_of_every_kind() -> None:
    """Else the two tests above would show little."""

    def verdicts() -> Iterator[tuple[bool, bool]]:
        for seed in range(1500):
            dice = random.Random(seed)
            history = corrupted(Made.of(dice).history(), dice)
            yield check(history).holds, is_linearizable(history)

    seen = list(verdicts())
    assert seen.count((True, True)) > 50
    assert seen.count((False, False)) > 50
    assert seen.count((False, True)) > 20, "the witness knows the log"
    assert seen.count((True, False)) == 0
