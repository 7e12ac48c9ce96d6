"""Guards of the way from a checkout to something that runs, and of what runs there."""

from functools import partial
from typing import Final

from tests.mutants.mutant import Mutant

_in_excerpt = partial(Mutant, "bench/excerpt.py")
_in_bootstrap = partial(Mutant, "grab_service/embedded/bootstrap.py")
_OF_BOOTSTRAP: Final = "tests/unit/test_bootstrap.py::test_"
_in_keeping = partial(Mutant, "grab_service/demo/keeping.py")
_OF_KEEPING: Final = "tests/integration/test_keeping.py::test_"
_in_remembered = partial(Mutant, "grab_service/embedded/saved_run.py")
_OF_REMEMBERED: Final = "tests/unit/test_saved_run.py::test_"

MUTANTS: Final = (
    _in_bootstrap(
        "script_runs_when_imported",
        "the script of a checkout does nothing when a spawned worker imports it",
        "it starts a service again",
        'if __name__ == "__main__":\n    sys.exit(main())\n"""',
        'sys.exit(main())\n"""',
        (
            f"{_OF_BOOTSTRAP}the_checkout_is_found_and_grab_runs_where_the_path_has_blanks",
            "tests/integration/test_doors.py::test_the_script_of_a_checkout_serves",
        ),
    ),
    _in_keeping(
        "children_left_dead",
        "a child of a run that dies is started again",
        "it stays dead",
        "        if child.running:\n            continue\n",
        "        if child.running or True:\n            continue\n",
        (f"{_OF_KEEPING}a_child_that_cannot_be_started_again_ends_the_run_with_its_own_words",),
    ),
    _in_keeping(
        "started_again_for_ever",
        "a child that dies again and again ends the run",
        "it is started for ever",
        "        if len(deaths) == DEATHS_MAX and ",
        "        if len(deaths) > DEATHS_MAX and ",
        (f"{_OF_KEEPING}a_child_that_dies_is_named_with_its_log_and_started_again_but_not_for_ever",),
    ),
    _in_keeping(
        "nobody_hears_that_a_child_is_lost",
        "the waiter for the end of a run is woken up when a child cannot be kept",
        "nobody is",
        "    keeping.add_done_callback(lambda _: stopping.stop())\n",
        "",
        (f"{_OF_KEEPING}a_child_that_cannot_be_started_again_ends_the_run_with_its_own_words",),
    ),
    _in_remembered(
        "half_of_a_run",
        "servers are taken from a run only if neither is named",
        "the one that is not named is taken",
        "    if settings.redis_url or settings.database_url:\n",
        "    if settings.redis_url and settings.database_url:\n",
        (f"{_OF_REMEMBERED}half_of_the_run_is_never_mixed_with_other_servers",),
    ),
    _in_remembered(
        "run_of_another_cell",
        "a run of another cell than the environment names is left alone",
        "its servers are taken",
        '    if "cell" in settings.model_fields_set and settings.cell != given["GRAB_CELL"]:\n',
        "    if False:\n",
        (f"{_OF_REMEMBERED}a_run_of_another_cell_is_left_alone",),
    ),
    _in_remembered(
        "run_that_was_killed",
        "the file of a killed run counts as nothing",
        "its servers are looked for",
        'started_at(said["pid"]) == said["began"]',
        "True",
        (f"{_OF_REMEMBERED}a_run_that_has_ended_is_none",),
    ),
    _in_remembered(
        "run_read_by_others",
        "the file of a run is for its owner alone",
        "everybody on the machine may read the passwords",
        "    new.touch(mode=0o600)\n",
        "    new.touch(mode=0o644)\n",
        (f"{_OF_REMEMBERED}nobody_else_may_read_what_a_run_has_written_down",),
    ),
    Mutant(
        "grab_service/health/readiness.py",
        "ready_without_data",
        "`/readyz` waits for the data that are being loaded",
        "it does not",
        "    data = ReadinessCheck(ok=not loading, ",
        "    data = ReadinessCheck(ok=True, ",
        ("tests/integration/test_readiness.py::test_a_service_whose_data_are_being_loaded_says_so",),
    ),
    Mutant(
        "grab_service/embedded/steps.py",
        "asked_through_a_proxy",
        "servers on this machine are asked directly",
        "by the proxy that the environment names",
        ", trust_env=False)",
        ")",
        ("tests/unit/test_proxies.py::test_a_client_of_the_service_goes_past_the_proxies_of_the_environment",),
    ),
    Mutant(
        "grab_service/demo/rush.py",
        "second_campaign",
        "a run goes on with the campaign of an earlier one",
        "it adds one each time",
        "await self._campaign_of_an_earlier_run(client) or await",
        "await",
        ("tests/acceptance/test_run.py::test_a_run_is_ready_with_its_data_and_others_work_beside_it",),
    ),
    _in_bootstrap(
        "half_an_environment",
        "an environment that was cut off half-way is made anew",
        "its Python is taken for whole",
        "        if unfinished.exists() or not _works(python):\n",
        "        if not python.exists():\n",
        (f"{_OF_BOOTSTRAP}ctrl_c_while_the_environment_is_made_harms_nothing_and_of_two_calls_at_once_one_waits",),
    ),
    _in_bootstrap(
        "two_set_up_at_once",
        "of two calls at once one waits, and finds the work done",
        "it fails",
        "ANOTHER, wait_s=WAIT_MAX_S)",
        "ANOTHER, wait_s=0.0)",
        (f"{_OF_BOOTSTRAP}ctrl_c_while_the_environment_is_made_harms_nothing_and_of_two_calls_at_once_one_waits",),
    ),
    _in_bootstrap(
        "set_up_twice",
        "of two calls at once one waits, and finds the work done",
        "it does it again",
        "        if _is_prepared(profile):\n            return  # by",
        "        if False:\n            return  # by",
        (f"{_OF_BOOTSTRAP}ctrl_c_while_the_environment_is_made_harms_nothing_and_of_two_calls_at_once_one_waits",),
    ),
    _in_bootstrap(
        "lock_of_the_killed",
        "a killed call's children hold its lock as long as they work",
        "the next call works beside them",
        "text=True, check=False, pass_fds=(lock.fileno(),)\n",
        "text=True, check=False\n",
        (f"{_OF_BOOTSTRAP}what_a_killed_call_has_left_running_is_waited_for_too",),
    ),
    _in_bootstrap(
        "cleaned_while_made",
        "`make clean` leaves an environment alone that is being made",
        "it takes it away",
        '    with _only_one("bootstrap.lock", f"{ANOTHER} Wait for it, or end it."), _only_one("lock", running):\n',
        '    with _only_one("lock", running):\n',
        (f"{_OF_BOOTSTRAP}nothing_is_taken_away_while_it_is_being_made",),
    ),
    Mutant(
        "grab_service/http/docs_page.py",
        "stale_part_of_the_page",
        "a file that browsers keep for a year is served only at an address that follows from its content",
        "at any address",
        "    if name not in TYPES or file_of(name).digest != digest:\n",
        "    if name not in TYPES:\n",
        ("tests/integration/test_api_edges.py::test_the_description_and_its_page_are_served",),
    ),
    _in_excerpt(
        "excerpt_of_a_busy_machine",
        "the README shows a demo of a quiet machine",
        "of any",
        "    if share > OTHERS_SHARE_MAX:\n",
        "    if False:\n",
        ("tests/unit/test_bench_excerpt.py::test_a_busy_machine_is_refused",),
    ),
    _in_excerpt(
        "excerpt_of_a_wrong_run",
        "the README shows a run that was exact",
        "any run",
        "    if found := reports.failures(report):\n",
        "    if found := []:\n",
        ("tests/unit/test_bench_excerpt.py::test_a_run_that_was_not_exact_is_not_shown",),
    ),
    Mutant(
        "grab_service/embedded/programs.py",
        "any_program_named_grab",
        "a run starts its children by the script beside its Python if that is ours",
        "by any program of that name",
        '        if MODULE in said and "__main__" in said:',
        "        if said:",
        ("tests/unit/test_demo_programs.py::test_the_script_beside_the_python_is_the_door_if_it_is_ours",),
    ),
    _in_bootstrap(
        "index_here_through_a_proxy",
        "a package index on this machine is asked directly",
        "by the proxy that the environment names",
        ', "no_proxy": directly}',
        "}",
        (f"{_OF_BOOTSTRAP}ctrl_c_while_the_environment_is_made_harms_nothing_and_of_two_calls_at_once_one_waits",),
    ),
)
