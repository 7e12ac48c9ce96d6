"""What can be done from the command line? `grab --help`; one module a family of commands."""

import sys

import typer
from pydantic import ValidationError

from grab_service import __version__
from grab_service.cli import passes, running
from grab_service.cli.errors import show_error
from grab_service.demo.rush import DemoError
from grab_service.servers.errors import ServerError

app = typer.Typer(
    name="grab",
    help="A flash-sale engine for coupons and benefits.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
running.add_to(app)
app.add_typer(passes.app, name="passes")


@app.callback(invoke_without_command=True)
def _version(
    ctx: typer.Context,
    version: bool = typer.Option(False, "--version", help="Show the version and exit."),
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


def main() -> None:
    """Run a command; an expected failure is a sentence on standard error and a non-zero exit status."""
    try:
        app()
    except (ServerError, DemoError, ValidationError) as error:
        show_error(error)
        sys.exit(1)
    except TimeoutError as error:
        show_error(error)
        sys.exit(1)


if __name__ == "__main__":
    main()
