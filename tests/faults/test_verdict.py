"""The verdict sees what it is there to see: each kind of harm, done on paper, is counted as what it is."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from loadtest.clock import ServerClock
from loadtest.receipts import ReceiptBook, clock_line, header_line
from loadtest.service import CampaignFacts, Release
from loadtest.verifier.truth import TruthClaim
from tests.faults.verdict import SeriesVerdict, judge

FACTS = CampaignFacts("c", 1_000, 10_000_000, 3, (Release(1_000, 3),), 1)
GREEN: dict[str, Any] = {"redis_equals_postgres": True, "invariants": {}}


def claim(number: int, **changes: Any) -> TruthClaim:
    row = TruthClaim(f"c.1.{number}", "c", f"m{number}", "fulfilled", number, number, 2_000 + number, f"CODE-{number}", "")
    return replace(row, **changes)


def receipts_of(folder: Path, told: list[TruthClaim]) -> Path:
    path = folder / "crowd.receipts"
    lines = [header_line({"run": "r", "campaign": "c"}), clock_line(ServerClock(0, 1_000, 0))]
    for number, one in enumerate(told, start=1):
        at_us = one.granted_at_ms * 1_000
        body = {
            "claim_id": one.claim_id,
            "campaign_id": "c",
            "member_id": one.member_id,
            "unit_no": one.unit_no,
            "seq": one.seq,
            "granted_at_ms": one.granted_at_ms,
            "voucher": {"code": one.code},
        }
        lines.append(b"S\t%d\t%b\t1\t%d\n" % (number, one.member_id.encode(), at_us - 100))
        lines.append(b"A\t%d\t%d\t201\t\t%b\n" % (number, at_us + 900, orjson.dumps(body)))
    with ReceiptBook(path) as book:
        book.append(lines)
    return path


def figures(verdict: SeriesVerdict) -> tuple[int, int, int, int]:
    return verdict.acknowledged, verdict.lost, verdict.oversold, verdict.undersold


ALL = [claim(1), claim(2), claim(3)]


def test_a_sound_sale_is_sound(tmp_path: Path) -> None:
    verdict = judge(receipts_of(tmp_path, ALL), FACTS, ALL, GREEN, asked=5)
    assert (figures(verdict), verdict.broken) == ((3, 0, 0, 0), [])


def test_a_claim_that_postgres_does_not_have_is_lost_and_its_unit_undersold(tmp_path: Path) -> None:
    verdict = judge(receipts_of(tmp_path, ALL), FACTS, ALL[:2], GREEN, asked=5)
    assert figures(verdict) == (3, 1, 0, 1)


def test_a_claim_that_is_another_one_in_postgres_is_lost(tmp_path: Path) -> None:
    truth = [*ALL[:2], claim(3, member_id="m4", code="CODE-X")]
    told = [*ALL, claim(3, member_id="m4", code="CODE-X")]
    assert figures(judge(receipts_of(tmp_path, told), FACTS, truth, GREEN, asked=5))[:2] == (3, 1)


def test_a_unit_too_many_and_a_unit_twice_are_oversold(tmp_path: Path) -> None:
    one_more = [*ALL, claim(4)]
    assert judge(receipts_of(tmp_path, one_more), FACTS, one_more, GREEN, asked=5).oversold > 0
    (tmp_path / "crowd.receipts").unlink()
    twice = [*ALL[:2], claim(3, unit_no=2)]
    assert judge(receipts_of(tmp_path, twice), FACTS, twice, GREEN, asked=5).oversold > 0


def test_units_left_over_are_undersold_only_if_enough_members_had_asked(tmp_path: Path) -> None:
    receipts = receipts_of(tmp_path, ALL[:2])
    assert judge(receipts, FACTS, ALL[:2], GREEN, asked=5).undersold == 1
    assert judge(receipts, FACTS, ALL[:2], GREEN, asked=2).undersold == 0


def test_a_member_who_believes_in_a_lost_claim_does_not_ask_again_so_no_unit_waits_for_them(tmp_path: Path) -> None:
    receipts = receipts_of(tmp_path, ALL)
    assert figures(judge(receipts, FACTS, ALL[:1], GREEN, asked=3)) == (3, 2, 0, 0)
    assert figures(judge(receipts, FACTS, ALL[:1], GREEN, asked=4)) == (3, 2, 0, 1)


def test_an_audit_that_is_red_breaks_the_verdict(tmp_path: Path) -> None:
    red = {"redis_equals_postgres": False, "invariants": {"I6 Conserved": {"holds": False, "detail": "one unit is nowhere"}}}
    broken = judge(receipts_of(tmp_path, ALL), FACTS, ALL, red, asked=5).broken
    assert broken == ["audit: I6 Conserved: one unit is nowhere", "audit: Redis does not equal Postgres"]
