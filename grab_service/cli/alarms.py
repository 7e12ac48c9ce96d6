"""Commands for the ledger's alarms: list and acknowledge."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Final

import typer

from grab_service.cli.help import examples, new_app
from grab_service.cli.terminal import AsJson, WhyNeeded, note, output, print_json

if TYPE_CHECKING:
    from grab_service.alarms.service import Alarm
    from grab_service.cli.context import CommandContext

SHOWN_MAX: Final = 1_000
CLAIMS_SHOWN_MAX: Final = 50
STATES: Final = ("open", "acknowledged", "cleared")

app = new_app(help="See what the ledger has found wrong, and take note of it.")


@app.command("list", epilog=examples("grab alarms list", "grab alarms list --state open --json"))
def list_all(
    state: Annotated[
        str | None, typer.Option(metavar="|".join(STATES), help="Only those in this state.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List alarms, newest first; 1,000 at most."""
    from grab_service.alarms.service import AlarmState, list_alarms
    from grab_service.cli.context import with_context
    from grab_service.vocabulary.times import Clock

    if state is not None and state not in STATES:
        raise typer.BadParameter(f"one of {', '.join(STATES)} is needed", param_hint="--state")
    wanted = None if state is None else AlarmState(state)

    async def work(context: "CommandContext") -> "tuple[str, list[Alarm]]":
        return context.settings.time_zone, await list_alarms(
            context.engine, state=wanted, before_alarm_id=None, limit=SHOWN_MAX
        )

    time_zone, found = with_context(work, needs_redis=False)
    if as_json:
        print_json([{**asdict(alarm), "state": alarm.state.value} for alarm in found])
        return
    from rich.table import Table
    from rich.text import Text

    clock = Clock(time_zone)
    table = Table(caption=f"Times are those of {clock.name}.", caption_justify="left", box=None, pad_edge=False)
    for name in ("id", "kind", "state", "raised", "detail"):
        table.add_column(name, no_wrap=name != "detail", overflow="fold")
    for alarm in found:
        by = f" by {alarm.acknowledged_by}" if alarm.acknowledged_by else ""
        detail = ", ".join(f"{name} {value}" for name, value in alarm.detail.items() if name != "claims")[:300]
        detail += _named(alarm.detail.get("claims", ()))
        raised = clock.show(alarm.raised_at_ms, exactly=False)
        table.add_row(str(alarm.alarm_id), alarm.kind, f"{alarm.state.value}{by}", raised, Text(detail))
    output().print(table)


def _named(claims: Sequence[Mapping[str, str]]) -> str:
    """The claims that a loss took, a line each."""
    named = "".join(f"\n{claim['claim_id']} of {claim['member_id']}" for claim in claims[:CLAIMS_SHOWN_MAX])
    more = len(claims) - CLAIMS_SHOWN_MAX
    return f"{named}\nand {more:,} more, with --json" if more > 0 else named


@app.command(epilog=examples("grab alarms acknowledge 17 --reason 'the members concerned were told'"))
def acknowledge(
    alarm_id: Annotated[str, typer.Argument(metavar="ID", help="The alarm's id, as `grab alarms list` shows it.")],
    reason: WhyNeeded,
) -> None:
    """Take note of an alarm.

    It ends nothing by itself: an alarm is cleared when its cause is gone. A loss stays on record, acknowledged.
    """
    from grab_service.alarms.service import acknowledge_alarm
    from grab_service.cli.context import with_context

    async def work(context: "CommandContext") -> "Alarm":
        return await acknowledge_alarm(context.engine, context.identity, alarm_id, reason)

    done = with_context(work, needs_redis=False)
    note(f"Alarm {done.alarm_id} ({done.kind}) is acknowledged by {done.acknowledged_by}.")
