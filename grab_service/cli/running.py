"""Commands that start processes: serve, reconcile, demo, run."""

import asyncio
import logging
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final
from urllib.parse import urlsplit

import typer

from grab_service.cli.errors import CommandError
from grab_service.cli.help import RUN, examples
from grab_service.cli.settings_in_force import pass_keys, settings_in_force, settings_of_environment
from grab_service.cli.terminal import note, output
from grab_service.files.synthetic import MEMBERS, MEMBERS_MAX, ORGS, ORGS_MAX
from grab_service.vocabulary.durability import Durability

if TYPE_CHECKING:
    from grab_service.demo.command import Demonstration
    from grab_service.demo.rush import RushPlan
    from grab_service.settings import Settings

STOCK: Final = 3_000
STOCK_MAX: Final = 1_000_000
CONNECTIONS: Final = 2_000
SPREAD_S: Final = 4.0
WORKERS_MAX: Final = 64
PORT_WAIT_S: Final = 3.0
"""The workers of a service that was killed hear of it and let go of the port a moment later."""

PORT_POLL_S: Final = 0.1

Members = Annotated[int, typer.Option(metavar="N", min=1, max=MEMBERS_MAX, help="How many members there are.")]
Orgs = Annotated[int, typer.Option(metavar="N", min=1, max=ORGS_MAX, help="In how many unions.")]
Stock = Annotated[int, typer.Option(metavar="N", min=1, max=STOCK_MAX, help="How many units there are.")]
DurabilityOption = Annotated[
    Durability | None,
    typer.Option(
        "--durability", show_default=False, help="What has a claim before its winner is told; default GRAB_DURABILITY, or disk."
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=1, max=WORKERS_MAX, show_default=False, help="API worker processes; default GRAB_WORKERS, or 1."
    ),
]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    add = app.command
    add(rich_help_panel=RUN, epilog=examples("grab serve --workers 4", "grab serve --host 0.0.0.0 --port 8080"))(serve)
    add(rich_help_panel=RUN, epilog=examples("grab reconcile"))(reconcile)
    add(rich_help_panel=RUN, epilog=examples("grab run", "grab run --members 1000 --orgs 20 --stock 50"))(run)
    add(
        rich_help_panel=RUN,
        epilog=examples("grab demo --once", "grab demo --members 20000 --stock 500", "grab demo --workers 4 --spread-s 0"),
    )(demo)


def serve(
    workers: Workers = None,
    host: Annotated[
        str | None, typer.Option(show_default=False, help="Address to listen on; default GRAB_HOST, or 127.0.0.1.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, max=65535, show_default=False, help="Port to listen on; default GRAB_PORT, or 8000."),
    ] = None,
) -> None:
    """Serve the HTTP calls.

    Needs REDIS_URL, DATABASE_URL and GRAB_SECRETS, or a `grab run` in this directory. `grab reconcile` has to run beside
    it, for it opens the cell.
    """
    from grab_service.cell.rights import Login
    from grab_service.embedded.external import refuse_unfit_postgres
    from grab_service.embedded.saved_run import SERVERS

    for name, value in (("GRAB_WORKERS", workers), ("GRAB_HOST", host), ("GRAB_PORT", port)):
        if value is not None:  # every worker process reads its settings from the environment
            os.environ[name] = str(value)
    settings = settings_in_force("redis_url", "database_url", "secrets", who=Login.API, names=SERVERS)
    pass_keys(settings)
    _see_that_assertions_can_be_checked(settings)
    _see_that_the_port_is_free(settings)
    asyncio.run(refuse_unfit_postgres(settings.database_url))

    from grab_service.service.serve import serve as serve_forever

    serve_forever(settings)


def reconcile() -> None:
    """Run the ledger: record, guard, audit.

    It drains the log of the cell into Postgres, opens the cell when both agree, and closes it on doubt. Needs REDIS_URL and
    DATABASE_URL, or a `grab run` in this directory. The same as `python -m reconcile run`. Several may run: one leads, the
    others stand by.
    """
    from grab_service.cell.rights import Login
    from grab_service.embedded.saved_run import SERVERS
    from reconcile.__main__ import run as run_ledger

    settings_in_force("redis_url", "database_url", who=Login.LEDGER, names=SERVERS)
    run_ledger()


def demo(
    once: Annotated[bool, typer.Option("--once", help="Stop when the report is made; the default without a terminal.")] = False,
    members: Members = MEMBERS,
    orgs: Orgs = ORGS,
    stock: Stock = STOCK,
    workers: Workers = None,
    connections: Annotated[
        int, typer.Option(metavar="N", min=1, max=20_000, help="Connections that the crowd shares.")
    ] = CONNECTIONS,
    spread_s: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=0, max=60, help="Over how many seconds after opening they tap; 0: all at once."),
    ] = SPREAD_S,
    durability: DurabilityOption = None,
) -> None:
    """Show the main job whole, from servers to report.

    Servers, service, ledger, a campaign, a crowd that rushes in at its opening, an audit, and a table with bars. Brings
    servers of its own, with their data in var/, unless REDIS_URL and DATABASE_URL name some. The exit status is 1 if
    anything that was checked does not hold.
    """
    from grab_service.demo.rush import RushPlan

    plan = RushPlan(members=members, orgs=orgs, stock=stock, connections=connections, spread_s=spread_s)
    demonstration = _demonstration_of(plan, workers, durability)
    raise typer.Exit(asyncio.run(demonstration.demo(once=once or not sys.stdout.isatty())))


