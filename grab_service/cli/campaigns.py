"""Commands that write and show campaigns, import their codes and export their claims."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from grab_service.cli import lifecycle, report
from grab_service.cli.errors import CommandError
from grab_service.cli.files import STANDARD, CsvFile, JsonFile, name_of, read_input, written
from grab_service.cli.help import examples, new_app
from grab_service.cli.terminal import (
    ERRORS_SHOWN,
    AsJson,
    ErrorsShown,
    Rejected,
    Yes,
    confirm,
    moment_ms,
    note,
    output,
    print_json,
)
from grab_service.vocabulary.campaigns import CampaignState
from grab_service.vocabulary.claims import Codes

if TYPE_CHECKING:
    from grab_service.campaigns.codes import CodesImport
    from grab_service.campaigns.definition import Definition
    from grab_service.campaigns.preflight import PreflightFinding
    from grab_service.campaigns.service import Campaign
    from grab_service.cli.context import CommandContext

DEFINITION_BYTES_MAX: Final = 1024 * 1024
LIST_MAX: Final = 1000

CampaignId = Annotated[str, typer.Argument(metavar="ID", help="The campaign's id.")]

app = new_app(help="Write campaigns, arm them, steer them, and see how they stand.")


LEAST = """\b
The least that the file holds; the HTTP call takes the same:
  {"title": "中秋月饼",
   "releases": [{"opens_at": "2026-09-20T04:00:00Z", "quantity": 3000}],
   "closes_at": "2026-09-21T04:00:00Z",
   "benefit": {"kind": "generated_code", "name": "月饼一盒", "valid_days": 30}}

"""


@app.command(
    epilog=LEAST
    + examples(
        "grab campaign create campaign.json",
        "grab campaign create - --json <campaign.json | jq -r .campaign_id",
    )
)
def create(definition: JsonFile, as_json: AsJson = False) -> None:
    """Write a campaign: a draft.

    Nobody sees it until it is scheduled. A field that this release cannot run is refused by name.
    """
    from grab_service.campaigns.service import create_campaign
    from grab_service.cli.context import with_context

    written_down = _definition_in(definition)

    async def work(context: "CommandContext") -> None:
        await _say_written(context, await create_campaign(context.engine, context.identity, written_down), as_json=as_json)

    with_context(work, needs_redis=False)


@app.command(
    epilog=examples(
        "grab campaign copy n4bv82kq7d --opens-at 2026-10-20T04:00:00Z --title '骑行券（十月）'",
        "grab campaign copy n4bv82kq7d --json | jq -r .campaign_id",
    )
)
def copy(
    campaign_id: CampaignId,
    title: Annotated[str | None, typer.Option(metavar="TEXT", show_default=False, help="The title of the copy.")] = None,
    opens_at: Annotated[
        int | None,
        typer.Option(
            parser=moment_ms,
            metavar="TIME",
            show_default=False,
            help="When its first release opens, such as 2026-10-20T04:00:00Z.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a campaign like another one: a draft.

    With --opens-at all times move along: releases, closing, validity. Codes of a pool are not copied.
    """
    from grab_service.campaigns.drafts import copy_campaign
    from grab_service.cli.context import with_context

    async def work(context: "CommandContext") -> None:
        with _said_of("The copy"):
            made = await copy_campaign(context.engine, context.identity, campaign_id, title=title, opens_at_ms=opens_at)
        await _say_written(context, made, as_json=as_json)

    with_context(work, needs_redis=False)


