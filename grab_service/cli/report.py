"""The command that shows what happened in a campaign."""

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from grab_service.cli.help import examples
from grab_service.cli.terminal import AsJson, moment_ms, note, output, print_json

if TYPE_CHECKING:
    from grab_service.cli.context import CommandContext

SECONDS_MAX: Final = 3600
SHOWN: Final = 20


def report(
    campaign_id: Annotated[str, typer.Argument(metavar="ID", help="The campaign's id.")],
    from_time: Annotated[
        int | None,
        typer.Option(
            "--from",
            parser=moment_ms,
            metavar="TIME",
            show_default=False,
            help="Show an hour from then on; else the opening, from a minute before.",
        ),
    ] = None,
    seconds: Annotated[
        int, typer.Option(metavar="N", min=1, max=SECONDS_MAX, help="Show so many seconds, and so many unions.")
    ] = SHOWN,
    as_json: AsJson = False,
) -> None:
    """Say what happened in a campaign, second by second.

    What was won is exact. The other figures are lower bounds: a worker that is killed takes its last second along.
    """
    from grab_service.cli.context import with_context
    from grab_service.cli.report_tables import seconds_of, sentence_of, unions_of
    from grab_service.counts.report import campaign_report
    from grab_service.vocabulary.times import Clock

    async def work(context: "CommandContext") -> tuple[str, dict[str, Any]]:
        return context.settings.time_zone, await campaign_report(context.engine, campaign_id, from_time)

    time_zone, found = with_context(work, needs_redis=False)
    if as_json:
        print_json(found)
        return
    console, clock = output(), Clock(time_zone)
    typer.echo(sentence_of(found))
    if found["seconds"]:
        console.print(seconds_of(found["seconds"][:seconds], clock))
    if found["by_org"]:
        console.print(unions_of(found["by_org"][:seconds]))
    left = {"seconds": len(found["seconds"]) - seconds, "unions": len(found["by_org"]) - seconds}
    if any(number > 0 for number in left.values()):
        note(f"There are more {' and '.join(what for what, number in left.items() if number > 0)}: raise --seconds.")
    note(f"Exact: {', '.join(found['exact'])}. At least so many: {', '.join(found['lower_bound'])}.")


def add_to(app: typer.Typer) -> None:
    """Add it to the family of a campaign's commands."""
    app.command(
        epilog=examples("grab campaign report n4bv82kq7d", "grab campaign report n4bv82kq7d --json | jq .refused"),
    )(report)
