"""Guards of what is counted: once, for campaigns that exist, within bounds, and never too high."""

from functools import partial
from typing import Final

from tests.mutants.mutant import Mutant

_in_responder = partial(Mutant, "grab_service/grabpath/responder.py")
_in_path = partial(Mutant, "grab_service/grabpath/path.py")
_in_metrics = partial(Mutant, "grab_service/metrics.py")
_in_counting = partial(Mutant, "grab_service/server/counting.py")
_in_worker = partial(Mutant, "grab_service/server/worker.py")
_in_words = partial(Mutant, "grab_service/vocabulary/counts.py")
_in_reader = partial(Mutant, "reconcile/maintenance/counts.py")
_in_rights = partial(Mutant, "grab_service/cell/rights.py")
_TESTS: Final = "tests/integration/test_counts.py::test_"
_ONCE: Final = f"{_TESTS}every_answer_is_counted_once_and_made_up_ids_for_no_campaign"
_LATE: Final = f"{_TESTS}a_win_that_is_told_too_late_is_counted_as_what_was_answered"
_BOUNDED: Final = f"{_TESTS}what_a_worker_keeps_is_bounded"
_ADDED: Final = f"{_TESTS}counts_are_added_up_once_by_second_campaign_and_outcome"

MUTANTS: Final = (
    _in_responder(
        "win_counted_before_it_is_told",
        "a win counts when it is told",
        "when it is won, and once more as outcome-unknown",
        "                if self._unrecorded is None:\n                    won += 1",
        "                won += 1\n                if self._unrecorded is None:",
        (_LATE,),
    ),
    _in_responder(
        "held_counted_before_it_is_told",
        "a repeat counts when the claim is told",
        "when the cell answers, and once more as outcome-unknown",
        "            if outcome is Outcome.HELD:\n",
        "            if outcome is Outcome.HELD:\n                tally[outcome.value] += 1\n",
        (_LATE,),
    ),
    _in_path(
        "counted_for_made_up_ids",
        "an id that is no campaign's makes no entry",
        "it makes one",
        "counted_for = NO_CAMPAIGN if campaign is None else campaign_id",
        "counted_for = campaign_id",
        (_ONCE,),
    ),
    _in_metrics(
        "any_number_of_campaigns_counted",
        "so many campaigns are counted by themselves in a second and no more",
        "all are",
        " or len(self._counts) < CAMPAIGNS_MAX",
        " or True",
        (_BOUNDED,),
    ),
    _in_counting(
        "lost_counts_sent_again",
        "counts whose call brought no answer are not sent again",
        "they are, and are added twice if they had been written",
        "        except (CellClosedError, CellUnreachableError):",
        "        except CellError:",
        (f"{_TESTS}a_call_without_an_answer_is_not_repeated",),
    ),
    _in_counting(
        "refused_counts_forgotten",
        "counts that the cell did not take are kept",
        "they are forgotten",
        "                self._keep(second, by_campaign)",
        "                pass",
        (f"{_TESTS}a_full_redis_refuses_the_counts_and_gets_them_later_and_members_are_answered_meanwhile",),
    ),
    _in_counting(
        "kept_without_bound",
        "a worker keeps so many figures and no more",
        "all of them, however long the cell takes none",
        "for tally in by_campaign.values()) > KEPT_MAX:",
        "for tally in by_campaign.values()) > 10**9:",
        (_BOUNDED,),
    ),
    _in_worker(
        "last_counts_not_written",
        "a worker that ends writes down what it has counted",
        "it takes its last second along",
        "            await self.counting.close()\n",
        "",
        (_LATE,),
    ),
    _in_reader(
        "counts_cursor_not_compared",
        "the cursor of counts moves by compare-and-set",
        "a ledger that slept through its replacement adds what its successor has added",
        ", counts_cursor.c.last_id == before)",
        ")",
        (f"{_TESTS}of_two_ledgers_that_have_read_the_same_one_adds_it[1-0]",),
    ),
    _in_reader(
        "first_counts_added_twice",
        "of two ledgers that read counts for the first time one adds them",
        "both do",
        "if (await connection.execute(moved)).rowcount != 1:",
        "if (await connection.execute(moved)).rowcount > 1:",
        (f"{_TESTS}of_two_ledgers_that_have_read_the_same_one_adds_it[None]",),
    ),
    _in_reader(
        "counts_replaced",
        "counts of several workers are added",
        "the last one stands",
        "SET n = counts.n + excluded.n",
        "SET n = excluded.n",
        (_ADDED,),
    ),
    _in_reader(
        "nobody_counted_by_the_second",
        "what counts for no campaign is kept by the hour",
        "by the second, without end",
        "sums[coarse if place.campaign_id == NO_CAMPAIGN else place] += n",
        "sums[place] += n",
        (f"{_TESTS}without_a_campaign_counts_are_kept_by_the_hour",),
    ),
    _in_reader(
        "counts_never_trimmed",
        "the ledger trims counts that are a day old",
        "they stay until there are too many",
        "            if turn == 0:\n",
        "            if turn < 0:\n",
        (f"{_TESTS}a_ledger_adds_up_while_it_leads_and_trims_what_is_a_day_old",),
    ),
    _in_words(
        "any_number_is_a_count",
        "what no worker writes is no count",
        "anything is one that has the form",
        "        if not (named and ",
        "        if False and not (named and ",
        (f"{_TESTS}what_no_worker_writes_is_no_count",),
    ),
    _in_rights(
        "no_right_to_the_counts",
        "workers and ledger may use the keys of counts",
        "Redis refuses them in the middle of a script",
        '"campaigns", "counts", "workers")',
        '"campaigns", "counts")',
        ("tests/integration/test_rights.py::test_no_script_is_refused_anything_inside",),
    ),
)
