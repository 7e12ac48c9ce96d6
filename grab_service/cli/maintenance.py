"""Maintenance commands: doctor, audit, provision, migrate, recover."""

import asyncio
import logging
from typing import TYPE_CHECKING, Annotated

import typer

from grab_service.cli.help import UPKEEP, examples
from grab_service.cli.settings_in_force import join, login_passwords, settings_in_force, settings_of_environment
from grab_service.cli.terminal import AsJson, Yes, confirm, note, output, print_json, progress

if TYPE_CHECKING:
    from grab_service.audit import AuditReport
    from grab_service.cli.context import CommandContext
    from grab_service.doctor.finding import DoctorFinding


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    add = app.command
    add(
        rich_help_panel=UPKEEP, epilog=examples("grab doctor", "grab doctor --json | jq '.checks[] | select(.state != \"ok\")'")
    )(doctor)
    add(rich_help_panel=UPKEEP, epilog=examples("grab audit", "grab audit --json | jq .holds"))(audit)
    add(rich_help_panel=UPKEEP, epilog=examples("grab provision", "grab provision --print"))(provision)
    add(rich_help_panel=UPKEEP, epilog=examples("grab migrate"))(migrate)
    add(rich_help_panel=UPKEEP, epilog=examples("grab recover", "grab recover --yes"))(recover)


def doctor(as_json: AsJson = False) -> None:
    """Look at all that the service stands on.

    What is not as it must be comes with how to mend it. Looked at are Python, limits and disk of this machine, settings and
    secrets, Redis and how it keeps what it is told, the clocks, Postgres and its tables, whether the cell is open, whether
    the ledger keeps up, open alarms. Changes nothing. The exit status is 1 if anything fails, and 0 if there are only
    warnings.
    """
    from grab_service.doctor.finding import State

    findings = asyncio.run(_findings(as_json=as_json))
    failed = any(finding.state is State.FAIL for finding in findings)
    if as_json:
        print_json({"ok": not failed, "checks": [finding.as_json() for finding in findings]})
    else:
        counts = {state: sum(finding.state is state for finding in findings) for state in State}
        not_seen = f", {counts[State.UNSEEN]} not seen from here" if counts[State.UNSEEN] else ""
        typer.echo(f"\n{counts[State.OK]} ok, {counts[State.WARN]} to think about, {counts[State.FAIL]} to mend{not_seen}")
    if failed:
        raise typer.Exit(1)


def audit(
    as_json: AsJson = False,
    wait_s: Annotated[
        float,
        typer.Option(
            "--wait-s", metavar="SECONDS", min=0, max=600, help="How long the ledger may take to catch up with the cell."
        ),
    ] = 5.0,
) -> None:
    """Prove that stock is conserved and Redis is Postgres.

    Now, at one cut of the log, beside a running sale; claims are compared one by one. Of a closed cell only the counters are.
    The exit status is 1 if an invariant does not hold.
    """
    from grab_service.audit import audit_cell
    from grab_service.cell.store import CellClosedError
    from grab_service.cli.audit_tables import show_report
    from grab_service.cli.context import with_context

    async def work(context: "CommandContext") -> "AuditReport":
        try:
            return await audit_cell(context.cell, context.engine, context.redis, ledger_wait_s=wait_s)
        except CellClosedError:
            return await _audit_closed(context)

    report = with_context(work)
    if as_json:
        print_json(report.as_json())
    else:
        show_report(report, output())
    if not report.holds:
        raise typer.Exit(1)


def provision(
    only_print: Annotated[bool, typer.Option("--print", help="Only print it, with hashes, to be brought in by hand.")] = False,
) -> None:
    """Set the users and roles that the programs log in as.

    Those of the cell in Redis and in Postgres. REDIS_URL and DATABASE_URL name logins that may make users there;
    passwords are GRAB_API_PASSWORD, GRAB_LEDGER_PASSWORD and GRAB_GUARD_PASSWORD, and GRAB_OWNER_PASSWORD if the tables are to
    belong to a role of their own. Safe to repeat: after an upgrade, or with other passwords. `grab migrate` comes afterwards.
    """
    from grab_service.embedded.external import check_postgres, check_redis
    from grab_service.embedded.provision import postgres_lines, provision_postgres, provision_redis, redis_lines

    settings = settings_of_environment(*(() if only_print else ("redis_url", "database_url")))
    passwords = login_passwords(settings)
    if only_print:
        typer.echo("\n".join(("# Lines for the ACL file of Redis:", *redis_lines(settings.cell, passwords))))
        statements = postgres_lines(settings.cell, passwords, settings.database_url)
        typer.echo("\n".join(("", "-- For a superuser of PostgreSQL, in the database of the cell:", *statements)))
        return

    async def work() -> tuple[bool, bool]:
        await check_redis(settings.redis_url, settings.cell)
        await check_postgres(settings.database_url)
        keeps = await provision_redis(settings.redis_url, settings.cell, passwords)
        return keeps, await provision_postgres(settings.database_url, settings.cell, passwords)

    redis_keeps, tables_are_there = asyncio.run(work())
    typer.echo(f"The users and roles of the cell {settings.cell} are set.")
    if not redis_keeps:
        note("Redis forgets them when it restarts: give it an `aclfile`, or repeat this after every restart.")
    if not tables_are_there:
        note("There are no tables yet: `grab migrate` brings them, and gives the roles their rights.")


