"""Guards of the grab path: batcher, gate, view."""

from functools import partial
from typing import Final

from tests.mutants.mutant import Mutant

_in_lifecycle = partial(Mutant, "grab_service/campaigns/lifecycle.py")
_in_batcher = partial(Mutant, "grab_service/grabpath/batcher.py")
_in_gate = partial(Mutant, "grab_service/grabpath/gate.py")
_in_view = partial(Mutant, "grab_service/grabpath/view.py")
_TESTS: Final = "tests/integration/test_grab_path.py::test_"
_HISTORY: Final = "tests/integration/test_histories.py::test_what_members_hear_is_linearizable_by_both_checkers"

MUTANTS: Final = (
    _in_batcher(
        "answered_before_the_reply",
        "a grab is answered with what the script replied",
        '"sold out" is said before the reply has come',
        "        started_s = self._clock()\n        undecided = None\n",
        "        started_s = self._clock()\n        undecided = None\n"
        '        early = GrabReply(0, 0, 0, 0, None, [b"sold_out"] * len(batch[16:]))\n'
        "        self._listener.decided(campaign_id, batch[16:], early)\n",
        (f"{_TESTS}a_crowd_takes_the_stock_and_not_one_more",),
    ),
    _in_batcher(
        "silence_is_no",
        "a grab sent and not answered has an unknown outcome",
        'silence is told as "nothing was decided"',
        "            undecided = Undecided.OUTCOME_UNKNOWN\n",
        "            undecided = Undecided.PAUSED_FOR_RECOVERY\n",
        (_HISTORY,),
    ),
    _in_batcher(
        "late_is_no",
        "a grab sent and not answered within the deadline has an unknown outcome",
        'it is told as "nothing was decided"',
        "Undecided.OUTCOME_UNKNOWN if grab.sent else Undecided.OVERLOADED",
        "Undecided.OVERLOADED",
        (f"{_TESTS}what_was_sent_too_late_to_be_heard_is_an_unknown_outcome",),
    ),
    _in_batcher(
        "no_deadline",
        "every grab is answered within its deadline",
        "nobody looks at the deadlines",
        "(unanswered[0].decided or unanswered[0].deadline_s <= now_s)",
        "unanswered[0].decided",
        (f"{_TESTS}what_was_sent_too_late_to_be_heard_is_an_unknown_outcome",),
    ),
    _in_batcher(
        "undone_by_guess",
        "nothing is undone by a guess: who hears nothing asks again",
        "after silence whatever was won is given back",
        "            undecided = Undecided.OUTCOME_UNKNOWN\n",
        "            undecided = Undecided.OUTCOME_UNKNOWN\n"
        "            for grab in batch:\n"
        "                for _ in range(20):\n"
        "                    try:\n"
        "                        holding = (await self._cell.read_claims(grab.member_id, [campaign_id]))[0]\n"
        "                        if holding:\n"
        '                            seq = int(holding.split(b"seq=")[1].split(b"\\t")[0])\n'
        '                            await self._cell.return_unit(campaign_id, grab.member_id, seq, "returned")\n'
        "                        break\n"
        "                    except (CellClosedError, CellSilentError, CellUnreachableError):\n"
        "                        await asyncio.sleep(0.02)\n",
        (_HISTORY,),
    ),
    _in_batcher(
        "waiting_unbounded",
        "so many grabs may wait in a worker, and more hear `overloaded`",
        "any number may wait",
        "if self._queued >= self._waiting_max or (",
        "if (",
        (f"{_TESTS}who_may_not_wait_any_more_is_told_so_at_once",),
    ),
    _in_batcher(
        "candidates_used_again",
        "a candidate code that somebody won is not offered again",
        "all candidates of a batch are",
        ' if not said.startswith(b"won")])',
        "])",
        (f"{_TESTS}no_code_is_offered_again_once_it_is_won",),
    ),
    _in_gate(
        "stale_view",
        "a view refuses for 50 ms after its question was sent",
        "its age is not looked at",
        "until_s = min(fresh_until_s, changes_at_s)",
        "until_s = changes_at_s",
        (f"{_TESTS}the_gate_says_nothing_once_its_view_is_old",),
    ),
    _in_view(
        "view_as_old_as_its_answer",
        "a view is as old as the moment at which its question was sent",
        "as the one at which its answer was read: a slow network makes it look young",
        "        self.complete_at_s = sent_at_s\n",
        "        self.complete_at_s = read_at_s\n",
        (f"{_TESTS}a_slow_network_makes_the_view_old_and_never_young",),
    ),
    _in_gate(
        "holder_refused",
        "nobody is refused by a gate who holds a claim",
        'a holder is told "sold out"',
        " or member_id in campaign.holders:",
        ":",
        (f"{_TESTS}the_gate_never_refuses_a_holder_nor_whom_a_key_binds_to_a_claim_given_back",),
    ),
    _in_view(
        "bound_refused",
        "nobody is refused by a gate who ever bound a claim to a key",
        "a worker that starts late does not know of them",
        "for key in (keys.claims, keys.bindings):",
        "for key in (keys.claims,):",
        (f"{_TESTS}a_worker_that_starts_late_knows_all_who_hold_or_held",),
    ),
    _in_gate(
        "half_known",
        "a view refuses nobody before all its holders were read",
        "it refuses at once, and a holder is told that it is sold out",
        "campaign is None or not campaign.ready or ",
        "campaign is None or ",
        (f"{_TESTS}nobody_is_refused_before_all_who_hold_are_known",),
    ),
    _in_view(
        "lacks_while_it_begins_anew",
        "a view that begins anew says of no campaign that it does not exist",
        "a campaign that is not read yet is not found",
        '        self.complete_at_s = float("-inf")  # it lacks campaigns until all are read\n',
        "",
        (f"{_TESTS}a_view_that_begins_anew_says_of_no_campaign_that_it_does_not_exist",),
    ),
    _in_view(
        "each_who_waits_polls",
        "all who wait for a fresh view share the next poll",
        "waiters hear nothing of it",
        "        self._completed.set()\n",
        "",
        (f"{_TESTS}all_who_wait_for_a_fresh_view_share_one_poll",),
    ),
    Mutant(
        "grab_service/grabpath/path.py",
        "made_up_ids_reach_the_cell",
        "a grab of a campaign that a fresh view lacks is refused by the worker",
        "anybody makes the cell work by making up ids",
        "        if campaign is None:\n            if not is_campaign_id",
        "        if False:\n            if not is_campaign_id",
        ("tests/security/test_open_calls.py::test_ids_that_somebody_makes_up_are_refused_without_the_cell",),
    ),
    _in_gate(
        "ended_by_the_highest_time",
        '"ended" is said only if even the lowest possible time lies at closing or after it',
        "a little earlier",
        "low_ms >= campaign.closes_at_ms:",
        "low_ms + 20 >= campaign.closes_at_ms:",
        (f"{_TESTS}the_gate_is_silent_around_a_closing",),
    ),
    _in_view(
        "view_skips_a_gap",
        "a view that missed an entry is built anew",
        "it goes on behind the gap",
        "            if event.seq != self._seq + 1:",
        "            if False:",
        (f"{_TESTS}a_view_that_missed_an_entry_is_built_anew",),
    ),
    _in_gate(
        "verdict_outlives_the_opening",
        "a verdict ends before the next opening",
        "it lasts as long as its view is young",
        "                return now_s + (time_ms - high_ms - CLOCK_STEP_MS) / 1000",
        "                return now_s + 1000.0",
        (f"{_TESTS}the_gate_is_silent_around_an_opening",),
    ),
    _in_lifecycle(
        "answered_before_views_know",
        "a change of ops is answered when no worker's view can be older than it",
        "it is answered at once",
        "    await asyncio.sleep(max(0.0, began_at_s + SETTLE_S - loop.time()))\n",
        "",
        ("tests/integration/test_ops_campaigns.py::test_a_change_is_answered_when_no_view_can_be_older",),
    ),
    _in_lifecycle(
        "answered_before_recorded",
        "a change of ops is answered when the ledger has it",
        "when the cell has it",
        "            while ((await connection.execute(last_seq)).scalar_one_or_none() or 0) < seq:",
        "            while ((await connection.execute(last_seq)).scalar_one_or_none() or 0) < 0:",
        ("tests/integration/test_ops_campaigns.py::test_an_unrecorded_change_is_not_answered_as_done",),
    ),
)
