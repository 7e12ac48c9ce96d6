"""The command line, `grab --help`; one module for each family of commands."""

import logging
import sys
from typing import Annotated

import typer

from grab_service import __version__
from grab_service.cli import alarms, campaigns, maintenance, passes, people, records, rehearsing, running, secrets
from grab_service.cli.errors import explain, show
from grab_service.cli.help import OPS, UPKEEP, examples, new_app
from grab_service.output import replace_what_cannot_be_shown

app = new_app(
    name="grab",
    help="A flash-sale engine for coupons and benefits: never one unit too many, never one too few.",
    epilog=examples("grab demo --once", "grab run", "grab campaign create --help", "grab doctor"),
)
running.add_to(app)
app.add_typer(campaigns.app, name="campaign", rich_help_panel=OPS)
rehearsing.add_to(app)
records.add_to(app)
app.add_typer(people.members, name="members", rich_help_panel=OPS)
app.add_typer(people.orgs, name="orgs", rich_help_panel=OPS)
app.add_typer(passes.app, name="passes", rich_help_panel=OPS)
app.add_typer(alarms.app, name="alarms", rich_help_panel=UPKEEP)
app.add_typer(secrets.app, name="secrets", rich_help_panel=OPS)
maintenance.add_to(app)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _all_commands(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    from grab_service.logs import configure_logs

    # Logs are for services. Here the answer says what happened, and standard output is for the answer alone.
    configure_logs(logging.ERROR)


def main() -> None:
    """Run a command; an expected failure is a sentence on standard error and a non-zero exit status."""
    replace_what_cannot_be_shown()
    try:
        app(prog_name="grab")
    except Exception as error:
        trouble = explain(error)
        if trouble is None:
            raise
        show(trouble)
        sys.exit(1)


if __name__ == "__main__":
    main()
