"""Which commands start something that runs? serve, reconcile, demo, run."""

import asyncio
import sys
from pathlib import Path

import typer
from rich.console import Console

from grab_service.demo.command import Demonstration
from grab_service.demo.rush import RushPlan
from grab_service.logs import configure_logs
from grab_service.settings import Settings
from reconcile.__main__ import run as run_ledger

PLAN = RushPlan()


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(serve)
    app.command()(reconcile)
    app.command()(demo)
    app.command()(run)


def serve(
    workers: int = typer.Option(0, help="Worker processes; default GRAB_WORKERS."),
    host: str = typer.Option("", help="Address to listen on; default GRAB_HOST."),
    port: int = typer.Option(0, help="Port to listen on; default GRAB_PORT."),
) -> None:
    """Serve the HTTP calls. Needs REDIS_URL, DATABASE_URL and GRAB_SECRETS."""
    import os

    from grab_service.api.serve import serve as serve_forever

    for name, value in (("GRAB_WORKERS", workers), ("GRAB_HOST", host), ("GRAB_PORT", port)):
        if value:  # every worker process reads its settings from the environment
            os.environ[name] = str(value)
    serve_forever(needing(Settings(), "redis_url", "database_url", "secrets"))


def reconcile() -> None:
    """Run the ledger: drain, guard, sweep. Needs REDIS_URL and DATABASE_URL."""
    run_ledger()


def demo(
    once: bool = typer.Option(False, help="Stop when the report is made; the default without a terminal."),
    members: int = typer.Option(PLAN.members, min=1, max=1_000_000, help="How many members rush in."),
    orgs: int = typer.Option(PLAN.orgs, min=1, max=9_999, help="In how many unions."),
    stock: int = typer.Option(PLAN.stock, min=1, max=1_000_000, help="How many units there are."),
    workers: int = typer.Option(1, min=1, max=64, help="API worker processes."),
    connections: int = typer.Option(PLAN.connections, min=1, max=20_000, help="Connections the crowd shares."),
    spread_s: float = typer.Option(PLAN.spread_s, min=0, max=60, help="Over how long after opening they tap; 0: all at once."),
) -> None:
    """Show the main job whole: servers, service, ledger, a campaign, a crowd, an audit, a report."""
    plan = RushPlan(members=members, orgs=orgs, stock=stock, connections=connections, spread_s=spread_s)
    demonstration = demonstration_of(plan, workers)
    raise typer.Exit(asyncio.run(demonstration.demo(once=once or not sys.stdout.isatty())))


def run(
    members: int = typer.Option(PLAN.members, min=1, max=1_000_000, help="How many members there are."),
    orgs: int = typer.Option(PLAN.orgs, min=1, max=9_999, help="In how many unions."),
    stock: int = typer.Option(PLAN.stock, min=1, max=1_000_000, help="How many units there are."),
    workers: int = typer.Option(1, min=1, max=64, help="API worker processes."),
) -> None:
    """Serve with the demo's members and a campaign that opens in a minute, until Ctrl-C."""
    demonstration = demonstration_of(RushPlan(members=members, orgs=orgs, stock=stock), workers)
    raise typer.Exit(asyncio.run(demonstration.run()))


def demonstration_of(plan: RushPlan, workers: int) -> Demonstration:
    """A demonstration that logs to a file, so that the terminal shows the steps."""
    configure_logs()
    settings = Settings().model_copy(update={"workers": workers, "var_dir": Path(Settings().var_dir).absolute()})
    return Demonstration(settings, plan, Console())


def needing(settings: Settings, *names: str) -> Settings:
    """The settings, if the named ones are set.

    Raises:
        typer.BadParameter: one is not; says which variable to set.
    """
    variables = {"redis_url": "REDIS_URL", "database_url": "DATABASE_URL", "secrets": "GRAB_SECRETS"}
    missing = [variables[name] for name in names if not getattr(settings, name)]
    if missing:
        raise typer.BadParameter(f"set {', '.join(missing)} (`grab run` sets up everything by itself)")
    return settings