def run(
    members: Members = MEMBERS,
    orgs: Orgs = ORGS,
    stock: Stock = STOCK,
    workers: Workers = None,
    durability: DurabilityOption = None,
) -> None:
    """Serve with made-up members until Ctrl-C.

    A campaign opens after a minute. Brings servers of its own, with their data in var/, unless REDIS_URL and DATABASE_URL
    name some. The other commands of `grab` find them from another terminal in this directory.
    """
    from grab_service.demo.rush import RushPlan

    demonstration = _demonstration_of(RushPlan(members=members, orgs=orgs, stock=stock), workers, durability)
    raise typer.Exit(asyncio.run(demonstration.run()))


def _demonstration_of(plan: "RushPlan", workers: int | None, durability: Durability | None) -> "Demonstration":
    from grab_service.demo.command import Demonstration
    from grab_service.logs import configure_logs

    configure_logs(logging.WARNING)  # successes are printed by the steps
    settings = settings_of_environment()
    if durability is Durability.REPLICAS and not settings.replicas_min:
        raise CommandError(
            "No replica follows the server of a demonstration.", "Choose disk or record, or set GRAB_REPLICAS_MIN."
        )
    _see_that_no_run_is_here(settings)
    _see_that_the_port_is_free(settings)
    changed = {
        "workers": workers or settings.workers,
        "durability": durability or settings.durability,
        "var_dir": Path(settings.var_dir).absolute(),
    }
    return Demonstration(settings.model_copy(update=changed), plan, output())


def _see_that_assertions_can_be_checked(settings: "Settings") -> None:
    from grab_service.identity.assertions import AssertionKeys

    try:
        keys = AssertionKeys.read(settings)
    except (ValueError, OSError) as error:
        raise CommandError(
            f"Assertions of the host app cannot be checked: {error}.",
            "Mend GRAB_ASSERTION_JWKS_FILE, or unset it.",
        ) from error
    for sentence in keys.public.passed_over:
        note(f"GRAB_ASSERTION_JWKS_FILE: {sentence}; it is passed over.")
    if (keys.secret or keys.public.by_name) and not keys.issuer:
        note("GRAB_ASSERTION_ISSUER is not set: every assertion of the host app is refused, and no member can sign in.")


def _see_that_no_run_is_here(settings: "Settings") -> None:
    """Unless both servers are named, two runs would want the same data."""
    from grab_service.embedded.saved_run import run_here

    run = run_here(settings.var_dir)
    if run is not None and not (settings.redis_url and settings.database_url):
        raise CommandError(
            f"A run goes on in this directory (process {run.pid}); it serves at {run.url}.",
            "Work with that one, end it (Ctrl-C in its terminal), or set GRAB_VAR_DIR and GRAB_PORT to others.",
        )


def _see_that_the_port_is_free(settings: "Settings") -> None:
    """Before anything is started: workers that cannot listen would die one by one."""
    from grab_service.embedded.errors import PortTakenError
    from grab_service.embedded.ports import refusal_to_listen
    from grab_service.embedded.saved_run import run_here

    until_s = time.monotonic() + PORT_WAIT_S
    while (refusal := refusal_to_listen("The service", settings.host, settings.port)) is not None:
        if not isinstance(refusal, PortTakenError) or time.monotonic() > until_s:
            run = run_here(settings.var_dir)
            if run is None or urlsplit(run.url).port != settings.port:
                raise refusal
            raise CommandError(
                f"The run in this directory serves at {run.url} already.",
                "Give another service a port of its own, as in `grab serve --port 8001`.",
            )
        time.sleep(PORT_POLL_S)
