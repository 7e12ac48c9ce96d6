"""Guards of what a worker believes about the union of a member."""

from functools import partial
from typing import Final

from tests.mutants.mutant import Mutant

_in_affiliations = partial(Mutant, "grab_service/grabpath/affiliations.py")
_in_view = partial(Mutant, "grab_service/grabpath/view.py")
_UNIT: Final = "tests/unit/test_affiliations.py::test_"
_TESTS: Final = "tests/integration/test_affiliations.py::test_"

MUTANTS: Final = (
    _in_view(
        "change_of_union_not_read",
        "a worker reads from the log who changed the union",
        "it believes passes that name a union of the past",
        "            self._affiliations.apply(event)\n",
        "            pass\n",
        (f"{_TESTS}a_member_whose_union_changes_is_certain_no_more_and_nobody_else",),
    ),
    _in_view(
        "older_than_the_worker",
        "a pass from before a worker began to read the log is not believed",
        "it is, whatever changed before",
        "begin(members_version, reply.now_ms)",
        "begin(members_version, 0)",
        (f"{_TESTS}a_worker_does_not_believe_passes_from_before_it_began",),
    ),
    _in_view(
        "old_view_certain",
        "a view that is old is certain of no union",
        "it goes on by what it knew",
        "return self._affiliations.org_of(token) if self.is_fresh else None",
        "return self._affiliations.org_of(token)",
        (f"{_TESTS}a_view_that_is_old_is_certain_of_nobody",),
    ),
    _in_affiliations(
        "clocks_agree",
        "the clock that made a pass may be ahead of Redis' clock",
        "a pass is as new as it says, and outlives a change of the next minute",
        "(said.made_at_s - CLOCKS_APART_S) * 1000",
        "said.made_at_s * 1000",
        (f"{_UNIT}a_pass_that_may_be_older_than_a_change_is_not_believed_and_a_newer_one_is",),
    ),
    _in_affiliations(
        "begun_anew_with_the_old",
        "a worker that begins anew forgets what it knew of changes",
        "an old change hides those that it missed",
        "        self._known_since_ms = now_ms\n        self._changed_at_ms.clear()\n",
        "        self._known_since_ms = now_ms\n",
        (f"{_UNIT}a_worker_that_begins_anew_believes_no_older_pass",),
    ),
    _in_affiliations(
        "forgotten_change",
        "a change that is forgotten counts for everybody",
        "it counts for nobody",
        "            _, self._known_since_ms = self._changed_at_ms.popitem(last=False)\n",
        "            self._changed_at_ms.popitem(last=False)\n",
        (f"{_UNIT}of_more_changes_than_are_remembered_the_oldest_counts_for_everybody",),
    ),
    _in_affiliations(
        "newest_change_forgotten",
        "the oldest change is forgotten first",
        "that of the member who was first to change, however often since",
        "            self._changed_at_ms.move_to_end(member_id)\n",
        "",
        (f"{_UNIT}of_more_changes_than_are_remembered_the_oldest_counts_for_everybody",),
    ),
    _in_affiliations(
        "changes_unbounded",
        "so many changes of unions are remembered and no more",
        "all are",
        "        while len(self._changed_at_ms) > CHANGES_MAX:\n",
        "        while False:\n",
        (f"{_UNIT}of_more_changes_than_are_remembered_the_oldest_counts_for_everybody",),
    ),
    _in_affiliations(
        "entry_that_names_nobody",
        "an entry of a release that names nobody may have changed everybody's union",
        "it changed nobody's",
        "            self._known_since_ms = event.at_ms\n",
        "            pass\n",
        (f"{_UNIT}after_an_entry_that_names_nobody_no_older_pass_is_believed",),
    ),
    _in_affiliations(
        "entry_that_leaves_the_old",
        "such an entry counts for those, too, whose change is remembered",
        "an older change hides the one that it may have been",
        "            self._changed_at_ms.clear()\n            return\n",
        "            return\n",
        (f"{_UNIT}after_an_entry_that_names_nobody_no_older_pass_is_believed",),
    ),
)
