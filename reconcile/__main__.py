"""`python -m reconcile …`: the ledger's commands."""

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine
from typing import Annotated, Any, Final, TypeVar

import orjson
import structlog
import typer
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from grab_service.audit import AuditImpossibleError
from grab_service.cell.rights import Login
from grab_service.cell.store import CellError
from grab_service.embedded.errors import ServerError
from grab_service.embedded.external import check_postgres, refuse_unfit_postgres
from grab_service.embedded.saved_run import SERVERS, join_run
from grab_service.logs import configure_logs
from grab_service.output import replace_what_cannot_be_shown
from grab_service.settings import Settings, settings_errors, unknown_variables
from grab_service.sql.grants import OWNER
from reconcile import by_hand
from reconcile import migrate as migrations
from reconcile.drain.cursor import CursorMovedError
from reconcile.drain.pages import DrainFaultError
from reconcile.fence import FencedOffError
from reconcile.guard.guard import DoubtError
from reconcile.guard.redis_settings import UnfitServerError
from reconcile.leader import NotLeadingError
from reconcile.process import run as run_ledger
from reconcile.rebuild.recover import NothingToRecoverError
from reconcile.redis_link import LinkBrokenError

app: Final = typer.Typer(
    help="The ledger: moves the log of the cell into Postgres and proves that both agree. Set REDIS_URL and DATABASE_URL.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
log = structlog.get_logger()

T = TypeVar("T")

OVERTAKEN: Final = "Another ledger has taken over meanwhile, nothing of its work was touched: {error}. See `grab doctor`."

MENDS: Final[dict[type[Exception], str]] = {
    by_hand.AnotherLeadsError: "Another ledger is running and leads. Stop it first; or leave it to that one.",
    NothingToRecoverError: "Postgres knows of no such cell. Is DATABASE_URL the right one, and GRAB_CELL?",
    DrainFaultError: "The log cannot be drained any further: {error}",
    DoubtError: "The cell stays closed: {error}",
    UnfitServerError: "This Redis cannot be used as it is: {error}",
    FencedOffError: OVERTAKEN,
    NotLeadingError: OVERTAKEN,
    CursorMovedError: OVERTAKEN,
    AuditImpossibleError: "Nothing can be said: {error}",
    CellError: "The cell does not answer: {error}",
    LinkBrokenError: "Redis does not answer: {error}",
    ServerError: "{error}",
    SQLAlchemyError: "Postgres does not answer, or lacks its tables (`python -m reconcile migrate`): {error}",
    OSError: "Postgres or Redis cannot be reached: {error}",
    TimeoutError: "Postgres or Redis did not answer in time.",
}


@app.command()
def run() -> None:
    """Drain, guard, sweep and audit until stopped (SIGTERM or SIGINT). Several may run: one leads, the others stand by."""
    settings = _settings()
    _do(refuse_unfit_postgres(settings.database_url))
    try:
        asyncio.run(_run_until_told(settings))
    except* Exception:
        log.exception("ledger_crashed")
        sys.exit(1)


@app.command()
def drain_once() -> None:
    """Move what the log has now into Postgres, and end."""
    done = _do(by_hand.drain_once(_settings()))
    where = "the cell never began" if done.cursor is None else f"now at epoch {done.cursor.epoch}, seq {done.cursor.last_seq}"
    typer.echo(f"{done.entries} entries, {done.claims} claims; {where}")


@app.command()
def audit(as_json: Annotated[bool, typer.Option("--json", help="The whole report as JSON.")] = False) -> None:
    """Compare the cell with Postgres, now. Exit status 1 if something does not hold."""
    report = _do(by_hand.audit_once(_settings()))
    if as_json:
        typer.echo(orjson.dumps(report.as_json(), option=orjson.OPT_INDENT_2))
    else:
        for name, check in report.invariants.items():
            verdict = "holds" if check.holds and check.checked else "not checked" if check.holds else "BROKEN"
            typer.echo(f"{name.value:<16} {verdict:<12} {check.detail}")
    if not report.holds:
        raise typer.Exit(1)


@app.command()
def recover() -> None:
    """Close the cell, rebuild it from Postgres, audit it and open it again. Safe to repeat.

    What the log holds and cannot be drained is lost; the ledger says what that is. No other ledger may be running.
    """
    cursor = _do(by_hand.recover_once(_settings()))
    assert cursor is not None, "a cell that was recovered has a cursor"
    typer.echo(f"The cell is open, in epoch {cursor.epoch}, at seq {cursor.last_seq}.")


@app.command()
def migrate() -> None:
    """Bring the database to the tables of this release. Safe to repeat, and for several at once."""
    settings = _settings(redis=False)

    async def upgrade() -> None:
        await check_postgres(settings.database_url)
        await asyncio.to_thread(migrations.upgrade, settings.database_url, settings.cell)

    _do(upgrade())


async def _run_until_told(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, stop.set)
    await run_ledger(settings, stop)


def _settings(*, redis: bool = True) -> Settings:
    configure_logs()
    try:
        # Where it names no servers, those of the run that goes on in this directory.
        join_run(Settings(), Login.LEDGER if redis else OWNER, SERVERS)
        settings = Settings()
    except ValidationError as error:
        for problem in settings_errors(error):
            typer.echo(problem, err=True)
        raise typer.Exit(2) from None
    if not settings.database_url or (redis and not settings.redis_url):
        typer.echo("Set DATABASE_URL and REDIS_URL." if redis else "Set DATABASE_URL.", err=True)
        raise typer.Exit(2)
    return settings


def _do(work: Coroutine[Any, Any, T]) -> T:
    """Run it; a known failure is said in a sentence."""
    try:
        return asyncio.run(work)
    except tuple(MENDS) as error:
        known = next(kind for kind in MENDS if isinstance(error, kind))
        typer.echo(MENDS[known].format(error=str(error).split("\n", 1)[0]), err=True)
        raise typer.Exit(1) from error


def main() -> None:
    """Run a command."""
    replace_what_cannot_be_shown()
    for sentence in unknown_variables(os.environ):
        typer.echo(sentence, err=True)
    app()


if __name__ == "__main__":
    main()
