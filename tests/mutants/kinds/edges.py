"""Guards of who comes first where two change the same thing at once, and of the very moment at which something ends."""

from typing import Final

from tests.mutants.mutant import Mutant

_CAMPAIGNS: Final = "grab_service/ops/campaigns.py"
_GIVE_BACK: Final = "grab_service/api/give_back.py"
_RATES: Final = "grab_service/grabpath/rates.py"
_GATE: Final = "grab_service/grabpath/gate.py"
_AT_ONCE: Final = "tests/integration/test_two_at_once.py::test_"
_MEMBERS: Final = "tests/integration/test_api_members.py::test_"
_OF_RATES: Final = "tests/unit/test_rates.py::test_"
_OF_GATE: Final = "tests/integration/test_grab_path.py::test_a_refusal_ends_at_the_last_moment_at_which_it_is_certain"

MUTANTS: Final = (
    Mutant(
        "draft_changed_blind",
        "a draft is changed only if it is the version that was read",
        "the change that came between is written over",
        _CAMPAIGNS,
        "                    .where(campaigns.c.version == campaign.version)\n",
        "",
        (f"{_AT_ONCE}a_draft_that_changed_since_it_was_read_is_left_alone",),
    ),
    Mutant(
        "draft_changed_after_scheduling",
        "only a draft is changed",
        "a campaign that was scheduled meanwhile is changed, and the cell has another one",
        _CAMPAIGNS,
        "                    .where(campaigns.c.state == CampaignState.DRAFT.value)\n",
        "",
        (f"{_AT_ONCE}a_draft_that_changed_since_it_was_read_is_left_alone",),
    ),
    Mutant(
        "draft_scheduled_blind",
        "a draft is scheduled only if it is the version that preflight looked at",
        "what nobody has looked at is scheduled",
        _CAMPAIGNS,
        "            .where(campaigns.c.version == campaign.version)\n            .where",
        "            .where",
        (f"{_AT_ONCE}a_draft_that_changed_since_it_was_read_is_left_alone",),
    ),
    Mutant(
        "cancelled_draft_scheduled",
        "only a draft is scheduled",
        "a draft that was cancelled meanwhile is scheduled",
        _CAMPAIGNS,
        "            .where(campaigns.c.state == CampaignState.DRAFT.value)\n            .values(state=CampaignState.SCHEDULED",
        "            .values(state=CampaignState.SCHEDULED",
        (f"{_AT_ONCE}a_draft_that_changed_since_it_was_read_is_left_alone",),
    ),
    Mutant(
        "cancelled_as_what_it_was",
        "a draft that is scheduled while somebody cancels it is cancelled as a scheduled campaign",
        "the call says that drafts cannot be cancelled",
        "grab_service/ops/control.py",
        "            campaign = await read_campaign(engine, campaign_id)  # a draft",
        "            # a draft",
        (f"{_AT_ONCE}a_draft_that_is_scheduled_while_somebody_cancels_it_is_cancelled_as_what_it_is",),
    ),
    Mutant(
        "blocked_beside_an_import",
        "one change of members at a time has its version and commits",
        "a version is told to the cell while a lower one is not committed, which it never hears of",
        "grab_service/ops/member_versions.py",
        "    await lock_versions(connection)\n    version",
        "    version",
        (f"{_AT_ONCE}a_member_who_changes_while_others_are_imported_waits_and_all_reach_the_cell[block]",),
    ),
    Mutant(
        "imports_at_once",
        "one import of members at a time has its versions and commits",
        "a version is told to the cell while a lower one is not committed, which it never hears of",
        "grab_service/ops/members.py",
        "            await lock_versions(connection)\n",
        "",
        (f"{_AT_ONCE}a_member_who_changes_while_others_are_imported_waits_and_all_reach_the_cell[import]",),
    ),
    Mutant(
        "codes_at_once",
        "one import of codes at a time takes its positions",
        "two take the same positions, and one of them fails",
        "grab_service/ops/codes.py",
        '    await connection.execute(_TAKE_LOCK, {"lock": LOCK})\n',
        "",
        (f"{_AT_ONCE}codes_that_come_in_at_once_stand_one_after_the_other",),
    ),
    Mutant(
        "voucher_good_at_its_end",
        "a voucher can be given back until it ends, and not at its end",
        "at its very end, too",
        _GIVE_BACK,
        "claims.c.valid_until_ms > now_ms,",
        "claims.c.valid_until_ms >= now_ms,",
        (f"{_MEMBERS}a_voucher_can_be_given_back_until_the_very_moment_at_which_it_ends",),
    ),
    Mutant(
        "minute_of_returns",
        "a return counts for a minute",
        "for a millisecond more",
        _GIVE_BACK,
        "_before.c.decided_at_ms > now_ms - MINUTE_MS",
        "_before.c.decided_at_ms >= now_ms - MINUTE_MS",
        (f"{_MEMBERS}the_tenth_return_before_counts_for_a_minute_to_the_millisecond",),
    ),
    Mutant(
        "burst_and_one",
        "a member has as many grabs in a window as the burst says",
        "one more",
        _RATES,
        "if count >= self._burst:",
        "if count > self._burst:",
        (f"{_OF_RATES}as_many_grabs_as_the_burst_pass_in_a_window_and_not_one_more",),
    ),
    Mutant(
        "window_without_end",
        "the window of a rate ends",
        "whoever was slowed down once is slowed down for good",
        _RATES,
        "            self._counts = {}\n",
        "            self._counts = self._counts\n",
        (f"{_OF_RATES}a_window_ends_and_whoever_was_slowed_down_may_grab_again",),
    ),
    Mutant(
        "paused_before_opening",
        "while it is not certain whether a campaign has opened, Lua is asked",
        "paused is said of a campaign that is not open yet",
        _GATE,
        "if low_ms < campaign.opens_at_ms or high_ms",
        "if high_ms",
        (_OF_GATE,),
    ),
    Mutant(
        "later_releases_forgotten",
        "sold out is said only until the next release can open",
        "for as long as the view is young",
        _GATE,
        "min([campaign.closes_at_ms, *later])",
        "min([campaign.closes_at_ms])",
        (_OF_GATE,),
    ),
    Mutant(
        "verdict_for_ever",
        "a refusal ends at the last moment at which it is certain",
        "it holds until the next poll",
        _GATE,
        " or now_s > verdict.until_s:",
        ":",
        (_OF_GATE,),
    ),
)
