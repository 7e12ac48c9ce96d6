"""Short walks that lead through every corner of the rules.

Each is a handful of steps, always the same; after each step the cell is compared with the model and with the invariants.
Together they must find every mutant; the random machine looks for what nobody has thought of.
"""

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from grab_service.vocabulary.campaigns import BenefitKind, Eligibility, Release
from grab_service.vocabulary.claims import ClaimRecord
from tests.harness.cells import Member, Published
from tests.harness.every_command import CALLS
from tests.lua.model import SILENT_MS, TARGETS
from tests.lua.walker import CAMPAIGNS, START_MS, Laboratory, Walker
from tests.rules import WALKS as OF_RULES

CROWD: Final = tuple(f"m{number}" for number in range(1, 10))
OPEN: Final = Published("a", (Release(START_MS - 1, 4),), closes_in_ms=100)
WELCOME: Final = Member(org_id="o1", birthday_month=1, joined_on="2021-05-31", tags=("t1",))
EVERY_RULE: Final = Eligibility(orgs=("o1", "o10"), tags_any=("t1", "t2"), birthday_months=(1, 12), joined_before="2021-06-01")


def releases(*pairs: tuple[int, int]) -> tuple[Release, ...]:
    """From (opens_in_ms, quantity)."""
    return tuple(Release(START_MS + at, quantity) for at, quantity in pairs)


def enrol(walker: Walker, campaign: Published | None = None) -> None:
    walker.publish_members(1, [(name, WELCOME) for name in CROWD])
    if campaign is not None:
        walker.publish(campaign)


def seq_of(answer: str) -> int:
    """The place in the log of a win."""
    outcome, record = answer.split("\t", 1)
    assert outcome == "won"
    return ClaimRecord.parse(record.encode()).seq


def one_claim_to_a_member(walker: Walker) -> None:
    enrol(walker, OPEN)
    answers = walker.grab(["m1", "m2", "m1", ("m2", "k"), "m1"])
    more = walker.grab([("m1", "k"), "m1", ("m3", "k"), ("m3", "k"), ("m3", "other")])
    walker.return_unit("m1", seq_of(answers[0]))
    walker.return_unit("m3", seq_of(more[2]))
    walker.grab(["m1", ("m3", "k"), "m1"])
    walker.grab(list(CROWD))
    walker.grab(list(reversed(CROWD)))


def one_claim_to_a_key(walker: Walker) -> None:
    enrol(walker, replace(OPEN, limit_per_member=3, releases=releases((-1, 8))))
    answers = walker.grab([("m1", "a"), ("m1", "b"), ("m1", "a"), "m1", ("m2", "a"), ("m1", "c"), ("m1", "d"), ("m1", "d")])
    walker.grab([("m1", "b"), ("m1", "d"), ("m2", "a"), ("m2", "b"), ""])
    walker.return_unit("m1", seq_of(answers[1]))
    walker.grab([("m1", "b"), ("m1", "a"), ("m1", "d"), ("m1", "e")])
    walker.return_unit("m2", seq_of(answers[4]))
    walker.grab([("m2", "a")])
    walker.grab([("m3", "a"), ("m3", "b"), ("m3", "c"), ("m3", "d")])


def the_window(walker: Walker) -> None:
    """Each millisecond from before the first release until after closing, a new member each time; the second is sold out to."""
    campaign = replace(OPEN, releases=releases((2, 3), (5, 3), (30, 1)), closes_in_ms=8, limit_per_member=3)
    enrol(walker, campaign)
    for ms in range(10):
        walker.clock(START_MS + ms, 999 if ms % 2 else 0)
        wishes = CROWD[:5] if ms == 2 else (CROWD[ms % len(CROWD)], "stranger")
        walker.grab([(name, f"k{ms}") for name in wishes])


def units_left_at_closing(walker: Walker) -> None:
    enrol(walker, replace(OPEN, closes_in_ms=3))
    for ms in range(5):
        walker.clock(START_MS + ms, 500)
        walker.grab([CROWD[ms], CROWD[0]])


