"""A worker refuses by itself up to the right millisecond, and a change of the campaign moves it."""

from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from grab_service.grabpath.chain import Chain
from grab_service.grabpath.gate import CLOCK_STEP_MS, Gate
from grab_service.grabpath.view import CampaignView, View
from grab_service.vocabulary.campaigns import BenefitKind, CampaignState, Release
from grab_service.vocabulary.claims import Validity
from grab_service.vocabulary.events import Granted, GrantedClaim, Returned, StateSet, StockSet
from grab_service.vocabulary.outcomes import Outcome

NOW_S = 1000.0
NOW_MS = 5_000_000
AGE_S = 0.05
OPENED = Release(NOW_MS - 1000, 2)
FAR_MS = NOW_MS + 3_600_000
NOT_SURE_MS = 3
"""Distance of the bounds of the cell's clock here."""
SURE_MS = NOT_SURE_MS + CLOCK_STEP_MS
"""A time so far ahead has certainly not come yet."""


@dataclass
class Clock:
    """Of a view: complete since `complete_at_s`, the cell's clock between NOW_MS and NOT_SURE_MS later."""

    complete_at_s: float = NOW_S
    known: bool = True
    chain: Chain = field(default_factory=Chain)

    def now_bounds_ms(self, now_s: float) -> tuple[int, int] | None:
        now_ms = NOW_MS + round((now_s - NOW_S) * 1000)
        return (now_ms, now_ms + NOT_SURE_MS) if self.known else None


def gate_of(clock: Clock) -> Gate:
    return Gate(cast("View", clock), age_max_s=AGE_S)


def campaign(**facts: Any) -> CampaignView:
    """Sold out: two units, both held."""
    told: dict[str, Any] = {"releases": (OPENED,), "closes_at_ms": FAR_MS, "active": 2, "state": CampaignState.SCHEDULED}
    told |= {"holders": {"m-1", "m-2"}, "ready": True, **facts}
    return CampaignView(
        campaign_id="c",
        as_of_seq=10,
        limit_per_member=1,
        benefit_kind=BenefitKind.NONE,
        display={},
        validity=Validity(),
        on_request=False,
        **told,
    )


def said(view: CampaignView, *, later_ms: float = 0, gate: Gate | None = None, member_id: str = "m-9") -> Outcome | None:
    verdict = (gate or gate_of(Clock())).refuse(view, member_id, NOW_S + later_ms / 1000)
    return None if verdict is None else verdict.outcome


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, Outcome.SOLD_OUT),
        ({"active": 3}, Outcome.SOLD_OUT),
        ({"active": 1}, None),
        ({"ready": False}, None),
        ({"holders": {"m-9"}}, None),
        ({"state": CampaignState.CANCELLED}, Outcome.CANCELLED),
        ({"state": CampaignState.CLOSED}, Outcome.ENDED),
        ({"state": CampaignState.PAUSED, "active": 0}, Outcome.PAUSED),
        # A closing is certain when the lower bound has reached it.
        ({"closes_at_ms": NOW_MS, "active": 0}, Outcome.ENDED),
        ({"closes_at_ms": NOW_MS + 1}, None),
        ({"closes_at_ms": NOW_MS + NOT_SURE_MS}, None),
        ({"closes_at_ms": NOW_MS + NOT_SURE_MS, "state": CampaignState.PAUSED}, None),
        ({"closes_at_ms": NOW_MS + SURE_MS - 1}, None),
        ({"closes_at_ms": NOW_MS + SURE_MS}, Outcome.SOLD_OUT),
        # That it is not open yet is certain while the upper bound is well before the opening.
        ({"releases": (Release(NOW_MS + SURE_MS, 2),)}, Outcome.NOT_OPEN_YET),
        ({"releases": (Release(NOW_MS + SURE_MS - 1, 2),)}, None),
        ({"releases": (Release(NOW_MS + NOT_SURE_MS, 2),)}, None),
        ({"releases": (Release(NOW_MS + 1, 2),)}, None),
        ({"releases": (Release(NOW_MS, 2),)}, Outcome.SOLD_OUT),
        # A later release may be there as soon as the upper bound is close to it.
        ({"releases": (OPENED, Release(NOW_MS + NOT_SURE_MS, 1))}, None),
        ({"releases": (OPENED, Release(NOW_MS + SURE_MS - 1, 1))}, None),
        ({"releases": (OPENED, Release(NOW_MS + SURE_MS, 1))}, Outcome.SOLD_OUT),
    ],
)
def test_only_what_is_certain_is_refused(facts: dict[str, Any], expected: Outcome | None) -> None:
    assert said(campaign(**facts)) is expected