@app.command(
    epilog=examples(
        "grab campaign edit n4bv82kq7d changes.json",
        'echo \'{"title": "骑行券"}\' | grab campaign edit n4bv82kq7d -',
    )
)
def edit(campaign_id: CampaignId, changes: JsonFile, as_json: AsJson = False) -> None:
    """Change a draft.

    The file holds what is to change (a merge patch, RFC 7396), or the whole as `show --json` gives it. If it names a version,
    that is the one that is changed, and nothing is done if somebody changed it meanwhile. Once scheduled, the configuration
    is fixed.
    """
    from grab_service.campaigns.drafts import changed_definition
    from grab_service.campaigns.facts import campaign_facts
    from grab_service.campaigns.service import change_draft, read_campaign
    from grab_service.cli.campaign_figures import figures_of
    from grab_service.cli.context import with_context
    from grab_service.refusal import RefusalError
    from grab_service.vocabulary.campaigns import CampaignState

    patch = _json_in(changes)
    if not isinstance(patch, dict):
        raise CommandError(f"{name_of(changes)} holds no JSON object.", 'Write what is to change: {"title": "…"}.')

    async def work(context: "CommandContext") -> None:
        campaign = await read_campaign(context.engine, campaign_id)
        if campaign.state is not CampaignState.DRAFT:
            raise RefusalError("wrong-state", state=campaign.state.value)
        if patch.get("version", campaign.version) != campaign.version:
            raise RefusalError("precondition-failed")
        figures = await figures_of(context, [campaign])
        with _said_of(name_of(changes)):
            facts = campaign_facts(campaign, figures.held_of(campaign), figures.now_ms)
            definition = changed_definition(campaign, facts, patch)
        await _say_written(context, await change_draft(context.engine, context.identity, campaign, definition), as_json=as_json)

    with_context(work, needs_redis=False)


@app.command(epilog=examples("grab campaign delete n4bv82kq7d"))
def delete(campaign_id: CampaignId, yes: Yes = False) -> None:
    """Delete a draft, with the codes that were imported for it. A scheduled campaign can only be cancelled or closed."""
    from grab_service.campaigns.drafts import delete_draft
    from grab_service.campaigns.service import read_campaign
    from grab_service.cli.context import with_context

    async def work(context: "CommandContext") -> None:
        campaign = await read_campaign(context.engine, campaign_id)
        title = campaign.definition["title"]
        if campaign.state is CampaignState.DRAFT:
            confirm(f"The draft {campaign_id} ({title}) is deleted, and its codes with it; it cannot be brought back.", yes=yes)
        await delete_draft(context.engine, context.identity, campaign)
        note(f"{campaign_id}: {title} is deleted")

    with_context(work, needs_redis=False)


