"""The comparisons of the audit, left out one invariant at a time."""

from functools import partial
from typing import Final

from tests.mutants.mutant import Mutant

_in_audit = partial(Mutant, "grab_service/audit/__init__.py")
_in_rotation = partial(Mutant, "grab_service/audit/rotation.py")
_in_judge = partial(Mutant, "grab_service/audit/invariants.py")
_CALLED: Final = "for judged in (_counted, _no_oversell, _no_lost_ack, _one_answer, _unique_unit, _conserved):"
_RED: Final = "tests/integration/test_audit_corruption.py::test_what_is_corrupted_turns_its_invariant_red"


def _leaves_out(invariant: str, function: str, corruption: str) -> Mutant:
    return _in_judge(
        f"audit_{function.removeprefix('_')}",
        f"the audit judges {invariant} by the counters",
        "it does not",
        _CALLED,
        _CALLED.replace(f"{function}, ", "").replace(f", {function})", ")"),
        (f"{_RED}[{corruption}-]",),
    )


MUTANTS: Final = (
    _in_judge(
        "audit_counted",
        "the counters of the rules are compared with what Postgres counts",
        "they are not",
        _CALLED,
        _CALLED.replace("_counted, ", ""),
        (f"{_RED}[seq_sum_drifts-]",),
    ),
    _leaves_out("I1 NoOversell", "_no_oversell", "more_is_granted_than_released"),
    _leaves_out("I3 NoLostAck", "_no_lost_ack", "a_return_is_forgotten"),
    _leaves_out("I4 OneAnswer", "_one_answer", "a_claim_is_dropped_from_the_cell"),
    _leaves_out("I5 UniqueUnit", "_unique_unit", "three_claims_hold_one_unit_in_postgres"),
    _leaves_out("I6 Conserved", "_conserved", "units_are_issued_that_nobody_has"),
    _in_judge(
        "audit_no_undersell",
        "the audit judges I2 NoUndersell where the demand is known",
        "it does not",
        "        if wanted is not None and campaign.active < min(wanted, released):",
        "        if False:",
        ("tests/integration/test_audit.py::test_an_undersell_shows_where_the_demand_is_known",),
    ),
    _in_audit(
        "audit_counts_only",
        "the claims of the cell are compared one by one",
        "only counters are: two claims that swapped their units look alike",
        "            reached = await comparison.of_campaign(campaign_id, place, bound)\n",
        "            reached = None\n",
        (f"{_RED}[two_claims_swap_their_units_in_the_cell-]",),
    ),
    _in_audit(
        "audit_leaves_pools",
        "free units and free codes are compared with what is held",
        "they are not",
        "        comparison.findings += await check_pools(client, engine, cell.name, sorted(cut.campaigns))\n",
        "",
        (f"{_RED}[a_held_unit_is_free-]",),
    ),
    _in_audit(
        "audit_now",
        "the books are as of the cut's seq",
        "they are as of now: a running sale looks wrong",
        "    books = await read_books(engine, cell.name, cut.seq)\n",
        "    books = await read_books(engine, cell.name, 2**62)\n",
        ("tests/integration/test_audit.py::test_it_is_green_in_the_middle_of_a_rush",),
    ),
    Mutant(
        "grab_service/audit/books.py",
        "audit_codes_now",
        "codes are counted as of the cut's seq, also one that went back since",
        "a code that goes back while the audit looks is lost for it",
        "code IS NOT NULL OR (returned_seq > :seq AND voucher_state IS NOT NULL)) AS codes_out",
        "code IS NOT NULL) AS codes_out",
        ("tests/integration/test_audit.py::test_codes_are_counted_as_of_the_seq_though_one_went_back_since",),
    ),
    Mutant(
        "grab_service/audit/pools.py",
        "audit_codes_ahead_of_the_ledger",
        "free codes are judged only where the ledger has come as far as the cell",
        "a code that went back a moment ago looks as if somebody had it",
        '    "SELECT seq FROM claims WHERE code = ANY(CAST(:free AS text[])) AND seq <= :seq"\n'
        '    " AND (SELECT last_seq FROM log_cursor WHERE cell = :cell) >= :seq"\n',
        '    "SELECT seq FROM claims WHERE code = ANY(CAST(:free AS text[])) AND seq <= :seq"\n',
        ("tests/integration/test_audit.py::test_a_code_that_went_back_is_left_to_the_next_audit_while_the_ledger_lags",),
    ),
    _in_audit(
        "audit_believes_news",
        "a difference is news only if the log says so",
        "a campaign that goes on while it is audited may differ in anything",
        "        findings = judge_configuration(await brought_up(cell, cut, books.cursor_seq), books)\n",
        "        findings = []\n",
        ("tests/integration/test_audit.py::test_what_the_log_changes_after_the_cut_is_no_fault_and_hides_none",),
    ),
    _in_audit(
        "audit_fears_news",
        "a change in the log between the cut and the snapshot is no fault",
        "a running sale looks wrong",
        "    if findings and books.cursor_seq > cut.seq:\n",
        "    if False:\n",
        ("tests/integration/test_audit.py::test_what_the_log_changes_after_the_cut_is_no_fault_and_hides_none",),
    ),
    _in_rotation(
        "audit_cursor_of_another_server",
        "a round of comparisons begins anew when the cell was armed anew",
        "it goes on by a cursor that means nothing to the server that was started since, and passes over claims",
        "        if known.place == BEGINNING or known.arming != arming:\n",
        "        if known.place == BEGINNING:\n",
        ("tests/integration/test_audit.py::test_a_campaign_is_as_old_as_the_begin_of_its_round_and_a_new_arming_begins_anew",),
    ),
    _in_rotation(
        "audit_old_campaigns_first",
        "a campaign whose time is over gives way to those that are open or young",
        "a campaign that nobody has closed by hand counts as open for ever, and takes their half",
        "if one is None or one.over_at_ms > now_ms - YOUNG_MS}",
        "if True}",
        ("tests/integration/test_audit.py::test_open_and_young_campaigns_come_first_and_the_others_have_their_half",),
    ),
)
