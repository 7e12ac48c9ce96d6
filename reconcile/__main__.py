"""`python -m reconcile …`: how is the ledger started and asked?"""

import asyncio
import signal
import sys
from typing import Final

import structlog
import typer

from grab_service.logs import configure_logs
from grab_service.settings import Settings
from reconcile import migrate as migrations
from reconcile.process import run as run_ledger

app: Final = typer.Typer(
    help="The ledger: moves the log of the cell into Postgres and proves that both agree.", no_args_is_help=True
)
log = structlog.get_logger()


@app.command()
def run() -> None:
    """Drain, guard, sweep and audit until stopped (SIGTERM or SIGINT). Several may run: one leads, the others stand by."""
    settings = _settings()
    try:
        asyncio.run(_run_until_told(settings))
    except* Exception:
        log.exception("ledger_crashed")
        sys.exit(1)


@app.command()
def migrate() -> None:
    """Bring the database to the tables of this release. Safe to repeat, and for several at once."""
    migrations.upgrade(_settings().database_url)


async def _run_until_told(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, stop.set)
    await run_ledger(settings, stop)


def _settings() -> Settings:
    configure_logs()
    settings = Settings()
    if not settings.redis_url or not settings.database_url:
        typer.echo("Set REDIS_URL and DATABASE_URL.", err=True)
        raise typer.Exit(2)
    return settings


if __name__ == "__main__":
    app()
