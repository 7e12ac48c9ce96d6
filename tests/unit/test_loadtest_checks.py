"""Every lie is caught by the check made for it, and an honest sale passes."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from loadtest.clock import ServerClock
from loadtest.receipts import Attempt, ReceiptFile
from loadtest.service import CampaignFacts, Release
from loadtest.verifier.barred import BarredError, read_barred, turned_away
from loadtest.verifier.checks import CHECKS, verify
from loadtest.verifier.evidence import Evidence, RunFinding
from loadtest.verifier.truth import TruthClaim

OPENS_MS = 1_000_000
CLOSES_MS = OPENS_MS + 60_000
STOCK = 3
FACTS = CampaignFacts("c1", OPENS_MS, CLOSES_MS, STOCK, (Release(OPENS_MS, STOCK),), 1)
# The server's clock is exactly the generator's, known to half a millisecond.
CLOCK = ServerClock(0, 500, 900)

I1, I2, I3, I4, I5, I7, I8, I10, WITNESS = CHECKS


class Sale:
    """A small sale whose records a test may falsify: members m1, m2, … ask one after the other, 10 ms apart."""

    def __init__(self, run: str = "r1") -> None:
        self.file = ReceiptFile(Path(f"{run}.receipts"), facts={"run": run, "campaign": "c1"}, clocks=[CLOCK])
        self.truth: list[TruthClaim] = []
        self.attempts: list[Attempt] = []
        self.facts = FACTS

    def claim(self, number: int, member: str = "", *, at_ms: int = 0, state: str = "fulfilled") -> TruthClaim:
        return TruthClaim(
            claim_id=f"k{number}",
            campaign_id="c1",
            member_id=member or f"m{number}",
            state=state,
            unit_no=number,
            seq=number,
            granted_at_ms=at_ms or OPENS_MS + 10 * number,
            code=f"CODE{number}",
            idempotency_key="",
        )

    def ask(self, member: str, at_ms: int, status: int, code: str = "", body: bytes = b"") -> Attempt:
        sent_us = (OPENS_MS + at_ms) * 1000
        answered_us = sent_us + 5_000 if status else 0
        attempt = Attempt(self.file, member, 1, sent_us, None, answered_us, status, code, body)
        self.attempts.append(attempt)
        return attempt

    def win(self, number: int, member: str = "", *, status: int = 201, at_ms: int | None = None) -> None:
        claim = self.claim(number, member)
        if status == 201:
            self.truth.append(claim)
        self.ask(claim.member_id, 10 * number - 3 if at_ms is None else at_ms, status, body=body_of(claim))

    def lose(self, member: str, at_ms: int, code: str = "sold-out") -> None:
        self.ask(member, at_ms, 410 if code == "ended" else 409, code)

    def evidence(self) -> Evidence:
        return Evidence(self.facts, tuple(self.truth), tuple(self.attempts))

    def findings(self) -> dict[str, RunFinding]:
        return verify(self.evidence())

    def broken(self) -> set[str]:
        return {name for name, finding in self.findings().items() if not finding.holds}


def body_of(claim: TruthClaim, **changes: object) -> bytes:
    return orjson.dumps(
        {
            "claim_id": claim.claim_id,
            "campaign_id": claim.campaign_id,
            "member_id": claim.member_id,
            "state": claim.state,
            "unit_no": claim.unit_no,
            "seq": claim.seq,
            "granted_at_ms": claim.granted_at_ms,
            "voucher": {"code": claim.code},
            **changes,
        }
    )


@pytest.fixture
def sale() -> Sale:
    """Three units, five members, all honest; one winner asks again, one asks too early, one request is lost."""
    sale = Sale()
    sale.ask("m1", -20, 409, "not-open-yet")
    for number in (1, 2, 3):
        sale.win(number)
    sale.ask("m4", 35, 0)
    sale.lose("m4", 60)
    sale.lose("m5", 61)
    sale.win(2, status=200, at_ms=100)
    return sale


def test_an_honest_sale_passes_every_check(sale: Sale) -> None:
    findings = sale.findings()
    assert {name for name, finding in findings.items() if not finding.holds} == set()
    assert all(finding.checked > 0 for finding in findings.values())


Falsified = dict[str, tuple[str, Callable[[Sale], object]]]


def on_record(at: int, **changes: object) -> Callable[[Sale], object]:
    """Somebody has changed a claim in the ledger."""

    def change(sale: Sale) -> None:
        sale.truth[at] = replace(sale.truth[at], **changes)  # type: ignore[arg-type]

    return change


def told(member: str, status: int, number: int, **changes: object) -> Callable[[Sale], object]:
    """A member is told of a claim of that number, when all is over."""
    return lambda sale: sale.ask(member, 200, status, body=body_of(sale.claim(number), **{"member_id": member, **changes}))


LIES: Falsified = {
    "one too many in the ledger": (I1, lambda sale: sale.truth.append(replace(sale.claim(4), unit_no=3))),
    "a unit left while members were turned away": (I2, lambda sale: sale.truth.pop()),
    "an acknowledged claim that is not in the ledger": (I3, lambda sale: sale.truth.pop()),
    "a ledger that has another unit": (I3, on_record(0, unit_no=9)),
    "a ledger that has another seq": (I3, on_record(0, seq=9)),
    "a ledger that has another time": (I3, on_record(0, granted_at_ms=OPENS_MS + 11)),
    "a ledger that has another code": (I3, on_record(0, code="OTHER")),
    "two claims for one member": (I4, told("m1", 200, 3)),
    "the same claim told differently": (I4, told("m1", 200, 1, unit_no=2)),
    "the same claim with another code": (I4, told("m1", 200, 1, voucher={"code": "OTHER"})),
    "the same claim won twice": (I4, told("m1", 201, 1)),
    "a holder who hears that it is over": (I4, lambda sale: sale.lose("m1", 200, "ended")),
    "more claims in the ledger than the limit": (I4, on_record(1, member_id="m1")),
    "a unit in two active claims": (I5, on_record(1, unit_no=1)),
    "a unit told to two": (I5, told("m5", 201, 4, unit_no=1)),
    "a unit that does not exist": (I5, on_record(1, unit_no=STOCK + 1)),
    "a claim that stands twice in the ledger": (I5, lambda sale: sale.truth.append(sale.truth[0])),
    "a winner who never asked": (I7, on_record(2, member_id="stranger")),
    "an answer that belongs to someone else": (I7, told("m5", 200, 1, member_id="m1")),
    "a claim of another campaign": (I7, on_record(0, campaign_id="c2")),
    "a win a millisecond before the opening": (I8, on_record(0, granted_at_ms=OPENS_MS - 1)),
    "a win at the closing": (I8, on_record(0, granted_at_ms=CLOSES_MS)),
    # The third and last unit goes 30 ms after the opening; clocks are known to 0.5 ms, slack is 5 ms.
    "sold out before the last unit went": (I10, lambda sale: answered_at(sale, 24)),
    # At once: the last unit is not the question here.
    "sold out to one who was told that they hold": (I10, lambda sale: sale.lose("m1", 16)),
    "two claims with one seq": (WITNESS, on_record(1, seq=1)),
}
HONEST: Falsified = {
    "a state moved on": (I3, on_record(0, state="lapsed")),
    "a win at the opening": (I8, on_record(0, granted_at_ms=OPENS_MS)),
    "a win a millisecond before the closing": (I8, on_record(0, granted_at_ms=CLOSES_MS - 1)),
    "a claim made good for one who never asked": (I7, on_record(2, member_id="stranger", made_good=True)),
    "a claim made good at the closing": (I8, on_record(0, granted_at_ms=CLOSES_MS, made_good=True)),
    "a claim made good above the limit": (I4, on_record(1, member_id="m1", made_good=True)),
    "sold out at a time that the clocks cannot tell apart": (I10, lambda sale: answered_at(sale, 25)),
}


def answered_at(sale: Sale, at_ms: float) -> None:
    """Someone is told sold-out; sent long enough before for the view's age not to matter."""
    sale.ask("m9", int(at_ms) - 5, 409, "sold-out")