def test_before_the_first_poll_nobody_is_refused() -> None:
    assert said(campaign(), gate=gate_of(Clock(known=False))) is None


@pytest.mark.parametrize(
    "facts",
    [
        {"releases": (OPENED, Release(NOW_MS + 20, 1))},
        {"releases": (OPENED, Release(NOW_MS + 20, 1), Release(NOW_MS + 40, 1))},
        {"closes_at_ms": NOW_MS + 20},
        {"closes_at_ms": NOW_MS + 20, "releases": (OPENED, Release(NOW_MS + 30, 1))},
        {"closes_at_ms": NOW_MS + 20, "state": CampaignState.PAUSED},
        {"releases": (Release(NOW_MS + 20, 1),)},
        {"releases": (Release(NOW_MS + 20, 1), Release(NOW_MS + 30, 1))},
    ],
    ids=["release", "first release", "closing", "closing first", "closing while paused", "opening", "first opening"],
)
def test_a_refusal_ends_before_what_comes_next(facts: dict[str, Any]) -> None:
    view, gate = campaign(**facts), gate_of(Clock())
    assert said(view, gate=gate) is not None
    last_ms = 20 - NOT_SURE_MS - CLOCK_STEP_MS
    assert said(view, later_ms=last_ms - 0.1, gate=gate) is not None
    assert said(view, later_ms=last_ms + 0.1, gate=gate) is None


def test_a_refusal_ends_with_the_age_of_the_view_and_a_fresh_view_judges_anew() -> None:
    clock, view = Clock(), campaign()
    gate = gate_of(clock)
    assert said(view, gate=gate) is Outcome.SOLD_OUT
    assert said(view, later_ms=49.9, gate=gate) is Outcome.SOLD_OUT
    assert said(view, later_ms=50.1, gate=gate) is None
    clock.complete_at_s = NOW_S + 0.050
    assert said(view, later_ms=50.1, gate=gate) is Outcome.SOLD_OUT
    assert said(view, later_ms=99.9, gate=gate) is Outcome.SOLD_OUT
    assert said(view, later_ms=100.1, gate=gate) is None


def test_each_change_that_a_fresh_view_shows_is_obeyed_at_once() -> None:
    clock, view = Clock(), campaign()
    gate = gate_of(clock)
    raised, lowered = (OPENED, Release(NOW_MS - 500, 1)), (OPENED,)
    head = {"epoch": 1, "at_ms": NOW_MS, "campaign_id": "c"}
    seq = 10
    steps: list[tuple[type[Any], dict[str, Any], Outcome | None]] = [
        (StockSet, {"total": 3, "releases": raised}, None),
        (StockSet, {"total": 2, "releases": lowered}, Outcome.SOLD_OUT),
        (StockSet, {"total": 3, "releases": raised}, None),
        (Granted, {"rows": [GrantedClaim("m-3", 3, 1, "", "")]}, Outcome.SOLD_OUT),
        (Returned, {"member_id": "m-3", "claim_seq": 14, "unit_no": 3, "reason": "returned", "code": ""}, None),
        (StateSet, {"state": CampaignState.PAUSED}, Outcome.PAUSED),
        (StateSet, {"state": CampaignState.SCHEDULED}, None),
        (StateSet, {"state": CampaignState.CLOSED}, Outcome.ENDED),
    ]
    for step, facts, expected in steps:
        seq += 1
        clock.complete_at_s += 0.001
        view.apply(step(seq=seq, last_seq=seq, **head, **facts))
        assert said(view, gate=gate) is expected, (step.__name__, facts)
        assert said(view, gate=gate, member_id="m-1") is None


@pytest.mark.parametrize(("seq", "active"), [(9, 2), (10, 2), (11, 1)])
def test_an_entry_that_the_view_has_already_changes_nothing(seq: int, active: int) -> None:
    view = campaign()
    of_entry: dict[str, Any] = {"seq": seq, "last_seq": seq, "epoch": 1, "at_ms": NOW_MS, "campaign_id": "c"}
    for _ in range(2):
        view.apply(Returned(member_id="m-1", claim_seq=9, unit_no=1, reason="returned", **of_entry))
    assert view.active == active
