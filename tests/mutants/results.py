"""The record of which test found which mutant."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from tests.harness.results import Results
from tests.mutants.laboratory import Outcome
from tests.mutants.mutant import Mutant

RESULTS: Final = Results(Path("var/mutants/results.jsonl"))


@dataclass(frozen=True, slots=True)
class Found:
    """The result of one mutant; `test` is empty if it survived."""

    name: str
    test: str
    why: str
    at_s: int

    @classmethod
    def of(cls, mutant: Mutant, outcome: Outcome) -> Self:
        """By the first test that judged."""
        answers = [failure for failure in outcome.failures if failure.is_answer]
        test, why = (answers[0].test, answers[0].why) if answers else ("", "")
        return cls(mutant.name, test, why[:300], int(time.time()))
