"""Commands that show the ops log, and block a member for a time."""

import time
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from grab_service.cli.errors import CommandError
from grab_service.cli.help import OPS, examples
from grab_service.cli.terminal import AsJson, WhyNeeded, moment_ms, note, output, print_json

if TYPE_CHECKING:
    from grab_service.cli.context import CommandContext
    from grab_service.members.service import Block

LIMIT: Final = 50
LIMIT_MAX: Final = 10_000


def log(
    actor: Annotated[str | None, typer.Option(metavar="NAME", show_default=False, help="Only what this one did.")] = None,
    action: Annotated[
        str | None, typer.Option(metavar="ACTION", show_default=False, help="Only this, such as campaign.pause.")
    ] = None,
    object_id: Annotated[
        str | None, typer.Option("--object", metavar="ID", show_default=False, help="Only what was done to this.")
    ] = None,
    outcome: Annotated[
        str | None, typer.Option(metavar="WORD", show_default=False, help="Only what ended so, such as done.")
    ] = None,
    from_time: Annotated[
        int | None,
        typer.Option("--from", parser=moment_ms, metavar="TIME", show_default=False, help="Only then or later."),
    ] = None,
    to_time: Annotated[
        int | None, typer.Option("--to", parser=moment_ms, metavar="TIME", show_default=False, help="Only before then.")
    ] = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=LIMIT_MAX, help="So many lines at most.")] = LIMIT,
    as_json: AsJson = False,
) -> None:
    """Show who did what, when and why; newest first.

    Times are written with their offset, such as 2026-09-20T12:00:00+08:00. An outcome is `requested` while it is done, then
    `done`, or the problem it was refused with.
    """
    from grab_service.cli.context import with_context
    from grab_service.ops_log.log import LogFilter, read_log
    from grab_service.vocabulary.times import Clock

    wanted = LogFilter(object_id, actor, action, outcome, from_time, to_time)

    async def work(context: "CommandContext") -> tuple[str, list[dict[str, Any]]]:
        return context.settings.time_zone, await read_log(context.engine, before_entry_id=None, limit=limit + 1, wanted=wanted)

    time_zone, found = with_context(work, needs_redis=False)
    lines, more = found[:limit], len(found) > limit
    if as_json:
        print_json({"items": lines, "more": more})
        return
    from rich.table import Table
    from rich.text import Text

    clock = Clock(time_zone)
    table = Table(caption=f"Times are those of {clock.name}.", caption_justify="left", box=None, pad_edge=False)
    for name in ("when", "who", "what", "to", "outcome", "why"):
        table.add_column(name, no_wrap=name in {"when", "what"}, overflow="fold")
    for line in lines:
        cells = (line["actor"], line["action"], line["object_id"] or "", line["outcome"], line["reason"] or "")
        table.add_row(clock.show(line["at_ms"], exactly=False), *(Text(cell) for cell in cells))
    output().print(table)
    if more:
        note("There are more: raise --limit, or ask for less.")


def block(
    member_id: Annotated[str, typer.Argument(metavar="MEMBER", help="The member's id.")],
    reason: WhyNeeded,
    until: Annotated[
        int | None,
        typer.Option(parser=moment_ms, metavar="TIME", show_default=False, help="Until when; otherwise until it is lifted."),
    ] = None,
) -> None:
    """Keep a member from grabbing for a time.

    When it has answered, no later grab of theirs wins. Their claims stay theirs.
    """
    from grab_service.cli.context import with_context
    from grab_service.members.service import FOREVER_MS
    from grab_service.members.service import block as keep_out
    from grab_service.vocabulary.times import Clock

    until_ms = FOREVER_MS if until is None else until
    if until_ms <= time.time_ns() // 1_000_000:
        raise CommandError("--until is in the past, so it would keep nobody out.", "Give a later time, or leave it away.")

    async def work(context: "CommandContext") -> "tuple[Block, str]":
        done = await keep_out(context.engine, context.cell, context.identity, member_id, until_ms, reason)
        return done, context.settings.time_zone

    done, time_zone = with_context(work)
    lasts = "until it is lifted" if done.until_ms == FOREVER_MS else f"until {Clock(time_zone).show(done.until_ms)}"
    note(f"{done.member_id} is blocked {lasts}.")


def unblock(member_id: Annotated[str, typer.Argument(metavar="MEMBER", help="The member's id.")]) -> None:
    """Lift a block. No error if there is none."""
    from grab_service.cli.context import with_context
    from grab_service.members.service import unblock as let_in

    async def work(context: "CommandContext") -> None:
        await let_in(context.engine, context.cell, context.identity, member_id)

    with_context(work)
    note(f"{member_id} is not blocked.")


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    for command, *lines in (
        (log, "grab log --action campaign.pause --from 2026-09-20T00:00:00+08:00", "grab log --actor alice --json"),
        (block, "grab block m-000123 --until 2026-10-01T00:00:00+08:00 --reason '代抢，第二次'"),
        (unblock, "grab unblock m-000123"),
    ):
        app.command(rich_help_panel=OPS, epilog=examples(*lines))(command)
