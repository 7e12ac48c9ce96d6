"""Guards of who may do what in Redis and in PostgreSQL."""

from functools import partial
from typing import Final

from tests.mutants.mutant import Mutant

_in_rights = partial(Mutant, "grab_service/cell/rights.py")
_in_grants = partial(Mutant, "grab_service/sql/grants.py")
_ROLES: Final = "tests/integration/test_roles.py::test_"
_TESTS: Final = "tests/integration/test_rights.py::test_"

MUTANTS: Final = (
    _in_rights(
        "everything_allowed",
        "a user of Redis may do what its work takes, and nothing else",
        "everything",
        '"-@all", *(f"+{name}" for name in allowed))',
        '"+@all", *(f"+{name}" for name in allowed))',
        (f"{_TESTS}what_is_not_its_work_is_refused",),
    ),
    _in_rights(
        "workers_write_the_table",
        "the table of scripts is written by the guard alone",
        "a worker may write it, too",
        'f"%R~{keys.scripts}"',
        'f"~{keys.scripts}"',
        (f"{_TESTS}what_is_not_its_work_is_refused",),
    ),
    _in_rights(
        "rights_not_tried",
        "every call inside every script is tried dry before the first script is called",
        "a refused call shows in the middle of a script",
        '        if said != "OK":\n',
        "        if False:\n",
        (f"{_TESTS}with_one_right_less_nothing_is_sold_and_the_right_is_named",),
    ),
    Mutant(
        "reconcile/guard/rights.py",
        "guard_asks_nobody",
        "the guard opens nothing while a user of the cell lacks a right",
        "it looks at itself alone",
        "            for login in CALLERS\n",
        "            for login in ()\n",
        (f"{_TESTS}the_guard_opens_nothing_while_a_user_of_the_cell_lacks_a_right",),
    ),
    _in_rights(
        "cannot_wait",
        "a user who may not wait for replicas sells nothing where that is asked for",
        "the refusal comes behind the grab, and hides what was decided",
        "*((WAIT,) if waits else ())",
        "*()",
        (f"{_TESTS}who_cannot_wait_for_replicas_sells_nothing_where_that_is_asked_for",),
    ),
    _in_grants(
        "service_writes_claims",
        "claims are inserted by the ledger alone",
        "the service's role may insert them, too",
        '"claims": ("SELECT", "UPDATE (state, voucher_state, decided_at_ms, revealed_at_ms)"),',
        '"claims": ("SELECT", "INSERT", "UPDATE (state, voucher_state, decided_at_ms, revealed_at_ms)"),',
        (f"{_ROLES}what_is_not_its_work_is_refused",),
    ),
    _in_grants(
        "service_changes_published",
        "a published campaign follows the log, and the service's role cannot change it",
        "the policy lets it change any campaign",
        "campaigns_drafts_are_changed ON campaigns FOR UPDATE TO {api} USING (published_seq IS NULL)",
        "campaigns_drafts_are_changed ON campaigns FOR UPDATE TO {api} USING (true)",
        (f"{_ROLES}a_published_campaign_follows_the_log_and_not_the_api",),
    ),
    _in_grants(
        "rights_stay",
        "to migrate takes away what is too much",
        "rights granted before stay",
        '    yield f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {role}"\n',
        "",
        (f"{_ROLES}to_migrate_again_gives_what_is_lacking_and_takes_what_is_too_much",),
    ),
    Mutant(
        "grab_service/embedded/postgres_roles.py",
        "passwords_in_statements",
        "no password stands in what is sent to PostgreSQL",
        "it is sent as it is, and ends in a log",
        "LOGIN PASSWORD '{scram_of(password)}'",
        "LOGIN PASSWORD '{password}'",
        (f"{_ROLES}tables_that_a_superuser_made_go_over_to_their_owner_and_passwords_change",),
    ),
)
