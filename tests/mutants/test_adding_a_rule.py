"""Is the page that adds a rule true?

What it says is done in a copy of the checkout, and the tests of the rules and of the audit are run there.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.mutants.laboratory import ROOT, copy_of_the_tree, run_tests

PAGE: Final = (ROOT / "docs/ADDING-A-RULE.md").read_text(encoding="utf-8")
STEP: Final = re.compile(
    r"^<!-- (\S+?)(?:, (before|instead of) `([^`]+)`)? -->\n```[a-z]+\n(.*?)^```$", re.MULTILINE | re.DOTALL
)
TESTS: Final = (
    *("tests/lua/test_headers.py", "tests/lua/test_rules.py", "tests/lua/test_walks.py", "tests/lua/test_reads.py"),
    *("tests/lua/test_publish_campaign.py", "tests/lua/test_half_done.py", "tests/lua/test_before.py"),
    # Minutes, because the rule's own faults come last: with `make mutants`.
    *(("tests/lua/test_mutants.py::test_every_mutant_is_found_on_a_walk",) if os.environ.get("GRAB_MUTANTS") == "all" else ()),
    *("tests/unit/test_openapi.py", "tests/unit/test_problems.py"),
    "tests/integration/test_audit_corruption.py",
    "tests/integration/test_recover.py::test_the_rebuilt_cell_is_the_cell_that_was",
)
TIMEOUT_S: Final = 300


@dataclass(frozen=True, slots=True)
class Step:
    """One file of the page: a new one, or lines that stand before, or instead of, the line that begins so."""

    path: str
    how: str
    line: str
    text: str

    def take(self, tree: Path) -> None:
        file = tree / self.path
        if not self.how:
            file.write_text(self.text, encoding="utf-8")
            return
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        (place,) = [number for number, line in enumerate(lines) if line.startswith(self.line)]
        lines[place : place + (self.how == "instead of")] = [self.text]
        file.write_text("".join(lines), encoding="utf-8")


def steps() -> Iterator[Step]:
    return (Step(*found) for found in STEP.findall(PAGE))


def test_the_steps_are_those_of_the_table_and_every_block_of_code_is_one() -> None:
    table = re.findall(r"^\| `([^`]+)` \|", PAGE, re.MULTILINE)
    assert [path.replace("<rule>", "repeats") for path in table] == [step.path for step in steps()]
    assert PAGE.count("\n```") == 2 * len(table)


@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT_S + 30)
def test_the_rule_of_the_page_is_whole() -> None:
    with copy_of_the_tree() as tree:
        for step in steps():
            step.take(tree)
        outcome = run_tests(tree, TESTS, timeout_s=TIMEOUT_S, stop_at_first=False)
    assert not outcome.failures, outcome.said[-3000:]
    assert outcome.passed > 300, outcome.said[-3000:]