@pytest.mark.parametrize("lie", LIES)
def test_every_lie_is_caught_by_the_check_that_is_there_for_it(sale: Sale, lie: str) -> None:
    check, falsify = LIES[lie]
    falsify(sale)
    assert check in sale.broken()


@pytest.mark.parametrize("case", HONEST)
def test_what_is_no_lie_is_let_pass(sale: Sale, case: str) -> None:
    check, change = HONEST[case]
    change(sale)
    assert check not in sale.broken()


def test_every_check_is_seen_to_fail() -> None:
    assert {check for check, _ in LIES.values()} == set(CHECKS)


def test_i1_one_too_many_by_the_receipts_alone(sale: Sale) -> None:
    sale.ask("m5", 62, 201, body=body_of(sale.claim(4, "m5")))
    [example] = sale.findings()[I1].counterexamples
    assert "receipts" in example["what"]


def test_i1_a_unit_given_back_may_be_granted_again(sale: Sale) -> None:
    sale.truth[0] = replace(sale.truth[0], state="returned")
    sale.truth.append(replace(sale.claim(4), unit_no=1))
    assert I1 not in sale.broken()


def test_i1_the_second_release_is_not_sold_before_its_time(sale: Sale) -> None:
    second_ms = OPENS_MS + 25
    sale.facts = replace(FACTS, releases=(Release(OPENS_MS, 1), Release(second_ms, 2)))
    assert I1 in sale.broken()
    sale.facts = replace(FACTS, releases=(Release(OPENS_MS, 2), Release(second_ms, 1)))
    assert I1 not in sale.broken()


