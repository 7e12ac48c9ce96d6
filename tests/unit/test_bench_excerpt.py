"""The demo's output in the README is the end of one demo, whole and exact."""

import os
import re
from pathlib import Path

import pytest

from bench import excerpt, machine
from bench.excerpt import BARS_MAX, BEGIN, END, ExcerptError
from tests.unit.test_demo_report import report_of

README = Path(__file__).parents[2] / "README.md"
VERSIONS = {"python": "3.11.7", "valkey": "9.1.2", "postgres": "18.6"}


def labels(block: str) -> list[str]:
    return re.findall(r"^│(\S[^│]*?) *│", block, re.MULTILINE)


def test_the_block_says_who_shares_the_cores_and_shows_the_table_and_the_first_bars(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text(f"before\n\n{BEGIN}\nold\n{END}\n\nafter\n")
    timeline = [{"at_ms": 100 * number, "grants": 1, "answers": 9} for number in range(30)]
    report = {**report_of(timeline=timeline), "versions": VERSIONS}
    excerpt.write(report, page)
    before, block, after = re.split(f"{BEGIN}|{END}", page.read_text())
    assert (before, after) == ("before\n\n", "\n\nafter\n")
    assert f"on {os.cpu_count()} cores (" in block
    shared = "All of it shares these cores: the service (1 worker), the ledger, Valkey, PostgreSQL, and the crowd of 100, which"
    assert shared in block.replace("\n", " ")
    assert labels(block)[0] == "won"
    bars = block.partition("┘\n")[2].splitlines()
    assert len([line for line in bars if "answers" in line]) == BARS_MAX
    assert "   …" in bars
    assert block.count("```") == 2
    assert all(line == line.rstrip() for line in block.splitlines())


def test_a_run_that_was_not_exact_is_not_shown(tmp_path: Path) -> None:
    with pytest.raises(ExcerptError, match="was not exact: 1 members heard no final answer"):
        excerpt.write({**report_of(errors=1), "versions": VERSIONS}, tmp_path / "README.md")


def test_a_busy_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "busy_share", lambda _: 0.05)
    excerpt.see_that_it_is_quiet()
    monkeypatch.setattr(machine, "busy_share", lambda _: 0.4)
    with pytest.raises(ExcerptError, match="Others use 40% of the processors"):
        excerpt.see_that_it_is_quiet()


def test_the_readme_shows_what_a_report_has_today() -> None:
    block = re.split(f"{BEGIN}|{END}", README.read_text(encoding="utf-8"))[1]
    of_a_report = labels(excerpt.excerpt({**report_of(), "versions": VERSIONS}))
    without_checks = [label for label in of_a_report if not re.match(r"I\d+ |latency, ", label)]
    assert [label for label in labels(block) if label in without_checks] == without_checks
    assert "110,000 members, 3,000 units" in block