@app.command("list", epilog=examples("grab campaign list", "grab campaign list --state scheduled --json"))
def list_all(
    state: Annotated[CampaignState | None, typer.Option(help="Only those in this state.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=LIST_MAX, help="So many at most.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List campaigns, newest first, drafts included."""
    from grab_service.campaigns.facts import campaign_facts
    from grab_service.campaigns.service import list_campaigns
    from grab_service.cli.campaign_figures import figures_of
    from grab_service.cli.campaign_tables import list_of
    from grab_service.cli.context import with_context
    from grab_service.vocabulary.times import Clock

    async def work(context: "CommandContext") -> None:
        found = await list_campaigns(context.engine, after=None, limit=limit + 1, states=[state] if state else [])
        campaigns, more = found[:limit], len(found) > limit
        figures = await figures_of(context, campaigns)
        facts = [campaign_facts(campaign, figures.held_of(campaign), figures.now_ms) for campaign in campaigns]
        if as_json:
            print_json({"items": facts, "more": more})
            return
        if not facts:
            typer.echo(
                "There are no campaigns" + (f" in state {state}." if state else " yet: `grab campaign create FILE.json`.")
            )
            return
        console = output()
        console.print(list_of(facts, Clock(context.settings.time_zone), console.width))
        if more:
            note("There are more: raise --limit.")
        lifecycle.say_whence(figures)

    with_context(work, needs_redis=False)


@app.command(epilog=examples("grab campaign show n4bv82kq7d"))
def show(campaign_id: CampaignId, as_json: AsJson = False) -> None:
    """Show one campaign: rules, state, stock."""
    from grab_service.campaigns.service import read_campaign
    from grab_service.cli.context import with_context

    async def work(context: "CommandContext") -> None:
        await lifecycle.show_campaign(context, await read_campaign(context.engine, campaign_id), as_json=as_json)

    with_context(work, needs_redis=False)


@app.command(epilog=examples("grab campaign explain n4bv82kq7d m-000123", "grab campaign explain n4bv82kq7d m-000123 --json"))
def explain(
    campaign_id: CampaignId,
    member_id: Annotated[str, typer.Argument(metavar="MEMBER", help="The member's id.")],
    as_json: AsJson = False,
) -> None:
    """Say what a grab of a member would hear now, and why.

    By the rules of the grab; nothing is given out. Refusals are not stored, so earlier answers to the member are not known.
    Claims that the member holds are listed, with codes masked.
    """
    from grab_service.claims.explain import explain as ask
    from grab_service.cli.context import with_context
    from grab_service.problems import CATALOGUE
    from grab_service.vocabulary.times import Clock, parse_rfc3339

    async def work(context: "CommandContext") -> tuple[str, dict[str, Any]]:
        return context.settings.time_zone, await ask(context.engine, context.cell, campaign_id, member_id)

    time_zone, said = with_context(work)
    if as_json:
        print_json(said)
        return
    clock, code = Clock(time_zone), said["code"]
    verdict = "would not be refused" if code is None else f"would be refused ({code}): {CATALOGUE[code].detail_for('en', said)}"
    typer.echo(f"A grab of {member_id} in {campaign_id}, whose phase is {said['phase']}, {verdict}")
    for name in ("opens_at_ms", "next_release_at_ms"):
        if said.get(name) is not None:
            typer.echo(f"{name.removesuffix('_at_ms').replace('_', ' ')}: {clock.show(said[name])}")
    if said.get("until") is not None:
        typer.echo(f"until: {clock.show(parse_rfc3339(said['until']))}")
    for claim in said["claims"]:
        typer.echo(f"holds unit {claim['unit_no']}, won {clock.show(claim['granted_at_ms'])} (claim {claim['claim_id']})")


@app.command(epilog=examples("grab campaign preflight n4bv82kq7d"))
def preflight(campaign_id: CampaignId, as_json: AsJson = False) -> None:
    """Say what would go wrong with a campaign, before it does.

    Errors keep it from being scheduled, and make the exit status 1; warnings are advice.
    """
    from grab_service.campaigns.preflight import Level
    from grab_service.campaigns.preflight import preflight as look_ahead
    from grab_service.campaigns.service import read_campaign
    from grab_service.cli.campaign_tables import findings_of
    from grab_service.cli.context import with_context

    async def work(context: "CommandContext") -> "list[PreflightFinding]":
        return await look_ahead(context.engine, context.cell, await read_campaign(context.engine, campaign_id))

    findings = with_context(work)
    errors = sum(finding.level is Level.ERROR for finding in findings)
    if as_json:
        print_json({"ok": not errors, "findings": [finding.in_language("en") for finding in findings]})
    elif findings:
        output().print(findings_of(findings))
    else:
        typer.echo("Nothing was found that would go wrong.")
    if errors:
        raise typer.Exit(1)


@app.command(
    epilog=examples("grab campaign codes n4bv82kq7d codes.csv", "grab campaign codes n4bv82kq7d codes.csv --rejected bad.csv")
)
def codes(
    campaign_id: CampaignId,
    file: CsvFile,
    rejected: Rejected = None,
    errors: ErrorsShown = ERRORS_SHOWN,
    as_json: AsJson = False,
) -> None:
    """Import codes of a third party.

    They come into the campaign's pool, from a CSV with the header `code`. Rows that cannot be taken are named, the others
    are taken; the exit status is 1 if there are any such rows.
    """
    from grab_service.campaigns.codes import import_codes
    from grab_service.cli import rejections
    from grab_service.cli.context import with_context

    async def work(context: "CommandContext") -> "tuple[CodesImport, Campaign, bytes]":
        from grab_service.campaigns.service import read_campaign

        campaign = await read_campaign(context.engine, campaign_id)
        data = read_input(file, context.settings.import_max_bytes)
        return await import_codes(context.engine, context.cell, context.identity, campaign_id, data), campaign, data

    done, campaign, data = with_context(work, needs_redis=False)
    rejections.write_rejections(done.rejected, rejected, data)
    if as_json:
        counts = {"rows": done.rows, "imported": done.imported, "rejected_rows": done.rejected_rows, "loaded": done.loaded}
        print_json(counts | {"rejected": rejections.as_json(done.rejected)})
    else:
        taken = f"{done.rows:,} rows: {done.imported:,} codes imported, {done.rejected_rows:,} not taken"
        typer.echo(f"{taken}; the campaign has {done.loaded:,} for {campaign.total:,} units")
        rejections.show_rejections(done.rejected, errors, rejected)
    if done.rejected:
        raise typer.Exit(1)


@app.command(
    epilog=examples("grab campaign claims n4bv82kq7d --codes full --out claims.csv", "grab campaign claims n4bv82kq7d | wc -l")
)
def claims(
    campaign_id: CampaignId,
    out: Annotated[Path, typer.Option(metavar="FILE.csv", help="Where to write them; - is standard output.")] = STANDARD,
    codes: Annotated[Codes, typer.Option(help="Whether codes are masked or written in full.")] = Codes.MASKED,
) -> None:
    """Write the claims on record as CSV.

    In the order in which they were won, and safe to open in a spreadsheet. The file is readable for its owner alone. Full
    codes are worth money; every export is in the log of what was done.
    """
    from grab_service.claims.export import export_claims
    from grab_service.cli.context import with_context

    async def work(context: "CommandContext") -> int:
        pieces = await export_claims(context.engine, context.identity, campaign_id, codes, context.settings.time_zone)
        lines = 0
        with written(out, private=True) as stream:
            async for piece in pieces:
                text = piece.decode()
                stream.write(text)
                lines += text.count("\n")
        return lines - 1

    count = with_context(work, needs_redis=False)
    note(f"{count:,} claims" + ("" if out == STANDARD else f" in {out}"))


report.add_to(app)
lifecycle.add_to(app)


async def _say_written(context: "CommandContext", campaign: "Campaign", *, as_json: bool) -> None:
    """The state of a draft, and the next step."""
    from grab_service.campaigns.facts import campaign_facts
    from grab_service.cli.campaign_figures import figures_of

    if as_json:
        figures = await figures_of(context, [])
        print_json(campaign_facts(campaign, 0, figures.now_ms))
        return
    typer.echo(f"{campaign.campaign_id}: {campaign.definition['title']}, a draft of {campaign.total:,} units")
    note(f"Next: `grab campaign preflight {campaign.campaign_id}`, then `grab campaign schedule {campaign.campaign_id}`.")


def _json_in(file: Path) -> Any:
    import orjson

    from grab_service.vocabulary.json_text import read_json

    data = read_input(file, DEFINITION_BYTES_MAX).removeprefix(b"\xef\xbb\xbf")
    try:
        return read_json(data)
    except orjson.JSONDecodeError as error:
        where = f"{name_of(file)}, line {error.lineno}, column {error.colno}"
        raise CommandError(
            f"{where}: this is not JSON ({error.msg}).", "Nothing was written; mend the file and repeat."
        ) from error


def _definition_in(file: Path) -> "Definition":
    from grab_service.campaigns.definition import Definition

    content = _json_in(file)
    with _said_of(name_of(file)):
        return Definition.model_validate(content)


@contextmanager
def _said_of(what: str) -> Iterator[None]:
    """Say what is wrong with a campaign, field by field."""
    from pydantic import ValidationError

    from grab_service.http.field_errors import field_errors

    try:
        yield
    except ValidationError as error:
        details = [
            f"{one['field']}: {one['reason']}" if one["field"] else one["reason"] for one in field_errors(error.errors(), "en")
        ]
        raise CommandError(
            f"{what} is no campaign that this release can run; nothing was written.",
            "`grab campaign create --help` shows the least that a campaign has.",
            details,
        ) from error
