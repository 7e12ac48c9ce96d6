"""Terminal output of a command: results on standard output, everything else on standard error."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from grab_service.cli.errors import CommandError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

WIDTH_OF_A_PIPE: Final = 160
"""Tables that nobody sees on a terminal are not cut to the width of one."""
USAGE: Final = 2


def _checked_reason(reason: str | None) -> str | None:
    from pydantic import TypeAdapter, ValidationError

    from grab_service.http.fields import REASON_MAX, Reason

    try:
        return None if reason is None else TypeAdapter(Reason).validate_python(reason)
    except ValidationError as error:
        raise typer.BadParameter(f"1 to {REASON_MAX} characters are needed, and none that cannot be seen.") from error


def moment_ms(written: str) -> int:
    """A moment that was written with its offset, in Unix milliseconds: the parser of an option."""
    from grab_service.vocabulary.times import parse_rfc3339

    try:
        return parse_rfc3339(written)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; needed where there is no terminal.")]
_WHY = typer.Option(
    "--reason", metavar="TEXT", callback=_checked_reason, show_default=False, help="Why; it stands in the log of what was done."
)
Why = Annotated[str | None, _WHY]
WhyNeeded = Annotated[str, _WHY]
Rejected = Annotated[
    Path | None,
    typer.Option("--rejected", metavar="FILE", help="Write all rows that were not taken there, as CSV.", show_default=False),
]
ErrorsShown = Annotated[
    int, typer.Option("--errors", min=0, max=10_000, metavar="N", help="Show so many rows that were not taken.")
]
ERRORS_SHOWN: Final = 20


def output() -> "Console":
    """Console for answers."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH_OF_A_PIPE)


def aside() -> "Console":
    """Console for progress messages."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else WIDTH_OF_A_PIPE)


def print_json(content: Any) -> None:
    """The content on standard output, for programs; as ASCII only where the terminal knows no more."""
    plain = "utf" not in (sys.stdout.encoding or "").lower()
    typer.echo(json.dumps(content, ensure_ascii=plain, indent=2, default=str))


def note(text: str) -> None:
    """A sentence that belongs to no answer."""
    typer.echo(text, err=True)


def progress() -> "Progress":
    """A bar on standard error with figures, seconds and the step; nothing where that is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())


def confirm(what_will_happen: str, *, yes: bool) -> None:
    """Go on only if the user agrees, having read what will happen.

    Raises:
        typer.Exit: they said no, or there is nobody to ask.
    """
    note(what_will_happen)
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        note("grab: Nobody can be asked, for there is no terminal: add --yes if that is what shall happen.")
        raise typer.Exit(USAGE)
    if not typer.confirm("Go on?", err=True):
        raise CommandError("Nothing was done.")