def what_ops_intend(walker: Walker) -> None:
    """Each action in each state, before and after closing time, and what members hear of it."""
    for before, action, ended in itertools.product(TARGETS, TARGETS, (False, True)):

        def walk(fresh: Walker, before: str = before, action: str = action, ms: int = 9 if ended else 1) -> None:
            enrol(fresh, replace(OPEN, closes_in_ms=9))
            fresh.grab(["m1"])
            fresh.set_state(before)
            fresh.grab(["m1", "m2", "stranger"])
            fresh.later(ms)
            fresh.grab(["m1", "m2", "stranger"])
            fresh.set_state(action)
            fresh.grab(["m1", "m3"])

        walk_in(walker.lab, walk)


def units_that_come_back(walker: Walker) -> None:
    enrol(walker, replace(OPEN, releases=releases((-1, 6)), limit_per_member=2))
    answers = walker.grab([(name, "k") for name in CROWD[:5]])
    seqs = [seq_of(answer) for answer in answers]
    walker.return_unit("m2", seqs[0])
    walker.return_unit("m1", seqs[0] + 100)
    walker.return_unit("m1", seqs[0], "b")
    walker.return_unit("m4", seqs[3])
    walker.return_unit("m2", seqs[1])
    walker.return_unit("m2", seqs[1])
    second = walker.grab([("m6", "k"), ("m6", "l"), ("m7", "k"), ("m8", "k")])
    walker.return_unit("m6", seq_of(second[1]))
    walker.return_unit("m6", seq_of(second[1]))
    walker.look("m6", walker.model.seq - 1)
    walker.grab([("m9", "k"), ("m9", "l")])


def codes_of_a_pool(walker: Walker) -> None:
    enrol(walker)
    walker.load_codes(1, 2)
    walker.load_codes(4, 1)
    walker.publish(replace(OPEN, benefit_kind=BenefitKind.CODE_POOL))
    walker.load_codes(1, 3)
    walker.publish(replace(OPEN, benefit_kind=BenefitKind.CODE_POOL))
    walker.load_codes(2, 3)
    walker.load_codes(1, 4)
    walker.publish(replace(OPEN, benefit_kind=BenefitKind.CODE_POOL))
    answers = walker.grab(["stranger", ("m1", "k"), "m2", ("m1", "k"), "m3"])
    walker.return_unit("m2", seq_of(answers[2]))
    walker.set_stock(4, 5)
    walker.load_codes(5, 1)
    walker.return_unit("m2", seq_of(answers[2]))
    walker.grab(["m4", "m5", "m6"])
    walker.load_codes(6, 2)
    walker.set_stock(4, 7)
    walker.set_stock(4, 6)
    walker.grab(list(CROWD))
    walker.return_unit("m1", seq_of(answers[1]))
    walker.grab([("m1", "k"), ("m1", "l"), *CROWD])


def codes_that_are_generated(walker: Walker) -> None:
    enrol(walker, replace(OPEN, benefit_kind=BenefitKind.GENERATED_CODE))
    answers = walker.grab(["stranger", "m1", "m1", ("m2", "k"), "m3", "m4", "m5"])
    walker.return_unit("m1", seq_of(answers[1]))
    walker.return_unit("m2", seq_of(answers[3]))
    walker.grab([("m2", "k")])


def exactly_as_many_as_are_asked_for(walker: Walker) -> None:
    """Free units, codes: neither one more nor one fewer than the batch asks for; of one, too."""
    enrol(walker)
    for count in (1, 2):
        walker.load_codes(1 if count == 1 else 2, 1)
        if count == 1:
            walker.publish(replace(OPEN, releases=releases((-1, 1)), benefit_kind=BenefitKind.CODE_POOL))
        else:
            walker.set_stock(1, 2)
        answers = walker.grab(CROWD[:count])
        for name, answer in zip(CROWD[:count], answers, strict=True):
            walker.return_unit(name, seq_of(answer))
        answers = walker.grab(CROWD[2 : 2 + count])
        for name, answer in zip(CROWD[2 : 2 + count], answers, strict=True):
            walker.return_unit(name, seq_of(answer))
    walker.grab(CROWD[5:8])


