"""Every goal of a rehearsal is missed when it should be, and the load is as large as the audience."""

from typing import Any

import pytest

from grab_service.cli import rehearsing
from grab_service.cli.errors import CommandError
from grab_service.demo import crowd
from grab_service.embedded import binaries
from grab_service.embedded.errors import NoServerBinaryError
from grab_service.rehearsal.audience import Audience, Standing
from grab_service.rehearsal.goals import Expected, Limits, judged
from grab_service.rehearsal.load import SPREAD_S, TAPS_MAX, Load, Wishes, size, who_taps
from grab_service.rehearsal.original import RehearsalError

LOAD = Load(eligible=90, others=10, spread_s=1.0, connections=5)
EXPECTED = Expected(20, 20)
FIGURES: dict[str, Any] = {
    "members": 100,
    "won": 20,
    "errors": 0,
    "refused": {"sold-out": 72, "not-eligible": 8},
    "invariants": {"I1 NoOversell": True, "I7 TurnedAway": True},
    "distinct_winners": 20,
    "duplicate_units": 0,
    "redis_equals_postgres": True,
    "latency_ms": {"won": {"p99": 3.0}, "held": {"p99": None}, "refused": {"p99": 7.0}},
    "last_win_after_ms": 400.0,
    "drained_after_ms": 460.0,
    "late_ms": 0.0,
}


def missed(load: Load = LOAD, expected: Expected = EXPECTED, **figures: Any) -> list[str]:
    return [goal.name for goal in judged({**FIGURES, **figures}, load, expected, Limits()) if not goal.met]


def test_a_rush_as_it_should_be_misses_nothing() -> None:
    assert missed() == []


@pytest.mark.parametrize(
    ("figures", "name"),
    [
        ({"invariants": {"I1 NoOversell": False, "I7 TurnedAway": True}}, "no invariant broken"),
        ({"won": 21, "distinct_winners": 21}, "every unit won, and no other"),
        ({"won": 19, "distinct_winners": 19}, "every unit won, and no other"),
        ({"errors": 1}, "everybody answered"),
        ({"invariants": {"I1 NoOversell": True}}, "turned away rightly"),
        ({"redis_equals_postgres": False}, "Postgres agrees"),
        ({"distinct_winners": 19}, "Postgres agrees"),
        ({"duplicate_units": 1}, "Postgres agrees"),
        ({"latency_ms": {"won": {"p99": 3.0}, "refused": {"p99": 1000.1}}}, "99 of 100 answered"),
        ({"latency_ms": {}}, "99 of 100 answered"),
        ({"last_win_after_ms": 2000.1, "drained_after_ms": 2001.0}, "last unit won"),
        ({"drained_after_ms": 5400.1}, "on record after the last"),
        ({"drained_after_ms": None}, "on record after the last"),
    ],
)
def test_whatever_is_not_as_it_should_be_misses_its_goal(figures: dict[str, Any], name: str) -> None:
    assert missed(**figures) == [name]


def test_nothing_checked_is_no_pass() -> None:
    assert "no invariant broken" in missed(invariants={})


def test_the_last_unit_has_no_goal_where_there_are_fewer_members_than_units() -> None:
    few = Load(eligible=20, others=0, spread_s=1.0, connections=5)
    late = {"members": 20, "refused": {}, "last_win_after_ms": 9000.0, "drained_after_ms": 9001.0}
    assert missed(load=few, expected=Expected(20, 20, sells_out=False), **late) == []
    assert missed(load=few, expected=Expected(20, 20), **late) == ["last unit won"]


def test_a_later_release_leaves_room_between_least_and_most() -> None:
    assert missed(expected=Expected(15, 25)) == []
    assert missed(expected=Expected(21, 25)) == ["every unit won, and no other"]


def test_the_load_is_as_large_as_the_audience() -> None:
    counts = {Standing.ELIGIBLE: 100_000, Standing.NOT_ELIGIBLE: 8_000, Standing.BLOCKED: 2_000, Standing.UNKNOWN: 500}
    load = size(counts, Wishes())
    assert (load.eligible, load.others, load.spread_s) == (100_000, 1_000, SPREAD_S)
    assert size(counts, Wishes(eligible=10, others=0)).taps == 10


def test_a_larger_audience_is_given_longer_and_is_bounded() -> None:
    load = size({Standing.ELIGIBLE: 900_000}, Wishes())
    assert load.taps == TAPS_MAX
    assert load.spread_s > SPREAD_S
    with pytest.raises(RehearsalError, match="more than can be copied"):
        size({Standing.ELIGIBLE: 1_000_001}, Wishes())


@pytest.mark.parametrize("counts", [{}, {Standing.UNKNOWN: 3}, {Standing.BLOCKED: 3}])
def test_an_audience_of_nobody_is_refused(counts: dict[Standing, int]) -> None:
    with pytest.raises(RehearsalError):
        size(counts, Wishes())


def test_the_same_members_tap_every_time() -> None:
    audience = Audience(eligible=[f"r-{n}" for n in range(100)], barred=[(f"b-{n}", Standing.BLOCKED) for n in range(50)])
    some = Load(eligible=20, others=5, spread_s=1.0, connections=5)
    chosen = who_taps(audience, some)
    assert chosen == who_taps(audience, some)
    assert (len(set(chosen)), sum(one.startswith("b-") for one in chosen)) == (25, 5)


def test_without_servers_to_start_nothing_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_here() -> None:
        raise NoServerBinaryError("No program found for Valkey.", "Set REDIS_URL.")

    monkeypatch.setattr(binaries, "find_valkey", none_here)
    with pytest.raises(CommandError) as refused:
        rehearsing.rehearse("n4bv82kq7d", yes=True)
    assert "starts servers of its own" in refused.value.failure.what
    assert "grab-service[embedded]" in refused.value.failure.hint
    assert "REDIS_URL" not in refused.value.failure.hint, "a rehearsal takes no server that is named"


def test_without_the_load_testers_tools_it_says_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crowd, "tools_are_here", lambda: False)
    with pytest.raises(CommandError, match="tools are not installed"):
        rehearsing.rehearse("n4bv82kq7d", yes=True)
