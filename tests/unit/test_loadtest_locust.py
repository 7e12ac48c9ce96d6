"""The parts of a locust run, without locust: arrivals, requests of cheaters, and the verdict on the run."""

import random
from itertools import islice
from pathlib import Path

import pytest

from loadtest import clock
from loadtest.behaviour.course import Course, ShapeName
from loadtest.behaviour.forged import forgeries
from loadtest.behaviour.outcomes import Outcomes
from loadtest.behaviour.recorder import Recorder
from loadtest.clock import ServerClock
from loadtest.receipts import read_receipts
from loadtest.verifier.service_figures import Books, Counters, read_counters
from loadtest.verifier.verdict import RunVerdict, as_csv

OWN = "2.k1.1795297459.m-000001.org-001..1795254259.qpRDxpegkXNVB7aLksXdhOT9"
OTHERS = "2.k1.1795297459.m-000002.org-002..1795254259.718rEi7j4RtyXENN7cTBms4t"
METRICS = """
# HELP grab_answers_total Answers
grab_answers_total{outcome="sold_out"} 7.0
grab_answers_total{outcome="won"} 3.0
grab_gate_refusals_total{outcome="sold_out"} 5.0
grab_answers_created{outcome="won"} 1.7e+09
grab_waiting 2.0
ledger_lag_seconds 0.041
python_info{version="3.11"} 1.0
"""


def course(shape: ShapeName, opens_in_s: float = -1.0) -> Course:
    return Course(shape, 90, 10.0, None, waves=3, wave_every_s=5.0, ramp_s=30.0, opens_in_s=lambda: opens_in_s)


def test_a_spike_calls_everybody_at_once() -> None:
    assert course(ShapeName.SPIKE).arrived(0) == 90


@pytest.mark.parametrize(("opens_in_s", "arrived"), [(8.0, 30), (0.0, 30), (-4.9, 30), (-5.0, 60), (-10.1, 90), (-99.0, 90)])
def test_waves_come_one_after_the_other_from_the_opening_on(opens_in_s: float, arrived: int) -> None:
    assert course(ShapeName.WAVES, opens_in_s).arrived(3) == arrived


def test_slow_arrivals_rise_to_all_of_them_and_never_fall() -> None:
    arrived = [course(ShapeName.SLOW_ARRIVALS).arrived(second) for second in range(40)]
    assert arrived == sorted(arrived)
    assert arrived[0] > 0
    assert arrived[10] < arrived[20] < 90
    assert arrived[29] == arrived[-1] == 90


def test_no_forgery_is_a_good_pass_and_each_kind_has_its_turn() -> None:
    tried = list(islice(forgeries(OWN, OTHERS, random.Random(1)), 300))
    assert not {bearer for _, bearer in tried} & {OWN, OTHERS}
    assert len({kind for kind, _ in tried}) == 6
    assert {bearer.partition("-")[0] for kind, bearer in tried if kind == "made to last"} == {"2.k1.1826919859.m"}


def test_a_pass_of_another_make_is_forged_all_the_same() -> None:
    tried = list(islice(forgeries("opaque", "opaque2", random.Random(1)), 50))
    assert {kind for kind, _ in tried} == {"with a letter changed", "cut short", "lengthened", "that is none"}


def test_counters_are_read_with_those_of_the_gate_among_them() -> None:
    counters = read_counters(METRICS)
    assert counters.answers == {"sold-out": 12, "won": 3}
    assert counters.by_gate == {"sold-out": 5}
    assert counters.gauges == {"grab_waiting": 2.0, "ledger_lag_seconds": 0.041}


def test_what_was_counted_before_the_run_does_not_count() -> None:
    assert Counters({"won": 5, "held": 1}).since(Counters({"won": 3})).answers == {"won": 2, "held": 1}
    assert Counters({"won": 2}).since(Counters({"won": 3})).answers == {"won": 2}, "a service that was started anew"


def verdict(**gains: int) -> RunVerdict:
    outcomes = Outcomes()
    outcomes.add({"answers": {"won": 3}, "gains": gains})
    return RunVerdict(outcomes.to_document())


def books(*, holds: bool = True, equal: bool = True, held: int = 3) -> Books:
    audit = {"invariants": {"I6 Conserved": {"holds": holds}}, "redis_equals_postgres": equal}
    return Books(audit, 0.1, redis_active=3, postgres_held=held, available=0)


def test_a_run_fails_by_a_gain_by_the_audit_and_by_claims_that_are_missing() -> None:
    good = verdict()
    good.books, good.claims = books(), 3
    assert good.faults == []
    assert verdict(luck=2).faults == ["cheaters gained: luck, 2 times"]
    for bad in (books(holds=False), books(equal=False), books(held=4)):
        seen = verdict()
        seen.books, seen.claims = bad, 3
        assert len(seen.faults) == 1
        assert any(line.startswith("FAULT: ") for line in seen.lines())
        assert seen.to_document()["passed"] is False


def test_the_table_is_a_csv_that_a_spreadsheet_reads() -> None:
    seen = verdict()
    seen.counters = Counters({"won": 3})
    assert '"answered: won","3","3"\r\n' in as_csv(seen.rows())


def test_what_is_recorded_is_read_back_with_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "synchronise", lambda *_: ServerClock(0, 10, 20))
    written = Recorder(tmp_path / "receipts", "http://127.0.0.1:9", "c1")
    first, second, third = written.asks("m1", 1, None), written.asks("m1", 2, "k-m9"), written.asks("m2", 1, None)
    written.hears(first, 409, "sold-out", b"{}")
    written.hears(second, 201, "", b'{"a":\n1}')
    written.loses(third)
    [path] = (tmp_path / "receipts").iterdir()
    attempts = read_receipts(path).attempts
    assert [attempts[number].key for number in (first, second, third)] == [None, "k-m9", None]
    assert [attempts[number].status for number in (first, second, third)] == [409, 201, 0]
    assert (attempts[first].body, attempts[second].body) == (b"", b'{"a": 1}')
    assert attempts[first].sent_at_us <= attempts[first].answered_at_us