def releases_at_their_bounds(walker: Walker) -> None:
    """As many as there may be, one of them with the closing."""
    many = releases(*((ms, 1) for ms in range(-1, 49)))
    assert len(many) == 50
    enrol(walker, replace(OPEN, releases=many, closes_in_ms=48))
    walker.grab(["m1", "m2"])
    walker.clock(START_MS + 46)
    walker.grab(["m3"])
    walker.clock(START_MS + 47)
    walker.grab(["m4"])
    walker.clock(START_MS + 48)
    walker.grab(["m5"])


def more_stock_at_the_moment_of_a_release(walker: Walker) -> None:
    enrol(walker, replace(OPEN, releases=releases((-1, 1), (5, 1), (7, 1))))
    walker.clock(START_MS + 5)
    walker.set_stock(3, 4)
    walker.set_stock(4, 1)
    walker.set_state("cancel")
    walker.set_stock(1, 2)


def one_condition_alone(walker: Walker) -> None:
    """A campaign that sets one condition of eligibility, and nobody who meets it."""
    walker.publish_members(1, [("m1", WELCOME)])
    nobody = (Eligibility(orgs=("o2",)), Eligibility(tags_any=("t2",)))
    for campaign_id, eligibility in zip(CAMPAIGNS, nobody, strict=True):
        walker.publish(replace(OPEN, campaign_id=campaign_id, eligibility=eligibility))
        walker.grab(["m1"], campaign_id)


def who_may(walker: Walker) -> None:
    """Everybody who is wrong in one way, asked by a campaign with every rule and by one with none."""
    people = {
        "welcome": WELCOME,
        "left": replace(WELCOME, status="left"),
        "suspended": replace(WELCOME, status="suspended"),
        "other union": replace(WELCOME, org_id="o2"),
        "part of a union's name": replace(WELCOME, org_id="o"),
        "end of a union's name": replace(WELCOME, org_id="0"),
        "second union": replace(WELCOME, org_id="o10"),
        "no union": replace(WELCOME, org_id=""),
        "second tag": replace(WELCOME, tags=("x", "t2")),
        "both tags": replace(WELCOME, tags=("t1", "t2")),
        "longer tag": replace(WELCOME, tags=("t11", "at1")),
        "no tag": replace(WELCOME, tags=()),
        "other month": replace(WELCOME, birthday_month=2),
        "second month": replace(WELCOME, birthday_month=12),
        "no month": replace(WELCOME, birthday_month=None),
        "joined on the day": replace(WELCOME, joined_on="2021-06-01"),
        "joined we do not know when": replace(WELCOME, joined_on=""),
        "two wrongs": replace(WELCOME, org_id="o2", joined_on="2021-06-01"),
        "four wrongs, and suspended": Member(status="suspended", org_id="o2", birthday_month=3, joined_on="2022-01-01"),
    }
    walker.publish_members(1, list(people.items()))
    walker.publish(replace(OPEN, releases=releases((-1, 20)), eligibility=EVERY_RULE))
    walker.publish(replace(OPEN, campaign_id="b", releases=releases((-1, 15))))
    for campaign_id in ("a", "b"):
        walker.grab([*people, "stranger"], campaign_id)
        walker.publish_members(2, [("welcome", replace(people["other union"], version=2))])


def a_block_that_ends(walker: Walker) -> None:
    blocked = [(f"m{ms}", replace(WELCOME, blocked_until_ms=START_MS + ms)) for ms in range(4)]
    walker.publish_members(1, blocked)
    walker.publish(OPEN)
    for ms in range(4):
        walker.clock(START_MS + ms, 999)
        walker.grab([name for name, _ in blocked])


