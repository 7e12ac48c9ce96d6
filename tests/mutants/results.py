"""Where does it stay which test found which mutant?"""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

import orjson

from tests.mutants.laboratory import Outcome
from tests.mutants.mutant import Mutant

RESULTS: Final = Path("var/mutants/results.jsonl")
LUA_RESULTS: Final = Path("var/mutants/lua.json")
"""By mutant of the Lua, the walk on which it was found, and the invariants that it broke there."""


@dataclass(frozen=True, slots=True)
class Found:
    """What became of one mutant; `test` is empty if it survived."""

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


def keep(found: Found, path: Path = RESULTS) -> None:
    """Append to the results."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(orjson.dumps(asdict(found)) + b"\n")


def newest(path: Path = RESULTS) -> dict[str, dict[str, Any]]:
    """The newest result of each mutant, by its name."""
    lines = path.read_bytes().splitlines() if path.exists() else []
    return {result["name"]: result for result in map(orjson.loads, lines)}
