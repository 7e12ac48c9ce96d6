"""The rules of a grab once more, one file a rule: its model, its mutants, and walks of its own if it has any.

A file has OUTCOMES, OF_THE_MOMENT, `refusals` and MUTANTS. It has `counters` if the rule counts, and may have WALKS: functions
that lead a `Walker` of `tests/lua` to the corners of the rule. The runners collect them: a new rule is a new file here.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from grab_service.vocabulary.claims import ClaimRecord
from grab_service.vocabulary.outcomes import Outcome
from tests.harness import lua_mutants
from tests.harness.lua_mutants import Mutant
from tests.harness.standing import Standing


def _in_order() -> tuple[Any, ...]:
    """The rules in the order of precedence of their words in `Outcome`, which is the contract's and not that of the scripts."""
    rules = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    return tuple(sorted(rules, key=lambda rule: list(Outcome).index(rule.OUTCOMES[0])))


RULES: Final = _in_order()
MUTANTS: Final[tuple[Mutant, ...]] = (*lua_mutants.MUTANTS, *(mutant for rule in RULES for mutant in rule.MUTANTS))
"""Of the rules, and of the commands around them."""
WALKS: Final[tuple[Callable[[Any], None], ...]] = tuple(walk for rule in RULES for walk in getattr(rule, "WALKS", ()))
OF_MEMBERS: Final = tuple(word.value for rule in RULES if not rule.OF_THE_MOMENT for word in rule.OUTCOMES)
"""What a member can be told whatever the hour and the stock."""


def refusals(standing: Standing) -> Iterator[str]:
    """Everything that keeps the member from a unit, in the order of precedence; the first is the answer."""
    for rule in RULES:
        yield from rule.refusals(standing)


def counters(held: Sequence[ClaimRecord], free_units: int) -> dict[str, int]:
    """What the counters of a campaign should be, from its claims that hold a unit, and the number of units that came back."""
    counting = [rule.counters(held, free_units) for rule in RULES if hasattr(rule, "counters")]
    return {name: value for counted in counting for name, value in counted.items()}


COUNTERS: Final = tuple(counters((), 0))