def the_stock_is_changed(walker: Walker) -> None:
    enrol(walker, replace(OPEN, releases=releases((-2, 3), (-1, 2), (4, 2)), limit_per_member=3))
    walker.set_stock(6, 8)
    walker.set_stock(7, 8)
    walker.set_stock(7, 9)
    walker.set_stock(8, 8)
    walker.set_stock(8, 5)
    answers = walker.grab([(name, "k") for name in CROWD])
    seqs = [seq_of(answer) for answer in answers[:5]]
    walker.set_stock(5, 4)
    for place in (0, 1, 2):
        walker.return_unit(CROWD[place], seqs[place])
    walker.set_stock(5, 3)
    walker.return_unit(CROWD[4], seqs[4])
    walker.set_stock(5, 3)
    walker.set_stock(5, 4)
    walker.set_stock(4, 6)
    walker.later(4)
    walker.grab([(name, "l") for name in CROWD])
    walker.set_stock(6, 7, "b")
    walker.later(95)
    walker.set_stock(6, 7)
    walker.later(1)
    walker.set_stock(6, 7)


def the_stock_before_opening(walker: Walker) -> None:
    enrol(walker, replace(OPEN, releases=releases((2, 2), (4, 2)), limit_per_member=3))
    walker.set_stock(4, 5)
    walker.set_stock(5, 2)
    walker.grab(["m1"])
    for ms in range(1, 6):
        walker.clock(START_MS + ms)
        walker.grab([(name, f"k{ms}") for name in CROWD[:2]])
    walker.set_state("pause")
    walker.set_stock(2, 3)
    walker.set_state("close")
    walker.set_stock(3, 4)


def what_ops_make_good(walker: Walker) -> None:
    """Before opening, above the limit, beyond the stock, to whom no rule lets win, and after closing; never once cancelled."""
    walker.publish_members(
        1, [("m1", WELCOME), ("m2", replace(WELCOME, status="suspended")), ("m3", replace(WELCOME, status="left"))]
    )
    walker.make_good("m1", "k")
    walker.publish(replace(OPEN, releases=releases((2, 1), (4, 2)), closes_in_ms=6, eligibility=Eligibility(orgs=("o2",))))
    for name in ("stranger", "m3", "m1", "m1", "m2"):
        walker.make_good(name, "k")
    walker.clock(START_MS + 4)
    first = walker.make_good("m1", "l", beyond_stock=True)
    walker.make_good("m1", "n")
    walker.make_good("m2", "n")
    walker.return_unit("m1", first)
    walker.make_good("m1", "l")
    walker.make_good("m2", "o")
    walker.later(2)
    walker.make_good("m2", "p", beyond_stock=True)
    walker.set_state("close")
    walker.make_good("m2", "q", beyond_stock=True)
    walker.publish(replace(OPEN, campaign_id="b"))
    walker.make_good("m1", "k", "b")
    walker.set_state("cancel", "b")
    walker.make_good("m1", "k", "b")
    walker.make_good("m1", "l", "b")
    walker.look("m1")


def a_member_with_more_than_the_limit(walker: Walker) -> None:
    enrol(walker, replace(OPEN, benefit_kind=BenefitKind.GENERATED_CODE, releases=releases((-1, 8))))
    first = seq_of(walker.grab([("m1", "k")])[0])
    walker.make_good("m1", "k")
    walker.grab([("m1", "k"), "m1", ("m1", "other")])
    walker.return_unit("m1", first)
    walker.grab(["m1", ("m1", "k")])
    walker.publish(replace(OPEN, campaign_id="b", limit_per_member=2, releases=releases((-1, 8))))
    walker.make_good("m1", "a", "b")
    walker.grab([("m1", "a"), ("m1", "b")], "b")
    third = walker.make_good("m1", "b", "b")
    walker.make_good("m1", "c", "b")
    walker.grab([("m1", "d")], "b")
    walker.return_unit("m1", third, "b")
    walker.grab([("m1", "a"), ("m1", "d")], "b")