def test_i2_says_nothing_where_fewer_asked_than_there_are_units() -> None:
    sale = Sale()
    sale.win(1)
    finding = sale.findings()[I2]
    assert finding.holds
    assert finding.checked == 0


def test_i2_does_not_count_those_refused_for_reasons_of_their_own() -> None:
    sale = Sale()
    sale.win(1)
    for number in range(2, 10):
        sale.lose(f"m{number}", 50, "per-member-limit")
    assert sale.findings()[I2].checked == 0


def test_i2_does_not_expect_a_release_that_nobody_stayed_for(sale: Sale) -> None:
    sale.facts = replace(FACTS, total=9, releases=(Release(OPENS_MS, STOCK), Release(OPENS_MS + 90, 6)))
    assert I2 not in sale.broken()


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"null", b'"k1"', b'{"claim_id":"k1"'])
def test_i3_a_win_without_a_claim_in_it(sale: Sale, body: bytes) -> None:
    sale.ask("m5", 200, 201, body=body)
    assert I3 in sale.broken()


def test_i4_a_lapsed_claim_may_be_followed_by_another(sale: Sale) -> None:
    sale.truth[0] = replace(sale.truth[0], state="lapsed")
    again = sale.claim(4, "m1", at_ms=OPENS_MS + 199)
    sale.truth.append(replace(again, unit_no=1, code="NEW"))
    sale.ask("m1", 197, 201, body=body_of(again, unit_no=1, voucher={"code": "NEW"}))
    assert I4 not in sale.broken()


def test_i4_a_code_that_appears_after_payment_is_no_change(sale: Sale) -> None:
    sale.attempts[1].body = body_of(sale.claim(1), voucher=None)
    sale.win(1, status=200, at_ms=200)
    assert sale.broken() == set()


def test_i4_one_key_is_bound_to_one_claim_for_good(sale: Sale) -> None:
    sale.facts = replace(FACTS, limit_per_member=2)
    for attempt in sale.attempts:
        attempt.key = f"key-{attempt.member}"
    assert I4 not in sale.broken()
    sale.ask("m1", 200, 200, body=body_of(sale.claim(3, "m1"))).key = "key-m1"
    assert I4 in sale.broken()


def test_i5_a_code_is_never_issued_again_even_after_a_return(sale: Sale) -> None:
    sale.truth[0] = replace(sale.truth[0], state="returned")
    sale.truth[1] = replace(sale.truth[1], code=sale.truth[0].code)
    assert I5 in sale.broken()


def test_i7_a_request_that_may_have_arrived_is_a_request() -> None:
    sale = Sale()
    sale.ask("m1", 5, 0)
    sale.truth.append(sale.claim(1))
    assert I7 not in sale.broken()


def test_i10_a_new_release_ends_the_truth_of_sold_out(sale: Sale) -> None:
    opens_ms = OPENS_MS + 1_000
    sale.facts = replace(FACTS, total=5, releases=(Release(OPENS_MS, STOCK), Release(opens_ms, 2)))
    answered_at(sale, 1_050)  # asked 45 ms after the release: the view may still be older
    assert I10 not in sale.broken()
    answered_at(sale, 1_070)
    assert I10 in sale.broken()


def test_i10_sold_out_to_a_holder_who_was_never_told() -> None:
    sale = Sale()
    sale.ask("m1", 8, 0)
    sale.truth.append(sale.claim(1))
    sale.win(2)
    sale.win(3)
    sale.lose("m1", 60)  # within the age that a view may have
    assert I10 not in sale.broken()
    sale.lose("m1", 90)
    assert I10 in sale.broken()


def test_i10_one_whose_claim_lapsed_may_be_told_sold_out(sale: Sale) -> None:
    sale.truth[0] = replace(sale.truth[0], state="lapsed")
    sale.lose("m1", 200)
    assert I10 not in sale.broken()


