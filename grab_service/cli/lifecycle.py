"""Commands that arm a campaign, pause, resume, close and cancel it, change its stock, and make a claim good.

An irreversible change is announced first, and done only when the user agrees.
"""

import secrets
from typing import TYPE_CHECKING, Annotated, Any

import typer

from grab_service.cli.help import examples
from grab_service.cli.terminal import AsJson, Why, WhyNeeded, Yes, confirm, note, output, print_json

if TYPE_CHECKING:
    from grab_service.campaigns.lifecycle import Action
    from grab_service.campaigns.service import Campaign
    from grab_service.cli.campaign_figures import Figures
    from grab_service.cli.context import CommandContext

TOTAL_MAX = 10_000_000

CampaignId = Annotated[str, typer.Argument(metavar="ID", help="The campaign's id.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    for command, *lines in (
        (schedule, "grab campaign schedule n4bv82kq7d"),
        (pause, "grab campaign pause n4bv82kq7d --reason 'a batch of codes is wrong'"),
        (resume, "grab campaign resume n4bv82kq7d"),
        (close, "grab campaign close n4bv82kq7d --reason 'the sponsor has withdrawn' --yes"),
        (cancel, "grab campaign cancel n4bv82kq7d --reason 'announced by mistake'"),
        (stock, "grab campaign stock n4bv82kq7d --expected 3000 --total 3500 --reason '500 more from the sponsor'"),
        (make_good, "grab campaign make-good n4bv82kq7d m-000001 --reason 'lost in the outage at noon' --beyond-stock"),
    ):
        app.command(epilog=examples(*lines))(command)


def schedule(campaign_id: CampaignId, reason: Why = None, as_json: AsJson = False) -> None:
    """Arm a draft.

    Members see it from then on, and it opens by the clock with nobody touching anything. `preflight` runs first; an
    error there leaves it a draft.
    """
    from grab_service.campaigns import lifecycle as control
    from grab_service.cli.context import with_context

    async def work(context: "CommandContext") -> None:
        campaign = await control.schedule(context.engine, context.cell, context.identity, campaign_id, reason=reason)
        await _say_done(context, campaign, "is scheduled", as_json=as_json)

    with_context(work)


def pause(campaign_id: CampaignId, reason: Why = None, as_json: AsJson = False) -> None:
    """Pause: nobody wins until it is resumed. Claims already made stay. To pause twice is no error."""
    from grab_service.campaigns.lifecycle import Action

    _set_state(campaign_id, Action.PAUSE, "is paused", reason, as_json=as_json)


def resume(campaign_id: CampaignId, reason: Why = None, as_json: AsJson = False) -> None:
    """Resume what is paused."""
    from grab_service.campaigns.lifecycle import Action

    _set_state(campaign_id, Action.RESUME, "is resumed", reason, as_json=as_json)


def close(campaign_id: CampaignId, reason: Why = None, yes: Yes = False, as_json: AsJson = False) -> None:
    """Close for good: nobody wins any more.

    It cannot be opened again. Claims already made stay.
    """
    from grab_service.campaigns.lifecycle import Action

    _set_state(campaign_id, Action.CLOSE, "is closed", reason, asks=not yes, as_json=as_json)


def cancel(campaign_id: CampaignId, reason: Why = None, yes: Yes = False, as_json: AsJson = False) -> None:
    """Cancel for good, also a draft. Vouchers already issued stay valid: nothing is taken back."""
    from grab_service.campaigns.lifecycle import Action

    _set_state(campaign_id, Action.CANCEL, "is cancelled", reason, asks=not yes, as_json=as_json)


def stock(
    campaign_id: CampaignId,
    expected: Annotated[
        int, typer.Option(metavar="N", min=0, max=TOTAL_MAX, help="The total that is in force, as you know it.")
    ],
    total: Annotated[int, typer.Option(metavar="N", min=1, max=TOTAL_MAX, help="The total that shall be.")],
    reason: WhyNeeded,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Change the stock of a published campaign.

    Only if its total still is what you expect. Added units are there at once. Removed ones come off the last release,
    and the total never falls below the units given out.
    """
    from grab_service.campaigns.lifecycle import set_stock
    from grab_service.campaigns.service import read_campaign
    from grab_service.cli.campaign_figures import figures_of
    from grab_service.cli.context import with_context

    async def work(context: "CommandContext") -> None:
        campaign = await read_campaign(context.engine, campaign_id)
        held = (await figures_of(context, [campaign])).held_of(campaign)
        if held <= total < expected == campaign.total:  # else it is refused anyway
            confirm(
                f"The stock of {_named(campaign)} goes down from {expected:,} to {total:,} units, "
                f"off the last release; {held:,} are given out and stay with their winners.",
                yes=yes,
            )
        changed = await set_stock(
            context.engine, context.cell, context.identity, campaign_id, expected_total=expected, total=total, reason=reason
        )
        await _say_done(context, changed, f"has a stock of {changed.total:,} units", as_json=as_json)

    with_context(work)


def make_good(
    campaign_id: CampaignId,
    member_id: Annotated[str, typer.Argument(metavar="MEMBER", help="The member who gets it.")],
    reason: WhyNeeded,
    beyond_stock: Annotated[bool, typer.Option("--beyond-stock", help="Raise the total by one with it.")] = False,
    key: Annotated[
        str | None,
        typer.Option(
            metavar="KEY", help="Stands for this one claim, for a repeat; a new one unless given.", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Give a member a claim, such as one that an outage took.

    Limit, eligibility and window are not asked. `grab alarms list` names the claims of a loss. If it is not known
    whether it was made, repeat it with the same `--key`: there is never a second claim.
    """
    from grab_service.claims import make_good as making
    from grab_service.cli.context import with_context
    from grab_service.vocabulary.identifiers import is_idempotency_key, is_member_id

    if not is_member_id(member_id):
        raise typer.BadParameter("1 to 64 of A-Z a-z 0-9 _ : - are needed", param_hint="MEMBER")
    key = f"cli-{secrets.token_hex(8)}" if key is None else key
    if not is_idempotency_key(key):
        raise typer.BadParameter("1 to 64 printable ASCII characters without spaces are needed", param_hint="--key")
    note(f"The key of this claim is {key}; with it, a repeat never makes a second one.")

    async def work(context: "CommandContext") -> "tuple[dict[str, Any], bool]":
        engine, cell, identity = context.engine, context.cell, context.identity
        return await making.make_good(
            engine, cell, identity, campaign_id, member_id, key=key, beyond_stock=beyond_stock, reason=reason
        )

    claim, is_new = with_context(work)
    if as_json:
        print_json(claim)
    else:
        typer.echo(f"{claim['claim_id']}: {member_id} has unit {claim['unit_no']}{'' if is_new else ', given before'}")


async def show_campaign(context: "CommandContext", campaign: "Campaign", *, as_json: bool) -> None:
    """All of a campaign, as a sheet or as JSON."""
    from grab_service.campaigns.facts import campaign_facts
    from grab_service.cli.campaign_figures import figures_of
    from grab_service.cli.campaign_tables import sheet_of
    from grab_service.vocabulary.times import Clock

    figures = await figures_of(context, [campaign])
    facts = campaign_facts(campaign, figures.held_of(campaign), figures.now_ms)
    if as_json:
        print_json(facts)
    else:
        output().print(sheet_of(facts, Clock(context.settings.time_zone)))
        say_whence(figures)


def say_whence(figures: "Figures") -> None:
    """A word where the figures are not the newest."""
    if not figures.from_cell:
        note("The cell cannot be asked, so these are the figures on record; `grab doctor` says what is wrong.")


def _set_state(
    campaign_id: str, action: "Action", done: str, reason: str | None, *, asks: bool | None = None, as_json: bool
) -> None:
    """Set it; `asks`: None for what can be undone, True to ask first, False to state what happens and go on."""
    from grab_service.campaigns import lifecycle as control
    from grab_service.campaigns.service import read_campaign
    from grab_service.cli.context import with_context

    async def work(context: "CommandContext") -> None:
        if asks is not None:
            await _confirm_end(context, await read_campaign(context.engine, campaign_id), action, yes=not asks)
        campaign = await control.set_state(context.engine, context.cell, context.identity, campaign_id, action, reason=reason)
        await _say_done(context, campaign, done, as_json=as_json)

    with_context(work)


async def _confirm_end(context: "CommandContext", campaign: "Campaign", action: "Action", *, yes: bool) -> None:
    from grab_service.campaigns.lifecycle import Action
    from grab_service.cli.campaign_figures import figures_of
    from grab_service.vocabulary.campaigns import CampaignState

    draft = campaign.state is CampaignState.DRAFT
    if campaign.state in {CampaignState.CLOSED, CampaignState.CANCELLED} or (draft and action is Action.CLOSE):
        return  # nothing will happen to it
    held = (await figures_of(context, [campaign])).held_of(campaign)
    if draft:
        happens = "is a draft, which nobody has seen; it is given up"
    elif action is Action.CLOSE:
        happens = (
            f"ends now and for good: {held:,} of {campaign.total:,} units are given out and stay with their winners, "
            "the others are never given out. To stop for a while, pause it instead"
        )
    else:
        happens = (
            f"is called off for good, and members see that: the {held:,} vouchers already issued stay valid, "
            f"the other {max(0, campaign.total - held):,} units are never given out"
        )
    confirm(f"{_named(campaign)} {happens}.", yes=yes)


async def _say_done(context: "CommandContext", campaign: "Campaign", done: str, *, as_json: bool) -> None:
    if as_json:
        await show_campaign(context, campaign, as_json=True)
    else:
        typer.echo(f"{_named(campaign)} {done}")


def _named(campaign: "Campaign") -> str:
    return f"{campaign.campaign_id} ({campaign.definition['title']})"
