"""Guards of two changes at once, of the moment at which something ends, of exact numbers, of single lines of configuration."""

from functools import partial
from typing import Final

from tests.mutants.mutant import Mutant

_in_lifecycle = partial(Mutant, "grab_service/campaigns/lifecycle.py")
_in_campaigns = partial(Mutant, "grab_service/campaigns/service.py")
_in_give_back = partial(Mutant, "grab_service/claims/give_back.py")
_in_rates = partial(Mutant, "grab_service/grabpath/rates.py")
_in_gate = partial(Mutant, "grab_service/grabpath/gate.py")
_AT_ONCE: Final = "tests/integration/test_two_at_once.py::test_"
_MEMBERS: Final = "tests/integration/test_api_members.py::test_"
_OF_RATES: Final = "tests/unit/test_rates.py::test_"
_OF_GATE: Final = "tests/integration/test_grab_path.py::test_a_refusal_ends_at_the_last_moment_at_which_it_is_certain"
_CERTAIN: Final = ("tests/unit/test_gate.py::test_only_what_is_certain_is_refused",)
_NEXT: Final = ("tests/unit/test_gate.py::test_a_refusal_ends_before_what_comes_next",)
_ANEW: Final = ("tests/unit/test_gate.py::test_a_refusal_ends_with_the_age_of_the_view_and_a_fresh_view_judges_anew",)
_CHANGES: Final = ("tests/unit/test_gate.py::test_each_change_that_a_fresh_view_shows_is_obeyed_at_once",)
_RUNNING_VALKEY: Final = (
    "tests/integration/test_servers_life.py::test_a_server_keeps_its_address_and_what_was_written[valkey-stop]",
)
_IMPORTS: Final = "tests/integration/test_ops_imports.py::test_"
_in_publish = partial(Mutant, "grab_service/publishing/publish.py")
_in_view = partial(Mutant, "grab_service/grabpath/view.py")
_in_valkey = partial(Mutant, "grab_service/embedded/valkey.py")