def test_i10_answers_that_crossed_are_no_contradiction(sale: Sale) -> None:
    # Sent before the win's answer had arrived.
    sale.attempts[-1] = replace(
        sale.attempts[-1], member="m1", code="sold-out", status=409, sent_at_us=sale.attempts[1].sent_at_us + 1
    )
    assert "told that they hold" not in str(sale.findings()[I10].counterexamples)


def test_witness_an_order_that_the_clients_saw_otherwise(sale: Sale) -> None:
    first, third = sale.truth[0], sale.truth[2]
    sale.truth[0], sale.truth[2] = replace(first, seq=third.seq), replace(third, seq=first.seq)
    for attempt in sale.attempts:
        if attempt.status == 201 and attempt.member in {"m1", "m3"}:
            attempt.body = body_of(sale.truth[0] if attempt.member == "m1" else sale.truth[2])
    assert WITNESS in sale.broken()


def test_witness_a_claim_that_none_of_its_members_requests_can_have_won(sale: Sale) -> None:
    for code, may_have_won in (("outcome-unknown", True), ("overloaded", False), ("paused-for-recovery", False)):
        later = Sale()
        later.ask("m1", 7, 503, code)
        later.truth.append(later.claim(1))
        assert (WITNESS not in later.broken()) is may_have_won, code
    sale.attempts[1].sent_at_us = sale.attempts[1].answered_at_us + 1
    assert WITNESS in sale.broken(), "nor one that was sent after it was answered"


def test_witness_a_claim_that_was_told_of_before_anybody_can_have_won_it() -> None:
    sale = Sale()
    sale.win(1)
    sale.ask("m1", -20, 200, body=body_of(sale.claim(1)))
    assert WITNESS in sale.broken()


def test_witness_sold_out_before_somebody_asked_who_then_won(sale: Sale) -> None:
    """By the order alone, whatever the clocks say."""
    claim = replace(sale.claim(3), granted_at_ms=OPENS_MS + 1)
    sale.truth[2] = claim
    sale.attempts[3].body = body_of(claim)
    sale.attempts[3].sent_at_us += 90_000
    sale.attempts[3].answered_at_us += 90_000
    assert WITNESS in sale.broken()


def test_witness_gaps_are_fine_and_so_is_any_order_of_what_overlapped() -> None:
    sale = Sale()
    for number, seq in ((1, 70), (2, 50), (3, 60)):
        claim = replace(sale.claim(number), seq=seq)
        sale.truth.append(claim)
        sale.ask(claim.member_id, number, 201, body=body_of(claim))
    assert WITNESS not in sale.broken()


def test_witness_runs_are_compared_by_the_servers_clock() -> None:
    early, late = Sale("r1"), Sale("r2")
    early.win(3, at_ms=1)
    late.win(1, at_ms=500)
    both = Evidence(FACTS, (*early.truth, *late.truth), (*early.attempts, *late.attempts))
    assert not verify(both)[WITNESS].holds
    # The late run's clock may as well be far ahead: then nothing is certain.
    late.file.clocks = [ServerClock(-600_000, 500, 900)]
    late.file._ahead_us = None
    assert verify(both)[WITNESS].holds


def test_counterexamples_are_few_but_all_are_counted() -> None:
    finding = RunFinding()
    for number in range(20):
        finding.breach("something", number=number)
    assert (finding.found, len(finding.counterexamples)) == (20, 5)


def test_members_who_must_not_win_are_turned_away_and_nobody_else_is(tmp_path: Path) -> None:
    file = tmp_path / "barred.tsv"
    file.write_text("m8\tnot-eligible\nm9\tmember-blocked\n")
    barred = read_barred(file)
    sale = Sale()
    sale.win(1)
    sale.ask("m8", 30, 403, "not-eligible")
    sale.lose("m9", 40)
    honest = turned_away(sale.evidence(), barred)
    assert (honest.holds, honest.checked) == (True, 2)
    falsified: tuple[Callable[[Sale], object], ...] = (
        lambda one: one.win(2, "m8"),
        lambda one: one.ask("m7", 50, 403, "not-eligible"),
        lambda one: one.ask("m9", 60, 403, "not-eligible"),
        lambda one: one.truth.append(one.claim(3, "m9")),
    )
    for falsify in falsified:
        sale = Sale()
        falsify(sale)
        assert not turned_away(sale.evidence(), barred).holds


@pytest.mark.parametrize("line", ["m1", "\tnot-eligible", "m1\tsold-out"])
def test_a_line_of_the_barred_that_cannot_be_read_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "barred.tsv"
    file.write_text(f"m0\tnot-eligible\n{line}\n")
    with pytest.raises(BarredError, match="line 2"):
        read_barred(file)
