"""Guards of claims that ops make good, and of the names in the alarm of a loss."""

from functools import partial
from typing import Final

from tests.mutants.mutant import Mutant

_in_service = partial(Mutant, "grab_service/claims/make_good.py")
_in_view = partial(Mutant, "grab_service/grabpath/view.py")
_in_told = partial(Mutant, "grab_service/grabpath/told.py")
_TESTS: Final = "tests/integration/test_make_good.py::test_"
_LOSSES: Final = "tests/integration/test_losses.py::test_"
_ONCE: Final = f"{_TESTS}it_is_made_once_is_on_record_and_in_the_log_with_its_reason"
_NO_RULE: Final = f"{_TESTS}no_rule_of_the_grab_is_asked_but_the_stock_and_the_member"
_POOL: Final = f"{_TESTS}of_a_pool_it_takes_a_code_that_no_unit_still_to_grant_needs"
_REBUILT: Final = f"{_TESTS}a_rebuilt_cell_has_it_with_its_key_its_source_and_the_total"
_NAMED: Final = f"{_LOSSES}the_alarm_of_a_loss_names_the_claims_and_each_can_be_made_good"
_IN_MIND: Final = f"{_LOSSES}a_worker_keeps_in_mind_what_it_has_told_and_what_the_log_says"
_FORGOTTEN: Final = f"{_LOSSES}what_is_on_record_is_forgotten_and_the_newest_are_kept"

MUTANTS: Final = (
    _in_service(
        "key_of_two_members",
        "a key of ops stands for one member of one campaign",
        "another member gets a claim with it as well",
        "!= (campaign_id, member_id):",
        "== ():",
        (_ONCE,),
    ),
    _in_service(
        "made_good_before_its_record",
        "a claim made good is told once it is on record",
        "it is looked for there at once",
        "        await recorded(engine, cell.name, ref.seq)\n",
        "        recorded(engine, cell.name, ref.seq).close()\n",
        (_ONCE,),
    ),
    Mutant(
        "grab_service/vocabulary/claims.py",
        "key_of_ops_like_a_members",
        "no key of ops equals one of a member",
        "they share one space of names",
        'return f"{Source.MAKE_GOOD} {idempotency_key}"',
        "return idempotency_key",
        (_ONCE,),
    ),
    Mutant(
        "reconcile/drain/appliers/made_good.py",
        "total_not_raised_on_record",
        "a total that is raised with a claim is raised on record",
        "the record keeps the old one",
        "    if event.releases:",
        "    if False:",
        (_NO_RULE,),
    ),
    Mutant(
        "reconcile/drain/claim_rows.py",
        "source_not_on_record",
        "the row of a claim has its source",
        "each says that it was grabbed",
        "_text(batch.SOURCE.value)",
        '_text("grab")',
        (_ONCE,),
    ),
    Mutant(
        "reconcile/rebuild/cell_from_sql.py",
        "source_not_rebuilt",
        "the source of a claim is in the rebuilt cell, too",
        "each was grabbed there",
        "CASE WHEN source <> 'grab' THEN",
        "CASE WHEN false THEN",
        (_REBUILT,),
    ),
    Mutant(
        "reconcile/migrations/versions/0009_make_good.py",
        "limit_of_what_is_made_good",
        "no limit binds what ops make good",
        "PostgreSQL refuses it above the limit",
        "      OR (changed.ordinal > campaigns.limit_per_member AND changed.source = 'grab')",
        "      OR changed.ordinal > campaigns.limit_per_member",
        ("tests/integration/test_migrations.py::test_what_is_possible_is_not_refused",),
    ),
    Mutant(
        "grab_service/audit/invariants.py",
        "audit_of_what_is_given_early",
        "a unit of a release still to come that ops have given is no oversell",
        "the audit is red",
        "released + ledger.made_good)",
        "released)",
        (_NO_RULE,),
    ),
    Mutant(
        "grab_service/audit/claims_compared.py",
        "source_not_compared",
        "the audit compares the source of a claim",
        "a cell that says another one is green",
        '        "source": record.source.value,\n',
        "",
        (
            "tests/integration/test_audit_corruption.py::test_what_is_corrupted_turns_its_invariant_red[a_claim_has_another_source-]",
        ),
    ),
    _in_view(
        "raised_total_not_seen",
        "a view learns of a total that is raised with a claim",
        "its gate refuses members though a unit is left",
        "isinstance(event, StockSet | MadeGood)",
        "isinstance(event, StockSet)",
        (_POOL,),
    ),
    _in_view(
        "view_waits_for_the_new_life",
        "a view is rebuilt as soon as another life of the cell begins",
        "it asks for what comes after the end of the lost one, and stays stale",
        "self._cell.epoch != self._epoch or self._lacks_some",
        "self._lacks_some",
        (_NAMED,),
    ),
    _in_view(
        "log_not_kept_in_mind",
        "a worker keeps in mind the claims above the record that the log shows",
        "it knows of its own replies only",
        "                self.told.note_entry(event)\n",
        "                pass\n",
        (_IN_MIND,),
    ),
    Mutant(
        "grab_service/grabpath/responder.py",
        "reply_not_kept_in_mind",
        "a worker keeps in mind the claims that it has told before the log shows them",
        "it knows of the log only",
        "        self._view.told.note_reply(campaign_id, grabs, reply)\n",
        "",
        (_IN_MIND,),
    ),
    _in_told(
        "told_of_another_life_forgotten",
        "what a worker keeps in mind is forgotten when it is on record",
        "it is kept for ever",
        "while self._entries and recorded.has(",
        "while False and recorded.has(",
        (_FORGOTTEN,),
    ),
    _in_told(
        "told_without_bound",
        "a worker keeps a bounded number of claims in mind",
        "it keeps all",
        "        while self._claims - len(self._entries[0].rows) >= self._claims_max:\n",
        "        while False:\n",
        (_FORGOTTEN,),
    ),
    Mutant(
        "reconcile/rebuild/losses.py",
        "names_of_what_is_on_record",
        "the alarm of a loss names what lies above the record alone",
        "all that workers had seen",
        "claims_seen.c.seq > on_record_up_to_seq",
        "claims_seen.c.seq > 0",
        (f"{_LOSSES}figures_grow_and_the_alarm_stays_until_it_is_acknowledged",),
    ),
)
