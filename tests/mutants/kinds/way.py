"""Guards of the way from a checkout to something that runs, and of what runs there."""

from typing import Final

from tests.mutants.mutant import Mutant

_BOOTSTRAP: Final = "grab_service/servers/bootstrap.py"
_OF_BOOTSTRAP: Final = "tests/unit/test_bootstrap.py::test_"
_KEEPING: Final = "grab_service/demo/keeping.py"
_OF_KEEPING: Final = "tests/integration/test_keeping.py::test_"
_REMEMBERED: Final = "grab_service/servers/remembered.py"
_OF_REMEMBERED: Final = "tests/unit/test_remembered.py::test_"

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
    Mutant(
        "children_left_dead",
        "a child of a run that dies is started again",
        "it stays dead",
        _KEEPING,
        "        if child.running:\n            continue\n",
        "        if child.running or True:\n            continue\n",
        (f"{_OF_KEEPING}a_child_that_cannot_be_started_again_ends_the_run_with_its_own_words",),
    ),
    Mutant(
        "started_again_for_ever",
        "a child that dies again and again ends the run",
        "it is started for ever",
        _KEEPING,
        "        if len(deaths) == DEATHS_MAX and ",
        "        if len(deaths) > DEATHS_MAX and ",
        (f"{_OF_KEEPING}a_child_that_dies_is_named_with_its_log_and_started_again_but_not_for_ever",),
    ),
    Mutant(
        "nobody_hears_that_a_child_is_lost",
        "whoever waits for the end of a run is woken up when a child cannot be kept",
        "nobody is",
        _KEEPING,
        "    keeping.add_done_callback(lambda _: stopping.stop())\n",
        "",
        (f"{_OF_KEEPING}a_child_that_cannot_be_started_again_ends_the_run_with_its_own_words",),
    ),
    Mutant(
        "half_of_a_run",
        "servers are taken from a run only if neither is named",
        "the one that is not named is taken",
        _REMEMBERED,
        "    if settings.redis_url or settings.database_url:\n",
        "    if settings.redis_url and settings.database_url:\n",
        (f"{_OF_REMEMBERED}half_of_the_run_is_never_mixed_with_other_servers",),
    ),
    Mutant(
        "run_of_another_cell",
        "a run of another cell than the environment names is left alone",
        "its servers are taken",
        _REMEMBERED,
        '    if "cell" in settings.model_fields_set and settings.cell != given["GRAB_CELL"]:\n',
        "    if False:\n",
        (f"{_OF_REMEMBERED}a_run_of_another_cell_is_left_alone",),
    ),
    Mutant(
        "run_that_was_killed",
        "what a run has left that was killed counts as nothing",
        "its servers are looked for",
        _REMEMBERED,
        'started_at(said["pid"]) == said["began"]',
        "True",
        (f"{_OF_REMEMBERED}a_run_that_has_ended_is_none",),
    ),
    Mutant(
        "run_read_by_others",
        "what a run has written down is for its owner alone",
        "everybody on the machine may read the passwords",
        _REMEMBERED,
        "    new.touch(mode=0o600)\n",
        "    new.touch(mode=0o644)\n",
        (f"{_OF_REMEMBERED}nobody_else_may_read_what_a_run_has_written_down",),
    ),
    Mutant(
        "ready_without_data",
        "`/readyz` waits for the data that are being loaded",
        "it does not",
        "grab_service/ops/readiness.py",
        "    data = Check(ok=not loading, ",
        "    data = Check(ok=True, ",
        ("tests/integration/test_readiness.py::test_a_service_whose_data_are_being_loaded_says_so",),
    ),
    Mutant(
        "asked_through_a_proxy",
        "what is on this machine is asked directly",
        "by the proxy that the environment names",
        "grab_service/demo/steps.py",
        ", trust_env=False)",
        ")",
        ("tests/unit/test_proxies.py::test_a_client_of_the_service_goes_past_the_proxies_of_the_environment",),
    ),
    Mutant(
        "second_campaign",
        "a run goes on with the campaign of an earlier one",
        "it adds one each time",
        "grab_service/demo/rush.py",
        "await self._campaign_of_an_earlier_run(client) or await",
        "await",
        ("tests/acceptance/test_run.py::test_a_run_is_ready_with_its_data_and_others_work_beside_it",),
    ),
    Mutant(
        "half_an_environment",
        "an environment that was cut off half-way is made anew",
        "its Python is taken for whole",
        _BOOTSTRAP,
        "        if unfinished.exists() or not _works(python):\n",
        "        if not python.exists():\n",
        (f"{_OF_BOOTSTRAP}ctrl_c_while_the_environment_is_made_harms_nothing_and_of_two_calls_at_once_one_waits",),
    ),
    Mutant(
        "two_set_up_at_once",
        "of two calls at once one waits, and finds the work done",
        "it fails",
        _BOOTSTRAP,
        "ANOTHER, wait_s=WAIT_MAX_S)",
        "ANOTHER, wait_s=0.0)",
        (f"{_OF_BOOTSTRAP}ctrl_c_while_the_environment_is_made_harms_nothing_and_of_two_calls_at_once_one_waits",),
    ),
    Mutant(
        "set_up_twice",
        "of two calls at once one waits, and finds the work done",
        "it does it again",
        _BOOTSTRAP,
        "        if _is_prepared(profile):\n            return  # by",
        "        if False:\n            return  # by",
        (f"{_OF_BOOTSTRAP}ctrl_c_while_the_environment_is_made_harms_nothing_and_of_two_calls_at_once_one_waits",),
    ),
    Mutant(
        "lock_of_the_killed",
        "a killed call's children hold its lock as long as they work",
        "the next call works beside them",
        _BOOTSTRAP,
        "text=True, check=False, pass_fds=(lock.fileno(),)\n",
        "text=True, check=False\n",
        (f"{_OF_BOOTSTRAP}what_a_killed_call_has_left_running_is_waited_for_too",),
    ),
    Mutant(
        "cleaned_while_made",
        "`make clean` leaves an environment alone that is being made",
        "it takes it away",
        _BOOTSTRAP,
        '    with _only_one("bootstrap.lock", f"{ANOTHER} Wait for it, or end it."), _only_one("lock", running):\n',
        '    with _only_one("lock", running):\n',
        (f"{_OF_BOOTSTRAP}nothing_is_taken_away_while_it_is_being_made",),
    ),
)
