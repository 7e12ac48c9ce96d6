"""Guards of who may do what in Redis."""

from typing import Final

from tests.mutants.mutant import Mutant

_RIGHTS: Final = "grab_service/cell/rights.py"
_TESTS: Final = "tests/integration/test_rights.py::test_"

MUTANTS: Final = (
    Mutant(
        "everything_allowed",
        "a user of Redis may do what its work takes, and nothing else",
        "everything",
        _RIGHTS,
        '"-@all", *(f"+{name}" for name in allowed))',
        '"+@all", *(f"+{name}" for name in allowed))',
        (f"{_TESTS}what_is_not_its_work_is_refused",),
    ),
    Mutant(
        "workers_write_the_table",
        "the table of scripts is written by the guard alone",
        "a worker may write it, too",
        _RIGHTS,
        'f"%R~{keys.scripts}"',
        'f"~{keys.scripts}"',
        (f"{_TESTS}what_is_not_its_work_is_refused",),
    ),
    Mutant(
        "rights_not_tried",
        "every call inside every script is tried dry before the first script is called",
        "what is refused shows in the middle of a script",
        _RIGHTS,
        '        if said != "OK":\n',
        "        if False:\n",
        (f"{_TESTS}with_one_right_less_nothing_is_sold_and_the_right_is_named",),
    ),
    Mutant(
        "guard_asks_nobody",
        "the guard opens nothing while a user of the cell lacks a right",
        "it looks at itself alone",
        "reconcile/rights.py",
        "            for login in CALLERS\n",
        "            for login in ()\n",
        (f"{_TESTS}the_guard_opens_nothing_while_a_user_of_the_cell_lacks_a_right",),
    ),
)
