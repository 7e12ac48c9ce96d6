"""Commands that import members and unions, and generate synthetic ones."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from grab_service.cli.files import CsvFile, read_input, written
from grab_service.cli.help import examples, new_app
from grab_service.cli.terminal import ERRORS_SHOWN, AsJson, ErrorsShown, Rejected, note, print_json, progress
from grab_service.files.synthetic import MEMBERS, MEMBERS_MAX, ORGS, ORGS_MAX, SEED

if TYPE_CHECKING:
    from grab_service.cli.context import CommandContext
    from grab_service.members.orgs_import import OrgsImport
    from grab_service.members.service import MembersImport

NEW_ORGS_SHOWN: Final = 10

members = new_app(help="Bring members in from a file, or make some up for trials.")
orgs = new_app(help="Bring grassroots unions in from a file.")


@members.command(
    "import",
    epilog=examples("grab members import members.csv", "grab members import members.csv --rejected rejected.csv --errors 50"),
)
def import_members(
    file: CsvFile, rejected: Rejected = None, errors: ErrorsShown = ERRORS_SHOWN, as_json: AsJson = False
) -> None:
    """Bring members in from a CSV file.

    Those not known yet are added, the others updated. CSV with the columns member_id, org_id, person_id, name, tags
    (separated by |), birthday_month, joined_on, status (active, suspended or left), in any order. Unions that are not
    registered are, by their id. Rows that cannot be taken are named, the others are taken; the exit status is 1 if there
    are any such rows.
    """
    from grab_service.cli import rejections
    from grab_service.cli.context import with_context
    from grab_service.members.service import import_members as take

    async def work(context: "CommandContext") -> "tuple[MembersImport, bytes]":
        data = read_input(file, context.settings.import_max_bytes)
        with progress() as bars:
            tasks = {
                step: bars.add_task(f"members {step}", total=None, visible=False) for step in ("read", "written", "published")
            }

            def on_progress(step: str, done: int, total: int | None) -> None:
                bars.update(tasks[step], completed=done, total=total, visible=True)

            return await take(context.engine, context.cell, context.identity, data, on_progress), data

    done, data = with_context(work, needs_redis=False)
    rejections.write_rejections(done.rejected, rejected, data)
    if as_json:
        print_json(
            {
                "rows": done.rows,
                "rejected_rows": done.rejected_rows,
                "new_orgs": [{"org_id": org.org_id, "rows": org.rows} for org in done.new_orgs],
                "imported": done.imported,
                "updated": done.updated,
                "unchanged": done.unchanged,
                "rejected": rejections.as_json(done.rejected),
                "published": done.published,
            }
        )
    else:
        known = f"{done.updated:,} known before, of whom {done.unchanged:,} are as they were"
        typer.echo(f"{done.rows:,} rows: {done.imported:,} members new, {known}; {done.rejected_rows:,} not taken")
        if done.new_orgs:
            named = ", ".join(f"{org.org_id} ({org.rows:,} rows)" for org in done.new_orgs[:NEW_ORGS_SHOWN])
            more = f" and {len(done.new_orgs) - NEW_ORGS_SHOWN:,} more" if len(done.new_orgs) > NEW_ORGS_SHOWN else ""
            note(f"{len(done.new_orgs):,} unions were not registered, and are now: {named}{more}. Is one of them a typo?")
        rejections.show_rejections(done.rejected, errors, rejected)
    if not done.published:
        note("They are on record; the cell is closed and hears of them when `grab reconcile` has opened it.")
    if done.rejected:
        raise typer.Exit(1)


@members.command(
    epilog=examples(
        "grab members generate --out members.csv",
        "grab members generate --out members.csv --orgs-out orgs.csv --members 5000 --orgs 40 --seed 7",
    )
)
def generate(
    out: Annotated[Path, typer.Option(metavar="FILE.csv", help="Where to write the members; - is standard output.")],
    orgs_out: Annotated[
        Path | None, typer.Option(metavar="FILE.csv", show_default=False, help="Where to write the unions, if they are wanted.")
    ] = None,
    count: Annotated[int, typer.Option("--members", metavar="N", min=1, max=MEMBERS_MAX, help="How many members.")] = MEMBERS,
    unions: Annotated[int, typer.Option("--orgs", metavar="N", min=1, max=ORGS_MAX, help="In how many unions.")] = ORGS,
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, help="The same seed makes the same members, on every machine.")
    ] = SEED,
) -> None:
    """Make up members for trials.

    With names, tags, months of birth and unions of very different sizes. Nobody real is among them.
    """
    from grab_service.files.members_csv import write_members
    from grab_service.files.orgs_csv import write_orgs
    from grab_service.files.synthetic import generate as made_up
    from grab_service.files.synthetic import generate_orgs

    with progress() as bars, written(out) as stream:
        task = bars.add_task("members made up", total=count)
        write_members(stream, bars.track(made_up(seed, count, unions), task_id=task))
    if orgs_out is not None:
        with written(orgs_out) as stream:
            write_orgs(stream, generate_orgs(unions))
    note(f"{count:,} members in {unions:,} unions" + (f" in {out}" if str(out) != "-" else ""))


@orgs.command("import", epilog=examples("grab orgs import orgs.csv"))
def import_orgs(file: CsvFile, rejected: Rejected = None, errors: ErrorsShown = ERRORS_SHOWN, as_json: AsJson = False) -> None:
    """Bring unions in from a CSV file.

    Those not known yet are added, the others get the name in the file. CSV with the columns org_id, name. Rows that cannot
    be taken are named, the others are taken; the exit status is 1 if there are any such rows.
    """
    from grab_service.cli import rejections
    from grab_service.cli.context import with_context
    from grab_service.members.orgs_import import import_orgs as take

    async def work(context: "CommandContext") -> "tuple[OrgsImport, bytes]":
        data = read_input(file, context.settings.import_max_bytes)
        return await take(context.engine, context.identity, data), data

    done, data = with_context(work, needs_redis=False)
    rejections.write_rejections(done.rejected, rejected, data)
    if as_json:
        counts = {"rows": done.rows, "imported": done.imported, "updated": done.updated, "rejected_rows": done.rejected_rows}
        print_json(counts | {"rejected": rejections.as_json(done.rejected)})
    else:
        taken = f"{done.imported:,} unions new, {done.updated:,} known before"
        typer.echo(f"{done.rows:,} rows: {taken}; {done.rejected_rows:,} not taken")
        rejections.show_rejections(done.rejected, errors, rejected)
    if done.rejected:
        raise typer.Exit(1)
