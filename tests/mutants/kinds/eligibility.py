"""Guards of what a member is told who asks whether they may take part, and of what ops are told about a member."""

from functools import partial
from typing import Final

from tests.mutants.mutant import Mutant

_in_member_routes = partial(Mutant, "grab_service/claims/member_routes.py")
_in_export = partial(Mutant, "grab_service/claims/export.py")
_in_explain = partial(Mutant, "grab_service/claims/explain.py")
_TESTS: Final = "tests/integration/test_eligibility.py::test_"
_WITHOUT_A_CODE: Final = f"{_TESTS}ops_see_a_holders_claims_without_their_codes_and_no_refusal"
_NEW_WISH: Final = f"{_TESTS}where_a_member_may_hold_several_ops_hear_of_a_new_wish_whatever_keys_were_used"

MUTANTS: Final = (
    _in_member_routes(
        "eligibility_of_another",
        "a member hears about the member of their pass",
        "all hear about one and the same",
        "eligibility(cell, campaign_id, member_id)",
        'eligibility(cell, campaign_id, "m-eligible")',
        (f"{_TESTS}each_member_hears_what_keeps_them_out_with_the_fields_of_the_grabs_refusal",),
        short=True,
    ),
    _in_member_routes(
        "eligibility_of_made_up_campaigns",
        "a question about a campaign that nobody published does not reach Redis",
        "a caller who makes up ids keeps Redis busy",
        "    await known_campaign(view, campaign_id)\n    return json_answer(await eligibility",
        "    return json_answer(await eligibility",
        ("tests/security/test_open_calls.py::test_ids_that_somebody_makes_up_are_refused_without_the_cell",),
    ),
    Mutant(
        "grab_service/server/call_kinds.py",
        "eligibility_takes_any_place",
        "a member who asks whether they may take part has the places of one caller",
        "one member keeps the worker and Redis busy without a bound",
        '    "/v1/campaigns/{campaign_id}/state": CallKind.POLLED,\n',
        '    "/v1/campaigns/{campaign_id}/state": CallKind.POLLED,\n'
        '    "/v1/campaigns/{campaign_id}/eligibility": CallKind.POLLED,\n',
        ("tests/security/test_wire.py::test_neither_one_member_nor_all_strangers_can_take_every_place",),
    ),
    _in_explain(
        "eligibility_by_the_hour",
        "a member who asks hears nothing about the hour and the stock",
        "everybody is told before opening that they may not take part",
        "Question.MEMBER, (member_id",
        "Question.GRAB, (member_id",
        (f"{_TESTS}hour_and_stock_change_nothing_for_a_member_who_asks",),
    ),
    _in_explain(
        "explained_member_only",
        "ops hear what a grab would hear now, the hour and the stock included",
        "they hear about the member alone, and wonder why nobody wins",
        "Question.GRAB, (member_id",
        "Question.MEMBER, (member_id",
        (f"{_TESTS}ops_hear_of_hour_and_stock_before_anything_about_the_member",),
    ),
    _in_explain(
        "explained_without_a_key",
        "ops hear of a new wish where a member may hold several",
        "they hear that a key is missing",
        'NEW_KEY: Final = " "',
        'NEW_KEY: Final = ""',
        (_NEW_WISH,),
    ),
    _in_explain(
        "explained_by_a_key_of_members",
        "the key that ops ask with was used by no member",
        "a member who used the same one is shown as a holder, whatever their limit says",
        'NEW_KEY: Final = " "',
        'NEW_KEY: Final = "1"',
        (_NEW_WISH,),
    ),
    _in_explain(
        "explained_holder_is_refused",
        "a holder is never said to be refused",
        "ops read that they are",
        "frozenset({Outcome.WON, Outcome.HELD})",
        "frozenset({Outcome.WON})",
        (_WITHOUT_A_CODE,),
    ),
    _in_export(
        "explained_codes",
        "claims that ops see beside an explanation have no code that could be used",
        "every ops user who may look reads the codes of all members, and no log has it",
        ' | {"code": masked(voucher["code"])}',
        "",
        (_WITHOUT_A_CODE,),
    ),
    _in_explain(
        "explained_draft",
        "a campaign that the cell has not got is named by its state",
        "a question about a draft is an error of ours",
        '    if reply.phase is None:\n        raise RefusalError("wrong-state", state=campaign.state.value)\n',
        "",
        (f"{_TESTS}ops_hear_of_a_campaign_that_is_not_published_by_its_state_and_of_a_wrong_question",),
    ),
    Mutant(
        "grab_service/vocabulary/refusals.py",
        "end_of_a_block_for_good",
        "a block without an end says no time",
        "it is said to end in the year 9999",
        " or int(rest) >= MOMENT_MAX_MS",
        "",
        (f"{_TESTS}each_member_hears_what_keeps_them_out_with_the_fields_of_the_grabs_refusal",),
    ),
)