MUTANTS: Final = (
    _in_campaigns(
        "draft_changed_blind",
        "a draft is changed only if it is the version that was read",
        "the change that came between is written over",
        "                    .where(campaigns.c.version == campaign.version)\n",
        "",
        (f"{_AT_ONCE}a_draft_that_changed_since_it_was_read_is_left_alone",),
    ),
    _in_campaigns(
        "draft_changed_after_scheduling",
        "only a draft is changed",
        "a campaign that was scheduled meanwhile is changed, and the cell has another one",
        "                    .where(campaigns.c.state == CampaignState.DRAFT.value)\n",
        "",
        (f"{_AT_ONCE}a_draft_that_changed_since_it_was_read_is_left_alone",),
    ),
    _in_campaigns(
        "draft_scheduled_blind",
        "a draft is scheduled only if it is the version that preflight looked at",
        "a version that nobody has looked at is scheduled",
        "            .where(campaigns.c.version == campaign.version)\n            .where",
        "            .where",
        (f"{_AT_ONCE}a_draft_that_changed_since_it_was_read_is_left_alone",),
    ),
    _in_campaigns(
        "cancelled_draft_scheduled",
        "only a draft is scheduled",
        "a draft that was cancelled meanwhile is scheduled",
        "            .where(campaigns.c.state == CampaignState.DRAFT.value)\n            .values(state=CampaignState.SCHEDULED",
        "            .values(state=CampaignState.SCHEDULED",
        (f"{_AT_ONCE}a_draft_that_changed_since_it_was_read_is_left_alone",),
    ),
    _in_lifecycle(
        "cancelled_as_what_it_was",
        "a draft that is scheduled while somebody cancels it is cancelled as a scheduled campaign",
        "the call says that drafts cannot be cancelled",
        "            campaign = await read_campaign(engine, campaign_id)  # a draft",
        "            # a draft",
        (f"{_AT_ONCE}a_draft_that_is_scheduled_while_somebody_cancels_it_is_cancelled_as_what_it_is",),
    ),
    Mutant(
        "grab_service/members/versions.py",
        "blocked_beside_an_import",
        "one change of members at a time has its version and commits",
        "a version is told to the cell while a lower one is not committed, which it never hears of",
        "    await lock_versions(connection)\n    version",
        "    version",
        (f"{_AT_ONCE}a_member_who_changes_while_others_are_imported_waits_and_all_reach_the_cell[block]",),
    ),
    Mutant(
        "grab_service/members/service.py",
        "imports_at_once",
        "one import of members at a time has its versions and commits",
        "a version is told to the cell while a lower one is not committed, which it never hears of",
        "            await lock_versions(connection)\n",
        "",
        (f"{_AT_ONCE}a_member_who_changes_while_others_are_imported_waits_and_all_reach_the_cell[import]",),
    ),
    Mutant(
        "grab_service/campaigns/codes.py",
        "codes_at_once",
        "one import of codes at a time takes its positions",
        "two take the same positions, and one of them fails",
        '    await connection.execute(_TAKE_LOCK, {"lock": LOCK})\n',
        "",
        (f"{_AT_ONCE}codes_that_come_in_at_once_stand_one_after_the_other",),
    ),
    _in_give_back(
        "voucher_good_at_its_end",
        "a voucher can be given back until it ends, and not at its end",
        "at its very end, too",
        "claims.c.valid_until_ms > now_ms,",
        "claims.c.valid_until_ms >= now_ms,",
        (f"{_MEMBERS}a_voucher_can_be_given_back_until_the_very_moment_at_which_it_ends",),
    ),
    _in_give_back(
        "minute_of_returns",
        "a return counts for a minute",
        "for a millisecond more",
        "_before.c.decided_at_ms > now_ms - MINUTE_MS",
        "_before.c.decided_at_ms >= now_ms - MINUTE_MS",
        (f"{_MEMBERS}the_tenth_return_before_counts_for_a_minute_to_the_millisecond",),
    ),
    _in_rates(
        "burst_and_one",
        "a member has as many grabs in a window as the burst says",
        "one more",
        "if count >= self._burst:",
        "if count > self._burst:",
        (f"{_OF_RATES}as_many_grabs_as_the_burst_pass_in_a_window_and_not_one_more",),
    ),
    _in_rates(
        "window_without_end",
        "the window of a rate ends",
        "a member who was slowed down once is slowed down for good",
        "            self._counts = {}\n",
        "            self._counts = self._counts\n",
        (f"{_OF_RATES}a_window_ends_and_a_member_who_was_slowed_down_may_grab_again",),
    ),
    _in_gate(
        "paused_before_opening",
        "while it is not certain whether a campaign has opened, Lua is asked",
        "paused is said of a campaign that is not open yet",
        "if low_ms < campaign.opens_at_ms or high_ms",
        "if high_ms",
        (_OF_GATE,),
    ),
    _in_gate(
        "later_releases_forgotten",
        "sold out is said only until the next release can open",
        "for as long as the view is young",
        "min([campaign.closes_at_ms, *later])",
        "min([campaign.closes_at_ms])",
        (_OF_GATE,),
    ),
    _in_gate(
        "verdict_for_ever",
        "a refusal ends at the last moment at which it is certain",
        "it holds until the next poll",
        " or now_s > refusal.until_s:",
        ":",
        (_OF_GATE,),
    ),
    _in_lifecycle(
        "armed_and_cancelled",
        "only a draft is cancelled in Postgres alone",
        "one that was armed meanwhile is cancelled there, and sold on in the cell",
        "            .where(campaigns.c.state == CampaignState.DRAFT.value)\n",
        "",
        (f"{_AT_ONCE}a_draft_that_is_scheduled_while_somebody_cancels_it_is_cancelled_as_what_it_is",),
    ),
    _in_rates(
        "window_ends_before_the_wait",
        "a refused member is told to wait a second at least",
        "at the very end of a window the refusal is taken for a yes",
        "max(1, int(",
        "max(0, int(",
        (f"{_OF_RATES}a_window_ends_and_a_member_who_was_slowed_down_may_grab_again",),
    ),
    _in_give_back(
        "wait_of_another_return",
        "a member who gave back too much waits for the first of the last ten",
        "for the one before it",
        "offset(RETURNS_A_MINUTE - 1)",
        "offset(RETURNS_A_MINUTE)",
        (f"{_MEMBERS}a_member_who_gave_back_too_much_waits_for_the_first_of_the_last_ten",),
    ),
    _in_gate(
        "verdict_of_an_older_view",
        "a fresh view judges anew",
        "a refusal stays until it ends by itself",
        "if refusal is None or refusal.complete_at_s != self._view.complete_at_s:",
        "if refusal is None:",
        _ANEW,
    ),
    _in_gate(
        "sold_out_past_the_closing",
        "sold out ends before the closing",
        "with the next release, if there is one",
        "reached_at_s(min([campaign.closes_at_ms, *later]))",
        "reached_at_s(min(later, default=campaign.closes_at_ms))",
        _NEXT,
    ),
    _in_gate(
        "paused_past_the_closing",
        "paused ends before the closing",
        "with the age of the view only",
        "Outcome.PAUSED, reached_at_s(campaign.closes_at_ms)",
        "Outcome.PAUSED, FOREVER",
        _NEXT,
    ),
    _in_gate(
        "clock_read_as_exact",
        "the cell's clock is read in whole milliseconds, and may be that much ahead",
        "it is taken to be exact",
        "(time_ms - high_ms - CLOCK_STEP_MS)",
        "(time_ms - high_ms)",
        _CERTAIN,
    ),
    _in_gate(
        "release_that_may_be_there",
        "a release that may be there is asked for in the cell",
        "sold out is said by the lower bound of the clock",
        "released_by(campaign.releases, high_ms) <= campaign.active",
        "released_by(campaign.releases, low_ms) <= campaign.active",
        _CERTAIN,
    ),
    _in_gate(
        "last_unit_unseen",
        "as many units held as released is sold out",
        "only more than that",
        "high_ms) <= campaign.active",
        "high_ms) < campaign.active",
        _CERTAIN,
    ),
    _in_gate(
        "ended_by_ops_alone",
        "a campaign ends by ops, or by its time",
        "by ops alone",
        " or low_ms >= campaign.closes_at_ms:",
        ":",
        _CERTAIN,
    ),
    _in_gate(
        "ended_by_time_alone",
        "a campaign ends by ops, or by its time",
        "by its time alone",
        "campaign.state is CampaignState.CLOSED or low_ms",
        "low_ms",
        _CERTAIN,
    ),
    _in_view(
        "stock_unseen",
        "a worker takes in a change of stock",
        "it refuses by the stock of before",
        "            self.releases = event.releases\n",
        "            pass\n",
        _CHANGES,
    ),
    _in_view(
        "return_unseen",
        "a worker takes in a return",
        "the unit that came back is sold out for it",
        "            self.active -= 1\n",
        "            pass\n",
        _CHANGES,
    ),
    _in_view(
        "entry_twice",
        "an entry that is in the view already is passed over",
        "it is taken in twice",
        "if event.last_seq <= self.as_of_seq:",
        "if event.last_seq < self.as_of_seq:",
        ("tests/unit/test_gate.py::test_an_entry_that_the_view_has_already_changes_nothing",),
    ),
    _in_publish(
        "single_change_missed",
        "a single change of a single member reaches the cell",
        "only with a second one",
        'after = (members_version + 1, "")',
        'after = (members_version + 2, "")',
        (f"{_IMPORTS}a_single_change_of_a_single_member_is_obeyed",),
    ),
    _in_publish(
        "member_after_a_page_missed",
        "the next page of members begins after the last one",
        "a version later",
        'after = (last["version"], last["member_id"])',
        'after = (last["version"] + 1, last["member_id"])',
        (f"{_IMPORTS}a_page_of_members_or_codes_may_be_just_full",),
    ),
    _in_publish(
        "first_code_missed",
        "codes are published from the position after the last",
        "from the one after that",
        "pool_codes.c.position > position)",
        "pool_codes.c.position > position + 1)",
        (f"{_IMPORTS}a_page_of_members_or_codes_may_be_just_full",),
    ),
    _in_valkey(
        "cut_log_stops_valkey",
        "a torn end of the log is cut off at the start",
        "Valkey does not start after a power cut",
        '"aof-load-truncated": "yes"',
        '"aof-load-truncated": "no"',
        _RUNNING_VALKEY,
    ),
    _in_valkey(
        "snapshots_beside_the_log",
        "there are no snapshots beside the log",
        "a fork now and then, in the middle of a rush",
        '            "save": \'""\',\n',
        "",
        _RUNNING_VALKEY,
    ),
    _in_valkey(
        "valkey_evicts",
        "the embedded Valkey evicts nothing",
        "the oldest keys go when memory is short",
        '"maxmemory-policy": "noeviction"',
        '"maxmemory-policy": "allkeys-lru"',
        _RUNNING_VALKEY,
    ),
    Mutant(
        "grab_service/embedded/postgres.py",
        "postgres_may_forget",
        "the embedded PostgreSQL keeps what it has committed",
        "it does not wait for the disk",
        "        if not self._durable:\n            settings",
        "        if True:\n            settings",
        ("tests/integration/test_servers_life.py::test_a_server_keeps_its_address_and_what_was_written[postgres-stop]",),
    ),
)