def migrate() -> None:
    """Bring the database to this release's tables. Safe to repeat, and for several at once.

    The roles of the cell get their rights anew.
    """
    from grab_service.embedded.external import check_postgres
    from reconcile.migrate import upgrade

    settings = settings_in_force("database_url")
    asyncio.run(check_postgres(settings.database_url))
    upgrade(settings.database_url, settings.cell)
    typer.echo("The database has the tables of this release.")


def recover(yes: Yes = False) -> None:
    """Rebuild the cell from Postgres, by hand.

    A running ledger does that by itself wherever nothing can be lost by it; this is for when it asks for somebody to decide.
    The cell is closed, rebuilt, audited and opened again, in a new epoch. Safe to repeat. No other ledger may be running.
    """
    from grab_service.cli.context import with_context
    from grab_service.logs import configure_logs
    from reconcile.by_hand import recover_once
    from reconcile.drain.cursor import read_cursor

    async def work(context: "CommandContext") -> None:
        cursor = await read_cursor(context.engine, context.settings.cell)
        on_record = "nothing is on record of it" if cursor is None else f"on record is everything up to seq {cursor.last_seq:,}"
        confirm(
            f"The cell {context.settings.cell} is closed, rebuilt from Postgres and opened again; nobody can grab meanwhile.\n"
            f"What Redis holds beyond and cannot be drained is lost: {on_record}.",
            yes=yes,
        )
        configure_logs(logging.WARNING)  # what is lost is said there
        with progress() as bar:
            task = bar.add_task("rebuilding the cell", total=None)
            begun = await recover_once(context.settings, lambda made: bar.update(task, completed=made.done, total=made.of))
        assert begun is not None, "a cell that was recovered has a cursor"
        typer.echo(f"The cell is open, in epoch {begun.epoch}, at seq {begun.last_seq:,}.")

    with_context(work)


async def _audit_closed(context: "CommandContext") -> "AuditReport":
    from grab_service.cell.nodes import Nodes
    from reconcile.guard.closed_audit import audit_closed
    from reconcile.redis_link import RedisLink

    note("The cell is closed: its counters are compared, and no claims one by one.")
    settings = context.settings
    link = await RedisLink.open(settings.redis_url_of_guard, settings.redis_timeout_s, Nodes(settings.cell))
    try:
        return await audit_closed(link, context.engine, context.settings.cell)
    finally:
        await link.close()


async def _findings(*, as_json: bool) -> "list[DoctorFinding]":
    from grab_service.doctor.configuration import read_settings, unusable_fields
    from grab_service.doctor.examination import examine
    from grab_service.doctor.finding import fail
    from grab_service.settings import settings_errors

    read, error = read_settings()
    if join(read):
        read, error = read_settings()
    problems = settings_errors(error) if error is not None else []
    findings = [fail("settings", problem, "Mend it in the environment.") for problem in problems]
    if not as_json:
        for finding in findings:
            _print(finding)
    async for finding in examine(read, unusable_fields(error)):
        findings.append(finding)
        if not as_json:
            _print(finding)
    return findings


def _print(finding: "DoctorFinding") -> None:
    from rich.padding import Padding
    from rich.text import Text

    marks = {"ok": ("ok  ", "green"), "unseen": ("  – ", "dim"), "warn": ("warn", "yellow"), "fail": ("FAIL", "bold red")}
    mark, style = marks[finding.state.value]
    console = output()
    console.print(Text.assemble((mark, style), f"  {finding.name:<12}  ", finding.found), soft_wrap=not console.is_terminal)
    if finding.hint:
        console.print(Padding(Text(finding.hint, "dim"), (0, 0, 0, 20), expand=False))
