"""Guards of what comes in by several doors (addresses, secrets, keys, queries, files), and of what is noticed by itself."""

from functools import partial
from typing import Final

from tests.mutants.mutant import Mutant

_in_drafts = partial(Mutant, "grab_service/campaigns/drafts.py")
_in_addresses = partial(Mutant, "grab_service/addresses.py")
_OF_ADDRESSES: Final = "tests/unit/test_addresses.py::test_"
_OF_SETTINGS: Final = "tests/unit/test_settings.py::test_"
_in_jwks = partial(Mutant, "grab_service/identity/jwks.py")
_OF_JWKS: Final = "tests/unit/test_jwks.py::test_"
_IGNORED: Final = "tests/integration/test_nothing_is_ignored.py::test_"
_OF_DAMAGE: Final = "tests/unit/test_damage.py::test_"
_LOSSES: Final = "tests/integration/test_losses.py::test_"
_POSTGRES: Final = "tests/integration/test_postgres_changes.py::test_"
_EVERY_DOOR: Final = "tests/integration/test_every_door_to_a_database.py::test_"
_DAY_AFTER: Final = "tests/integration/test_ops_day_after.py::test_"

MUTANTS: Final = (
    _in_addresses(
        "address_with_anything",
        "a parameter of an address that is not known is refused",
        "it is passed over, and somebody believes it to be in force",
        "    if name not in known:\n",
        "    if False:\n",
        (f"{_OF_ADDRESSES}an_address_of_redis_that_cannot_be_handed_on_is_refused_with_its_reason",),
    ),
    _in_addresses(
        "address_shows_its_password",
        "no address shows its password, not even one that cannot be read",
        "it is shown where it is not percent-encoded",
        'login, at, host = rest.rpartition("@")',
        'login, at, host = rest.partition("@")',
        (f"{_OF_ADDRESSES}a_password_is_masked_whether_the_address_can_be_read_or_not",),
    ),
    _in_addresses(
        "tls_unverified",
        "TLS to Redis verifies the server",
        "any certificate is taken",
        '"ssl_check_hostname": True',
        '"ssl_check_hostname": False',
        (f"{_OF_ADDRESSES}an_encrypted_connection_is_always_verified",),
    ),
    Mutant(
        "grab_service/embedded/external.py",
        "database_in_any_encoding",
        "a database is UTF8",
        "names of members do not fit, weeks later",
        '    if encoding != "UTF8":\n',
        "    if False:\n",
        (f"{_EVERY_DOOR}what_a_look_at_a_database_says_of_its_encoding",),
    ),
    Mutant(
        "grab_service/settings.py",
        "secret_of_an_example",
        "a secret that stands in examples is refused",
        "every reader of the documentation mints passes",
        "            if why := weakness(secret):\n",
        "            if why := None:\n",
        (f"{_OF_SETTINGS}a_secret_that_anybody_could_guess_is_refused_by_its_kind",),
    ),
    _in_jwks(
        "two_keys_of_one_name",
        "keys that cannot be told apart are refused",
        "the last one counts",
        "            if (algorithm, kid) in by_name:\n",
        "            if False:\n",
        (f"{_OF_JWKS}a_file_that_is_no_set_of_public_keys_or_is_ambiguous_is_refused",),
    ),
    _in_jwks(
        "key_for_encryption",
        "a key checks signatures only if that is its purpose",
        "one for encryption does",
        '    if entry.get("use", "sig") != "sig":\n',
        "    if False:\n",
        (f"{_OF_JWKS}a_key_that_cannot_be_used_is_passed_over_and_named",),
    ),
    Mutant(
        "grab_service/http/bodies.py",
        "parameter_ignored",
        "a parameter that a call does not know is 422",
        "it is ignored in silence",
        "            if query and (errors",
        "            if False and (errors",
        (f"{_IGNORED}every_call_under_v1_refuses_a_parameter_that_it_does_not_know",),
    ),
    Mutant(
        "grab_service/server/lane.py",
        "compressed_body",
        "a body that is compressed is 415",
        "it is read as it is, and called malformed",
        'name == b"content-encoding" and',
        'name == b"no-such-header" and',
        (f"{_IGNORED}a_body_that_is_said_to_be_compressed_is_refused_by_every_call",),
    ),
    Mutant(
        "grab_service/files/damage.py",
        "rounded_codes",
        "codes whose digits a spreadsheet has rounded are refused",
        "members get codes that nobody has issued",
        "    if found is not None and (rounded or",
        "    if False and (rounded or",
        (f"{_OF_DAMAGE}long_numbers_that_all_end_in_zeros_were_rounded_and_one_alone_proves_nothing",),
    ),
    Mutant(
        "reconcile/rebuild/losses.py",
        "loss_untold",
        "claims above the record at the end of a life are told as lost",
        "the first lost seq is not counted",
        "lives_seen.c.seq >= epochs.c.first_seq",
        "lives_seen.c.seq > epochs.c.first_seq + 10",
        (f"{_LOSSES}what_a_thrown_away_log_held_above_the_record_is_told_with_its_figures",),
    ),
    Mutant(
        "grab_service/sql/lives.py",
        "loss_shrinks",
        "of several who saw a lost life, the farthest counts",
        "the last one who says so does",
        "func.greatest(lives_seen.c.seq, _NEW.excluded.seq)",
        "_NEW.excluded.seq",
        (f"{_LOSSES}figures_grow_and_the_alarm_stays_until_it_is_acknowledged",),
    ),
    Mutant(
        "reconcile/epochs.py",
        "epoch_comes_twice",
        "no number of an epoch comes twice after a restored database",
        "epochs are counted one by one from what Postgres knows",
        "greatest(epoch + 1, $6)",
        "greatest(epoch + 1, $6 * 0)",
        (f"{_LOSSES}no_number_of_an_epoch_comes_twice_after_a_restored_database",),
    ),
    Mutant(
        "reconcile/leader.py",
        "leads_where_nothing_is_written",
        "nobody leads on a Postgres that takes no writes",
        "a ledger leads there, and records nothing",
        "    if await session.fetchval(READS_ONLY):\n",
        "    if not await session.fetchval(READS_ONLY) and False:\n",
        (f"{_POSTGRES}nobody_leads_on_a_postgres_that_takes_no_writes",),
    ),
    Mutant(
        "reconcile/guard/guard.py",
        "restored_unnoticed",
        "a restored Postgres is noticed without a grab",
        "the ledger believes what it knew until something is drained",
        "        if known is not None and now_s < self._ask_postgres_at_s:\n",
        "        if known is not None:\n",
        (f"{_POSTGRES}a_database_that_was_restored_under_running_sessions_is_noticed",),
    ),
    Mutant(
        "grab_service/audit/rotation.py",
        "audit_never_reaches_the_rest",
        "an audit goes on where the last one stopped",
        "each begins anew, and claims behind its bound are never compared",
        "        self.known[campaign_id] = Known(known.begun_at_ms) if place is None else replace(known, place=place)\n",
        "        self.known[campaign_id] = Known(known.begun_at_ms) if place is None else known\n",
        ("tests/integration/test_audit.py::test_what_one_audit_leaves_the_next_ones_compare_until_all_was",),
    ),
    _in_drafts(
        "read_only_field_changed",
        "a read-only field that differs is refused by name",
        "it is dropped, and somebody believes it to be changed",
        "        if changes[name] != facts[name]\n",
        "        if False\n",
        (f"{_DAY_AFTER}a_read_only_field_that_differs_is_refused_by_name_and_so_is_a_twin_that_disagrees",),
    ),
    _in_drafts(
        "draft_deleted_blind",
        "a draft is deleted only as it was read",
        "a change that came between is deleted with it",
        "            .where(campaigns.c.version == campaign.version)\n",
        "",
        (f"{_DAY_AFTER}a_draft_that_changed_since_it_was_read_is_not_deleted_and_one_that_is_none_any_more_neither",),
    ),
)
