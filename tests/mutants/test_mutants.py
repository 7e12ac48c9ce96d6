"""Every guard is missed by a test when it is gone; a check that cannot fail proves nothing.

`make test` tries a handful, and holds the catalogue to the code. `make mutants` tries them all, and those of the Lua, prints
the table, and writes it into docs/GUARDS.md.
"""

import os
import re
from collections.abc import Sequence

import pytest

from tests.harness.powercut import NO_COMPILER, compiler
from tests.mutants.catalogue import MUTANTS
from tests.mutants.laboratory import ROOT, copy_of_the_tree, run_tests
from tests.mutants.mutant import Mutant
from tests.mutants.results import RESULTS, Found

ALL = os.environ.get("GRAB_MUTANTS") == "all"
TRIED = [mutant for mutant in MUTANTS if mutant.short or ALL]
TIMEOUT_S = 240
CONTROL_TIMEOUT_S = 900


def mutated(mutant: Mutant) -> str:
    return mutant.of((ROOT / mutant.path).read_text(encoding="utf-8"))


def test_no_two_mutants_are_the_same() -> None:
    assert len({(mutant.path, mutant.written, mutant.instead) for mutant in MUTANTS}) == len(MUTANTS)
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_one_change_and_the_tests_it_names_are_there(mutant: Mutant) -> None:
    """A guard that moves takes its mutant along."""
    assert mutated(mutant)
    assert mutant.found_by
    for test in mutant.found_by:
        path, _, name = test.partition("::")
        function = re.escape(name.partition("[")[0])
        source = (ROOT / path).read_text(encoding="utf-8")
        assert re.search(rf"^(async )?def {function}\(", source, re.MULTILINE), test


@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT_S + 30)
@pytest.mark.parametrize("mutant", TRIED, ids=lambda mutant: mutant.name)
def test_the_guard_is_missed(mutant: Mutant) -> None:
    if mutant.slow and compiler() is None:
        pytest.skip(NO_COMPILER)
    with copy_of_the_tree() as tree:
        mutant.apply(tree)
        outcome = run_tests(tree, mutant.found_by, timeout_s=TIMEOUT_S)
    RESULTS.keep(Found.of(mutant, outcome))
    assert outcome.failures, f"SURVIVED: without {mutant.guard}: {mutant.without}; {outcome.said[-1500:]}"
    failure = outcome.failures[0]
    assert failure.is_answer, f"{failure.test} did not judge, it broke: {failure.why[:1500]}"


@pytest.mark.slow
@pytest.mark.skipif(not ALL, reason="`make test` runs the same tests itself")
@pytest.mark.timeout(CONTROL_TIMEOUT_S + 30)
def test_with_every_guard_in_its_place_the_same_tests_pass() -> None:
    quick: Sequence[str] = list(dict.fromkeys(test for mutant in MUTANTS if not mutant.slow for test in mutant.found_by))
    with copy_of_the_tree() as tree:
        outcome = run_tests(tree, quick, timeout_s=CONTROL_TIMEOUT_S, stop_at_first=False)
    assert outcome.failures == (), outcome.failures
    assert outcome.passed >= len(quick), outcome.said[-1500:]
