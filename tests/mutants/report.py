"""`python -m tests.mutants.report`: prints which test misses which guard, and writes the lists into docs/GUARDS.md.

A mutant that was not tried this time keeps its line.
"""

from pathlib import Path
from typing import Any, Final

import orjson

from tests.harness.results import LUA_MUTANTS, Shown
from tests.mutants.catalogue import MUTANTS
from tests.mutants.mutant import Mutant
from tests.mutants.results import RESULTS
from tests.rules import MUTANTS as OF_THE_LUA

PAGE: Final = Shown(Path("docs/GUARDS.md"), "the mutants")
SURVIVED: Final = "**SURVIVED**"
NOT_TRIED: Final = "not tried yet"
FOUND_BY: Final = "Found by "


def lists(results: dict[str, dict[str, Any]], of_the_lua: dict[str, str], page: str) -> str:
    """All guards, in the order of the catalogues; `of_the_lua` says by guard what found it."""
    kept = set(page.splitlines())
    items = [_item(mutant, results.get(mutant.name), kept) for mutant in MUTANTS]
    lua = [
        _kept_or_new(f"- **{mutant.guard}** (`{mutant.script}`). {FOUND_BY}", of_the_lua.get(str(mutant)), kept)
        for mutant in OF_THE_LUA
    ]
    return (
        f"## Outside the Lua: {len(MUTANTS)}\n\n"
        + "\n".join(items)
        + f"\n\n## The rules in Lua: {len(OF_THE_LUA)}\n\n"
        + "\n".join(lua)
    )


def _item(mutant: Mutant, result: dict[str, Any] | None, kept: set[str]) -> str:
    place = f"[`{Path(mutant.path).name}`](../{mutant.path})"
    beginning = f"- **{mutant.guard}** ({place}). Without it: {mutant.without}. {FOUND_BY}"
    return _kept_or_new(beginning, None if result is None else _words(result["test"]) or SURVIVED, kept)


def _kept_or_new(beginning: str, found: str | None, kept: set[str]) -> str:
    """The line with what was found now; else the one that the page has."""
    if found is not None:
        return f"{beginning}{found}."
    return next((line for line in kept if line.startswith(beginning)), f"{beginning}{NOT_TRIED}.")


def _words(test: str) -> str:
    """The test's module, and its claim."""
    module, _, name = test.partition("::")
    claim, _, parameter = name.removeprefix("test_").partition("[")
    case = f" ({parameter.removesuffix(']').rstrip('-').replace('_', ' ')})" if parameter else ""
    return f"`{module}`: {claim.replace('_', ' ')}{case}" if test else ""


if __name__ == "__main__":
    found_in_the_lua: dict[str, str] = orjson.loads(LUA_MUTANTS.read_bytes()) if LUA_MUTANTS.exists() else {}
    written = lists(RESULTS.newest(), found_in_the_lua, PAGE.text())
    PAGE.write(written)
    print(written)  # noqa: T201  # the lists are what this is for
