from collections import Counter

import orjson
import pytest

from loadtest.generator.http_parse import Answer
from loadtest.generator.notes import Notes
from loadtest.generator.result import Circumstances, conclude, quantiles, summary_lines
from loadtest.generator.tally import Tally

MS = 1_000_000


def circumstances(members: int) -> Circumstances:
    return Circumstances(
        run="r1",
        url="http://x",
        campaign="c1",
        members=members,
        taps=1,
        processes=1,
        schedule="ramp",
        spread_s=1.0,
        connections_wanted=2,
        opens_at_ms=1_000,
        start_ms=1_000.0,
        clock_offset_ms=0.0,
        clock_error_ms=0.0,
        rtt_ms=0.1,
    )


def answer(status: int, body: bytes = b"{}") -> Answer:
    return Answer(status, b"", body, len(body), False)


def small_rush() -> Tally:
    notes = Notes(4)
    sold_out = answer(409, b'{"code":"sold-out"}')
    for task, heard, at_ms in ((0, answer(201), 5), (1, answer(200), 120), (2, sold_out, 130), (3, sold_out, 1_250)):
        tasks = notes.note(heard).tasks
        assert tasks is not None
        tasks.append(task)
        notes.answered_ns[task] = at_ms * MS
    notes.sendings.append((0, 4, 2 * MS))
    notes.retries["overloaded"] += 1
    notes.answers[0] += 1
    notes.sent.update({0: 4, 1: 1})
    return notes.count([0, 0, 0, 1_000 * MS], 0, 0, "deadline")


def test_the_figures_are_those_of_the_contract() -> None:
    result = conclude(small_rush(), circumstances(4))
    assert (result.won, result.held, result.refused, result.errors) == (1, 1, {"sold-out": 2}, 0)
    assert (result.sold_out_after_ms, result.last_win_after_ms, result.all_answered_after_ms) == (130.0, 5.0, 1_250.0)
    assert (result.requests, result.sent_per_s_peak, result.retries) == (5, 40, {"overloaded": 1})


def test_latency_counts_from_the_intended_moment() -> None:
    assert conclude(small_rush(), circumstances(4)).latency_ms["refused"].max == 250.0


def test_the_timeline_counts_every_answer_and_has_no_gaps() -> None:
    timeline = conclude(small_rush(), circumstances(4)).timeline
    assert [moment.at_ms for moment in timeline] == list(range(0, 1_300, 100))
    assert (timeline[0].grants, timeline[0].answers, timeline[1].answers, timeline[12].answers) == (1, 2, 2, 1)


def test_a_member_without_an_answer_is_an_error_and_then_not_all_were_answered() -> None:
    notes = Notes(1)
    result = conclude(notes.count([0], 0, 1, "deadline"), circumstances(1))
    assert (result.errors, result.errors_by_reason, result.all_answered_after_ms) == (1, {"deadline": 1}, None)


def test_books_that_do_not_balance_are_not_reported() -> None:
    with pytest.raises(AssertionError):
        conclude(small_rush(), circumstances(5))


def test_two_processes_add_up() -> None:
    total = Tally()
    for tally in (small_rush(), small_rush()):
        total.add(Tally.from_document(orjson.loads(orjson.dumps(tally.to_document()))))
    result = conclude(total, circumstances(8))
    assert (result.won, result.refused, result.retries) == (2, {"sold-out": 4}, {"overloaded": 2})
    assert total.sent == Counter({0: 8, 1: 2})


def test_an_answer_of_another_status_with_the_same_body_is_judged_anew() -> None:
    notes = Notes(1)
    body = b'{"code":"sold-out"}'
    assert notes.note(answer(409, body)).tasks is not None
    assert notes.note(answer(503, body)).tasks is None


def test_the_result_is_json_and_words() -> None:
    result = conclude(small_rush(), circumstances(4))
    document = orjson.loads(orjson.dumps(result.to_document()))
    assert document["members"] == 4
    assert document["latency_ms"]["won"] == {"p50": 5.0, "p99": 5.0, "max": 5.0}
    assert any("2 sold-out" in line for line in summary_lines(result))


def test_quantiles_of_nothing_are_none() -> None:
    assert quantiles([]).p99 is None
    assert quantiles(list(range(1_000, 101_000, 1_000))).p99 == 100.0
