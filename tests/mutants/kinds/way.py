"""Guards of the way from a checkout to something that runs, and of what runs there."""

from typing import Final

from tests.mutants.mutant import Mutant

_BOOTSTRAP: Final = "grab_service/servers/bootstrap.py"
_OF_BOOTSTRAP: Final = "tests/unit/test_bootstrap.py::test_"

MUTANTS: Final = (
    Mutant(
        "script_runs_when_imported",
        "the script of a checkout does nothing when a spawned worker imports it",
        "it starts a service again",
        _BOOTSTRAP,
        'if __name__ == "__main__":\n    sys.exit(main())\n"""',
        'sys.exit(main())\n"""',
        (
            f"{_OF_BOOTSTRAP}the_checkout_is_found_and_grab_runs_where_the_path_has_blanks",
            "tests/integration/test_doors.py::test_the_script_of_a_checkout_serves",
        ),
    ),
)
