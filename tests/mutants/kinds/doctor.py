"""Guards of what is said about the servers: by the doctor, by probes, by the ledger's watch of Redis' settings."""

from functools import partial
from typing import Final

from tests.mutants.mutant import Mutant

_CONTENT: Final = (
    "tests/integration/test_doctor_environments.py::test_the_doctor_is_content_wherever_the_documentation_sends_it"
)

_SERVERS: Final = "tests/integration/test_preflight_of_servers.py::test_"
_in_preflight = partial(Mutant, "grab_service/campaigns/preflight.py")

MUTANTS: Final = (
    _in_preflight(
        "preflight_servers_unknown",
        "preflight says what Redis does not tell",
        "what is not known passes for well",
        "        if not check.ok\n",
        "        if check.ok is False\n",
        (f"{_SERVERS}what_redis_does_not_tell_is_not_known",),
    ),
    Mutant(
        "grab_service/health/postgres_checks.py",
        "commits_not_held_to_record",
        "a PostgreSQL that may lose what it has committed is named where winners hear of that",
        "it passes, as with any other promise",
        "    if durability is not Durability.RECORD:\n",
        "    if True:\n",
        (f"{_SERVERS}servers_are_held_against_what_was_declared",),
    ),
    Mutant(
        "grab_service/cli/context.py",
        "command_line_knows_no_promise",
        "commands judge by the declared durability, too",
        "by that of an installation that declares nothing",
        "replicas, durability=settings.durability)",
        "replicas)",
        (f"{_SERVERS}the_command_line_judges_by_what_was_declared_too",),
    ),
    Mutant(
        "reconcile/guard/redis_settings.py",
        "rewrite_not_watched",
        "the ledger warns of a Redis that syncs nothing while it rewrites its log",
        "it does not ask",
        '        if self.no_appendfsync_on_rewrite == "yes":\n',
        "        if False:\n",
        ("tests/integration/test_guard.py::test_settings_of_redis_are_judged",),
    ),
    Mutant(
        "grab_service/health/redis_checks.py",
        "rewrite_not_probed",
        "`/readyz` names a Redis that syncs nothing while it rewrites its log",
        "it does not",
        '    if facts.noted("no_appendfsync_on_rewrite") == "yes":\n',
        "    if False:\n",
        ("tests/integration/test_readiness.py::test_an_aof_that_may_lose_is_named",),
    ),
    Mutant(
        "grab_service/doctor/cell_and_ledger.py",
        "doctor_asks_as_the_guard",
        "the doctor asks Redis only what the user whom it looks as may ask",
        "it asks as the guard would, and calls the refusal a fault",
        "        if asks_scripts_only(settings):\n",
        "        if False:\n",
        (_CONTENT,),
    ),
    Mutant(
        "grab_service/doctor/configuration.py",
        "doctor_lets_secrets_go",
        "the doctor demands the secrets where the service runs",
        "it takes them for unseen there, too",
        "    if not standpoint.serves and not settings.secrets",
        "    if not settings.secrets",
        (_CONTENT,),
    ),
)
