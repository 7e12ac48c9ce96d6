"""The demo's report names every failure, and its bars show the figures of the timeline."""

from dataclasses import replace
from typing import Any

import pytest

from grab_service.demo.crowd import RushOutcome
from grab_service.demo.report import build_report, failures, moments_of
from grab_service.demo.rush import RushPlan
from grab_service.demo.timeline import Moment, bars

PLAN = RushPlan(members=100, stock=10)
CHECK = {"holds": True, "checked": True, "detail": "", "counterexamples": []}
STAMPEDE: dict[str, Any] = {
    "members": 100,
    "won": 9,
    "held": 1,
    "refused": {"sold-out": 90},
    "errors": 0,
    "sold_out_after_ms": 12.0,
    "last_win_after_ms": 11.0,
    "all_answered_after_ms": 30.0,
    "latency_ms": {"won": {"p50": 1.0, "p99": 2.0, "max": 3.0}},
    "retries": {},
    "timeline": [{"at_ms": 0, "grants": 10, "answers": 60}, {"at_ms": 100, "grants": 0, "answers": 40}],
    "connections": 5,
    "requests": 101,
    "sent_per_s_peak": 1000,
}
OUTCOME = RushOutcome(
    campaign_id="c",
    stampede=STAMPEDE,
    verified={"I1 NoOversell": CHECK, "I8 WindowOnly": {**CHECK, "checked": 0}},
    audit={"invariants": {"I1 NoOversell": CHECK, "I6 Conserved": CHECK}, "redis_equals_postgres": True, "seq": 9},
    distinct_winners=10,
    duplicate_units=0,
    postgres_claims=10,
    drained_after_ms=20.0,
)


def report_of(outcome: RushOutcome = OUTCOME, **stampede: Any) -> dict[str, Any]:
    return build_report(PLAN, replace(outcome, stampede={**STAMPEDE, **stampede}), {"valkey": "9.1"}, 1)


def test_an_exact_rush_has_no_failure_and_names_only_what_was_checked() -> None:
    report = report_of()
    assert failures(report) == []
    assert report["won"] == 10
    assert report["invariants"] == {"I1 NoOversell": True, "I6 Conserved": True}
    assert {"machine", "versions", "latency_ms", "drained_after_ms", "postgres_claims"} <= report.keys()


def test_an_invariant_holds_only_if_all_who_checked_it_say_so() -> None:
    broken = {**CHECK, "holds": False}
    for outcome in (
        replace(OUTCOME, verified={"I1 NoOversell": broken}),
        replace(OUTCOME, audit={**OUTCOME.audit, "invariants": {"I1 NoOversell": broken}}),
    ):
        report = report_of(outcome)
        assert report["invariants"]["I1 NoOversell"] is False
        assert failures(report) == ["I1 NoOversell does not hold"]


@pytest.mark.parametrize(
    ("outcome", "stampede", "words"),
    [
        (OUTCOME, {"won": 10}, "11 won, 10 should have"),
        (OUTCOME, {"won": 8}, "9 won, 10 should have"),
        (OUTCOME, {"errors": 3}, "3 members heard no final answer"),
        (replace(OUTCOME, postgres_claims=9), {}, "Postgres holds 9 claims"),
        (replace(OUTCOME, duplicate_units=1), {}, "1 units were given out twice"),
        (replace(OUTCOME, audit={**OUTCOME.audit, "redis_equals_postgres": False}), {}, "Redis and Postgres differ"),
    ],
)
def test_whatever_is_off_is_a_failure(outcome: RushOutcome, stampede: dict[str, Any], words: str) -> None:
    found = failures(report_of(outcome, **stampede))
    assert len(found) == 1
    assert words in found[0]


def test_every_tenth_of_a_second_has_a_bar_with_its_figures() -> None:
    lines = bars(moments_of(report_of()))
    assert [line[:36].split() for line in lines] == [
        ["0.0", "s", "10", "won", "60", "answers"],
        ["0.1", "s", "0", "won", "40", "answers"],
    ]
    assert lines[0].count("▇") > 0
    assert "▇" not in lines[1]
    assert lines[1].count("·") < lines[0].count("▇") + lines[0].count("·")


def test_a_long_rush_is_cut_in_the_terminal_and_says_so() -> None:
    lines = bars([Moment(100 * place, 0, 1) for place in range(100)])
    assert "76 more" in lines[-1]
