"""Commands that list ops tokens, and revoke one early."""

import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Final

import typer

from grab_service.cli.errors import CommandError
from grab_service.cli.help import examples
from grab_service.cli.settings_in_force import pass_keys, settings_in_force
from grab_service.cli.terminal import AsJson, note, output, print_json
from grab_service.vocabulary.identifiers import is_token_id
from grab_service.vocabulary.passes import PassRefusal, verify_ops

if TYPE_CHECKING:
    from grab_service.cli.context import CommandContext
    from grab_service.identity.tokens import RecordedToken

SHOWN_MAX: Final = 1_000


def list_tokens(as_json: AsJson = False) -> None:
    """List the tokens of ops, newest first.

    Tokens that were made on the command line are on record from their first use on. At most 1,000 are shown.
    """
    from grab_service.cli.context import with_context
    from grab_service.identity.tokens import list_tokens as read
    from grab_service.vocabulary.times import Clock

    async def work(context: "CommandContext") -> tuple[str, list["RecordedToken"]]:
        return context.settings.time_zone, await read(context.engine, after=None, limit=SHOWN_MAX)

    time_zone, found = with_context(work, needs_redis=False)
    if as_json:
        print_json([asdict(token) for token in found])
        return
    from rich.table import Table

    clock = Clock(time_zone)
    table = Table(caption=f"Times are those of {clock.name}.", caption_justify="left", box=None, pad_edge=False)
    for name in ("id", "actor", "role", "made", "good until", "ended"):
        table.add_column(name, no_wrap=name != "actor", overflow="fold")
    for token in found:
        made, until = (clock.show(at_ms, exactly=False) for at_ms in (token.created_at_ms, token.expires_at_ms))
        ended = "" if token.ended_at_ms is None else clock.show(token.ended_at_ms, exactly=False)
        table.add_row(token.token_id, token.actor, token.role, made, until, ended)
    output().print(table)


def end_token(
    token: Annotated[
        str, typer.Argument(metavar="TOKEN", help="The token's id, or the token itself; - reads it from standard input.")
    ],
) -> None:
    """End a token of ops before its time.

    Every worker refuses it from then on. A token that nobody has used yet is not on record: give the token itself, which
    takes GRAB_OPS_SECRETS.
    """
    from grab_service.cli.context import with_context
    from grab_service.identity.tokens import end_token as end
    from grab_service.identity.tokens import record_token

    given = (sys.stdin.readline() if token == "-" else token).strip()  # noqa: S105 -- means standard input
    whole = None if is_token_id(given) else verify_ops(pass_keys(settings_in_force("secrets")), given.encode(), time.time())
    if isinstance(whole, PassRefusal):
        raise CommandError(
            "This is neither the id of a token nor a token that is good now.", "See `grab passes list` for those there are."
        )

    async def work(context: "CommandContext") -> str:
        if whole is None:
            token_id = given
        else:
            token_id = whole.token_id
            await record_token(context.engine, whole)
        await end(context.engine, context.identity, token_id)
        return token_id

    note(f"Token {with_context(work, needs_redis=False)} is refused from now on.")


def add_to(app: typer.Typer) -> None:
    """Make the commands known."""
    app.command("list", epilog=examples("grab passes list", "grab passes list --json"))(list_tokens)
    app.command("end", epilog=examples("grab passes end 5f0c9f7e1ab34d2c", "grab passes end - < leaked.txt"))(end_token)