def codes_that_are_made_good(walker: Walker) -> None:
    """Beyond the stock it takes a code that no unit still to grant needs."""
    enrol(walker)
    walker.load_codes(1, 4)
    walker.publish(replace(OPEN, benefit_kind=BenefitKind.CODE_POOL))
    walker.make_good("m1", "a", beyond_stock=True)
    walker.make_good("m1", "a")
    walker.load_codes(5, 1)
    walker.make_good("m2", "a", beyond_stock=True)
    walker.make_good("m3", "a", beyond_stock=True)
    walker.grab(list(CROWD))
    walker.make_good("m4", "a")
    walker.make_good("m4", "a", beyond_stock=True)


def publishing(walker: Walker) -> None:
    enrol(walker, OPEN)
    walker.grab(["m1"])
    walker.publish(replace(OPEN, version=2, releases=releases((-1, 9)), limit_per_member=2))
    walker.publish(OPEN)
    walker.look("m1")
    walker.publish(replace(OPEN, campaign_id="b", eligibility=EVERY_RULE, limit_per_member=2))
    walker.grab([("m1", "k"), ("m1", "l"), ("m1", "m"), ("m1", "")], "b")
    walker.look("m1", walker.model.seq - 1)


def members_in_any_order(walker: Walker) -> None:
    def of(version: int) -> Member:
        return replace(WELCOME, version=version, org_id=f"o{version}")

    walker.publish_members(5, [("m1", of(5)), ("m2", of(2))])
    walker.publish_members(5, [("m1", of(5)), ("m2", of(1))])
    walker.publish_members(4, [("m1", of(4)), ("m2", of(3))])
    walker.publish_members(4, [])
    walker.publish_members(12, [("m3", of(10)), ("m3", of(12)), ("m3", of(9)), ("m1", of(11)), ("m1", of(11))])
    walker.publish_members(13, [])
    walker.publish_members(14, [("m1", replace(of(11), version=14)), ("m2", of(14))])


def another_life(walker: Walker) -> None:
    enrol(walker, OPEN)
    answers = walker.grab(["m1"])
    for command in CALLS:
        walker.another_life(command, "epoch")
        walker.another_life(command, "nonce")
    for command in ("explain", "grab", "tail"):
        walker.another_life(command, "behind")
    # The calls above speak of another campaign; what these would take away is there.
    walker.look("m1")
    walker.return_unit("m1", seq_of(answers[0]))


def workers_that_count(walker: Walker) -> None:
    walker.note_counts("w1", "{}")
    walker.note_counts("w2", "", "head")
    walker.clock(START_MS + SILENT_MS - 1)
    walker.note_counts("w3", "{}")
    walker.clock(START_MS + SILENT_MS)
    walker.note_counts("w2", "{}", "")
    walker.grab(["m1"])


def nothing_there(walker: Walker) -> None:
    walker.look("m1")
    walker.grab(["m1", ("m2", "k")])
    walker.set_state("pause")
    walker.set_stock(1, 2)
    walker.return_unit("m1", 1)
    walker.load_codes(1, 2)
    walker.grab(["m1"])
    walker.set_state("cancel")
    walker.set_stock(0, 2)
    walker.return_unit("m1", 1)


Walk = Callable[[Walker], None]

WALKS: Final[tuple[Walk, ...]] = (
    one_claim_to_a_member,
    another_life,
    one_claim_to_a_key,
    the_window,
    units_left_at_closing,
    units_that_come_back,
    codes_of_a_pool,
    codes_that_are_generated,
    one_condition_alone,
    who_may,
    a_block_that_ends,
    the_stock_is_changed,
    the_stock_before_opening,
    what_ops_make_good,
    a_member_with_more_than_the_limit,
    codes_that_are_made_good,
    publishing,
    members_in_any_order,
    workers_that_count,
    nothing_there,
    what_ops_intend,
    exactly_as_many_as_are_asked_for,
    releases_at_their_bounds,
    more_stock_at_the_moment_of_a_release,
    *OF_RULES,
)


def walk_in(lab: Laboratory, walk: Walk) -> None:
    """Take one walk, in a cell of its own."""
    walker = Walker(lab)
    try:
        walk(walker)
    finally:
        walker.close()
