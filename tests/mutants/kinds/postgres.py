"""The constraints of Postgres, taken away one at a time."""

from functools import partial
from typing import Final

from tests.mutants.mutant import Mutant

_in_tables = partial(Mutant, "reconcile/migrations/versions/0001_tables.py")
_in_within = partial(Mutant, "reconcile/migrations/versions/0009_make_good.py")
_STOPS: Final = "tests/integration/test_drain_faults.py::test_the_drain_stops_at_a_fault_and_goes_on_once_it_is_mended"
_REFUSED: Final = "tests/integration/test_migrations.py::test_an_impossible_row_is_refused"

MUTANTS: Final = (
    _in_tables(
        "unit_not_unique",
        "a unit is in one hand: unique (campaign, unit) among held claims",
        "the index is there and not unique: it holds the seq, too",
        '"claims_unit_uq": (["campaign_id", "unit_no"], HELD),',
        '"claims_unit_uq": (["campaign_id", "unit_no", "seq"], HELD),',
        (f"{_STOPS}[a_unit_twice]", f"{_REFUSED}[claims_unit_uq]"),
    ),
    _in_within(
        "unit_above_total",
        "no held unit lies above the campaign's total",
        "the trigger lets it pass",
        "      OR (changed.unit_no > campaigns.total AND changed.state IN ('pending_payment', 'fulfilled'))\n   LIMIT 1;",
        "   LIMIT 1;",
        (f"{_STOPS}[a_unit_above_the_total]", f"{_REFUSED}[claims_unit_within_total]"),
    ),
    _in_within(
        "total_below_held",
        "the total cannot fall below a unit that is held",
        "the trigger on campaigns looks at nothing",
        "  IF NOT EXISTS (SELECT FROM changed JOIN before USING (campaign_id)",
        "  IF TRUE OR NOT EXISTS (SELECT FROM changed JOIN before USING (campaign_id)",
        (f"{_STOPS}[stock_below_what_is_held]",),
    ),
    _in_tables(
        "code_not_unique",
        "a code is in one claim, ever",
        "the index holds the seq, too",
        '"claims_code_uq": (["code"],',
        '"claims_code_uq": (["code", "seq"],',
        (f"{_STOPS}[a_code_twice]", f"{_REFUSED}[claims_code_uq]"),
    ),
    _in_tables(
        "ordinal_not_unique",
        "nobody holds more claims than the limit: unique (campaign, member, ordinal)",
        "the index holds the seq, too",
        '            ["campaign_id", "member_id", "slot"],',
        '            ["campaign_id", "member_id", "slot", "seq"],',
        (f"{_STOPS}[a_second_claim_of_one_member]", f"{_REFUSED}[claims_ordinal_uq]"),
    ),
    _in_within(
        "ordinal_above_limit",
        "no ordinal lies above the limit per member",
        "the trigger lets it pass",
        "      OR (changed.ordinal > campaigns.limit_per_member AND changed.source = 'grab')\n",
        "",
        (f"{_STOPS}[an_ordinal_above_the_limit]", f"{_REFUSED}[claims_ordinal_within_limit]"),
    ),
    _in_tables(
        "key_not_unique",
        "an idempotency key is bound to one claim",
        "the index holds the seq, too",
        '            ["campaign_id", "member_id", "idempotency_key"],',
        '            ["campaign_id", "member_id", "idempotency_key", "seq"],',
        (f"{_REFUSED}[claims_idempotency_key_uq]",),
    ),
    _in_tables(
        "return_not_unique",
        "a unit comes back once: one order to free it",
        "the outbox takes any number of orders for one claim",
        'sa.UniqueConstraint("claim_seq", name="commands_claim_seq_uq")',
        'sa.UniqueConstraint("claim_seq", "command_id", name="commands_claim_seq_uq")',
        (f"{_REFUSED}[commands_claim_seq_uq]",),
    ),
    _in_tables(
        "pool_code_not_unique",
        "a third party's code is in one campaign",
        "the constraint holds the campaign, too",
        'sa.UniqueConstraint("code", name="pool_codes_code_uq")',
        'sa.UniqueConstraint("campaign_id", "position", "code", name="pool_codes_code_uq")',
        (f"{_REFUSED}[pool_codes_code_uq]",),
    ),
)
