"""Guards of the way from the log to the rows."""

from functools import partial
from typing import Final

from tests.mutants.mutant import Mutant

_in_returned = partial(Mutant, "reconcile/drain/appliers/returned.py")
_in_drain = partial(Mutant, "reconcile/drain/drain.py")
_in_pages = partial(Mutant, "reconcile/drain/pages.py")
_in_house = partial(Mutant, "reconcile/maintenance/housekeeping.py")
_TESTS: Final = "tests/integration/test_drain.py::test_"
_STOPS: Final = "tests/integration/test_drain_faults.py::test_the_drain_stops_at_a_fault_and_goes_on_once_it_is_mended"
_FAULTS: Final = "tests/integration/test_drain_faults.py::test_"
_KEPT: Final = "tests/integration/test_housekeeping.py::test_"

MUTANTS: Final = (
    _in_drain(
        "cursor_not_compared",
        "the cursor moves by compare-and-set: a ledger that slept through its replacement commits nothing",
        "a zombie moves the cursor wherever it stands",
        "                    .where(log_cursor.c.epoch == cursor.epoch, log_cursor.c.last_seq == cursor.last_seq)\n",
        "",
        (f"{_TESTS}a_ledger_that_slept_through_its_replacement_writes_nothing",),
    ),
    _in_drain(
        "cursor_of_any_epoch",
        "the cursor moves only within its epoch: nothing of a life that is over is drained",
        "the epoch of the cursor is not compared",
        ".where(log_cursor.c.epoch == cursor.epoch, log_cursor.c.last_seq",
        ".where(log_cursor.c.last_seq",
        (f"{_TESTS}nothing_of_a_life_that_is_over_can_be_drained_any_more",),
    ),
    _in_pages(
        "entry_of_any_epoch",
        "an entry of another epoch stops the drain",
        "it is drained like any other",
        "if event.epoch != cursor.epoch:",
        "if False:",
        (f"{_STOPS}[a_foreign_epoch]",),
    ),
    _in_pages(
        "gap_skipped",
        "a gap in the log stops the drain",
        "the entries after the gap are drained",
        "if event.seq != expected:",
        "if event.seq < expected:",
        (f"{_STOPS}[a_gap]",),
    ),
    _in_pages(
        "no_dedupe",
        "an entry that begins before the cursor is a duplicate, and stops the drain",
        "it is applied once more",
        "if event.seq != expected:",
        "if event.seq > expected:",
        (f"{_STOPS}[an_overlap]",),
    ),
    _in_pages(
        "poison_skipped",
        "an entry that does not decode stops the drain",
        "it is passed over",
        "            except BadEntryError as error:\n"
        "                return events, DrainFaultError(AlarmKind.LOG_BAD_ENTRY, str(error), name)",
        "            except BadEntryError:\n                expected += 1\n                continue",
        (f"{_STOPS}[an_unknown_type]",),
    ),
    _in_pages(
        "another_log",
        "the entry at the cursor is compared with the one that was drained",
        "another log under the same name is drained on",
        "if (at_ms, last_seq) != (cursor.at_ms, cursor.last_seq):",
        "if False:",
        (f"{_FAULTS}another_log_under_the_same_name_is_noticed",),
    ),
    _in_pages(
        "lost_end",
        "a log that lacks what was drained last must begin with an epoch",
        "it is drained on",
        "if not anchored and not events and not isinstance(event, EpochBegan):",
        "if False:",
        (f"{_FAULTS}a_log_that_lost_what_was_drained_last_is_noticed",),
    ),
    Mutant(
        "reconcile/drain/rows.py",
        "violation_not_heard",
        "no `ON CONFLICT`: a row that cannot be is seen",
        "the refusal by Postgres of a unit or a code in two claims is not heard",
        '        raise DBAPIError("COPY claims", None, error, hide_parameters=True) from error\n',
        "        return\n",
        (f"{_STOPS}[a_unit_twice]", f"{_STOPS}[a_code_twice]"),
    ),
    _in_drain(
        "acknowledged_before_commit",
        "rows and cursor are committed together",
        "the cursor is committed first, and the rows after it",
        "                await self._rows.write(connection, events)\n",
        "            async with self._engine.begin() as connection:\n"
        "                await self._rows.write(connection, events)\n",
        (f"{_TESTS}rows_and_cursor_are_written_together_or_not_at_all",),
        short=True,
    ),
    _in_drain(
        "rows_before_the_cursor",
        "rows and cursor are committed together",
        "the rows are committed before it is known whether the cursor may move",
        "            async with self._engine.begin() as connection:\n                taken",
        "            async with self._engine.begin() as connection:\n"
        "                await self._rows.write(connection, events)\n"
        "            async with self._engine.begin() as connection:\n                taken",
        (f"{_TESTS}a_won_claim_is_on_record_with_everything_that_was_said_of_it",),
    ),
    _in_drain(
        "violation_sells_on",
        "an impossible claim pauses its campaign",
        "the alarm is raised and the sale goes on",
        "                await self._pause(fault.campaign_id)",
        "                pass",
        (f"{_FAULTS}a_violation_pauses_the_campaign_in_the_cell",),
    ),
    Mutant(
        "reconcile/drain/appliers/epoch_began.py",
        "no_such_epoch",
        "an epoch begins in Postgres first, and the log's word for it is compared",
        "any `epoch_began` is believed",
        '"SELECT count(*) FROM epochs WHERE epoch = :epoch AND predecessor = :predecessor AND first_seq = :seq"',
        '"SELECT 1"',
        (f"{_STOPS}[an_epoch_nobody_began]",),
    ),
    _in_house(
        "trim_undrained",
        "only what is in Postgres is trimmed off the log",
        "old entries are trimmed, drained or not",
        'int(entry_id.split(b"-")[0]) < cursor.last_seq and int(',
        "int(",
        (f"{_KEPT}nothing_is_trimmed_that_nobody_has_drained",),
    ),
    _in_house(
        "maxlen",
        "the log is never trimmed by its length",
        "`MAXLEN`: the newest hundred entries are kept",
        "minid=page[keep][0], approximate=False",
        "maxlen=100, approximate=False",
        (f"{_KEPT}the_log_is_trimmed_below_what_is_drained_and_keeps_the_last_one", f"{_KEPT}a_long_log_is_trimmed_in_steps"),
    ),
    _in_house(
        "trim_young",
        "entries younger than the retention stay in the log",
        "everything drained is trimmed",
        ' and int(fields[b"at_ms"]) < horizon_ms',
        "",
        (f"{_KEPT}what_is_young_stays_though_it_is_drained",),
    ),
    _in_returned(
        "return_of_nothing",
        "a return on the log must name a claim, its member and its unit",
        "a return of nothing is drained",
        '    await change_one(connection, _RETURNED, values, event, "no such claim, or its unit came back before")',
        "    await connection.execute(_RETURNED, values)",
        (f"{_STOPS}[a_return_of_nothing]",),
    ),
    _in_returned(
        "returned_code_kept",
        "a code that went back to its pool is no longer that of the claim",
        "the claim keeps it, and its next holder is one too many",
        '    " decided_at_ms = coalesce(decided_at_ms, :at_ms),"\n    " code = CASE WHEN :code = \'\' THEN code END "\n',
        '    " decided_at_ms = coalesce(decided_at_ms, :at_ms) "\n',
        ("tests/integration/test_sweep.py::test_the_code_of_a_pool_goes_back_with_its_unit_and_is_granted_again",),
    ),
    Mutant(
        "reconcile/maintenance/sweep.py",
        "outbox_forgets",
        "a return that Postgres decided is sent to the cell until the log says that it was done",
        "it is sent once",
        "select(commands).where(commands.c.done_seq.is_(None))",
        "select(commands).where(commands.c.done_seq.is_(None), commands.c.last_outcome.is_(None))",
        ("tests/integration/test_sweep.py::test_a_command_that_cannot_be_is_said_and_does_not_hold_up_the_others",),
    ),
    Mutant(
        "reconcile/process.py",
        "stands_still_in_a_batch",
        "a ledger that stands still in the midst of a batch keeps its successor waiting for 5 s at most",
        "Postgres leaves it the row of the cursor for a minute",
        "        idle_in_transaction_timeout_s=DRAIN_STANDS_STILL_MAX_S,\n",
        "",
        (f"{_TESTS}a_ledger_that_stands_still_in_the_midst_of_a_batch_keeps_nobody_from_draining",),
    ),
)
