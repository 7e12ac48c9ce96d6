"""Guards of claims that are told only once they are on record."""

from functools import partial
from typing import Final

from tests.mutants.mutant import Mutant

_in_drain = partial(Mutant, "reconcile/drain/drain.py")
_in_store = partial(Mutant, "grab_service/cell/store.py")
_in_responder = partial(Mutant, "grab_service/grabpath/responder.py")
_in_durability = partial(Mutant, "grab_service/vocabulary/durability.py")
_TESTS: Final = "tests/integration/test_record.py::test_"
_WAITS: Final = f"{_TESTS}a_winner_hears_of_the_claim_when_the_ledger_has_noted_its_seq_and_not_before"
_UNKNOWN: Final = f"{_TESTS}without_its_record_the_outcome_of_a_grab_is_unknown_and_so_is_that_of_its_repeat"
_WHOLE: Final = f"{_TESTS}with_a_ledger_winners_hear_at_once_and_without_one_nobody_hears"

MUTANTS: Final = (
    _in_responder(
        "told_before_its_record",
        "a winner hears of a claim when it is on record",
        "at once",
        "                if self._unrecorded is None:\n                    won += 1",
        "                if True:\n                    won += 1",
        (_WAITS,),
    ),
    _in_responder(
        "repeat_told_before_its_record",
        "a repeat that finds a claim waits for its record as well",
        "it hears of the claim at once",
        "if self._unrecorded is None or int(epoch)",
        "if True or self._unrecorded is None or int(epoch)",
        (_UNKNOWN,),
    ),
    _in_store(
        "listed_before_its_record",
        "a member's claims are those on record",
        "all that the cell holds",
        "for holding in holdings] if only_recorded else holdings",
        "for holding in holdings] if False else holdings",
        (f"{_TESTS}claims_of_a_member_are_those_on_record",),
    ),
    _in_durability(
        "record_of_another_life",
        "the ledger's note of another life of the cell says nothing of this one",
        "only the seq is compared",
        "return epoch == self.epoch and seq <= self.seq",
        "return seq <= self.seq",
        (f"{_TESTS}the_note_of_another_life_tells_nobody",),
    ),
    _in_drain(
        "noted_before_commit",
        "the ledger notes a cursor in the cell when PostgreSQL has committed it",
        "before",
        "            try:\n                await self._commit_and_read_ahead(link, page)",
        "            try:\n                await self._note_recorded(link, page.until)\n"
        "                await self._commit_and_read_ahead(link, page)",
        (f"{_TESTS}nothing_is_noted_that_postgres_has_not_committed",),
    ),
    _in_drain(
        "nothing_noted",
        "the ledger notes in the cell how far the log is on record",
        "never",
        "        await self._note_recorded(link, cursor)\n",
        "",
        (_WHOLE,),
    ),
    _in_drain(
        "older_note_stays",
        "an older note of a ledger that slept through its replacement is written over",
        "it stays until the next commit, and new workers tell nobody of a claim",
        "                    self._noted = None\n",
        "                    pass\n",
        (f"{_TESTS}an_older_note_that_a_ledger_left_which_slept_is_written_over",),
    ),
    _in_drain(
        "note_refused_stops",
        "a Redis that refuses the note does not stop the drain",
        "the ledger crashes",
        "        except ResponseError as error:\n            # Memory",
        "        except ZeroDivisionError as error:\n            # Memory",
        (f"{_TESTS}a_redis_that_refuses_the_note_does_not_stop_the_drain",),
    ),
)
