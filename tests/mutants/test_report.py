"""The page of guards shows every mutant, and what found it."""

import re

from tests.mutants.catalogue import MUTANTS
from tests.mutants.report import FOUND_BY, NOT_TRIED, PAGE, SURVIVED
from tests.rules import MUTANTS as OF_THE_LUA


def test_the_page_of_guards_has_every_mutant_and_what_found_it() -> None:
    items = re.findall(rf"^- \*\*(.+?)\*\* \(.+ {FOUND_BY}(.+)\.$", PAGE.text(), re.MULTILINE)
    shown = dict(items)
    for guard in (*(one.guard for one in MUTANTS), *(one.guard for one in OF_THE_LUA)):
        assert guard in shown, f"{guard}: try it with `make mutants`"
    for guard, found_by in shown.items():
        assert found_by not in {SURVIVED, NOT_TRIED}, guard
