"""`grab demo` and `grab run`: servers, service, ledger, a crowd or none, and a clean end."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.request import getproxies_environment

from pydantic import SecretStr
from rich.console import Console

from grab_service.cell.connect import connect
from grab_service.demo import report as reports
from grab_service.demo.keeping import Kept, kept
from grab_service.demo.rush import Rush, RushPlan
from grab_service.demo.stopping import Stopping
from grab_service.embedded.programs import Programs, environments_of, remembered_secret
from grab_service.embedded.saved_run import remembering
from grab_service.embedded.stack import Stack
from grab_service.embedded.steps import Steps
from grab_service.settings import Settings
from grab_service.sql.sessions import Sessions
from reconcile.migrate import upgrade

KID: Final = "k1"
SALE_OPENS_IN_S: Final = 60.0
ANSWER_S: Final = 5.0


async def server_versions(settings: Settings) -> dict[str, str]:
    """Versions of Redis or Valkey and of PostgreSQL in this run."""
    async with connect(settings.redis_url, connections_max=1, timeout_s=settings.redis_timeout_s) as client:
        info = await client.info("server")
    connection = await Sessions(settings.database_url, connect_timeout_s=ANSWER_S, command_timeout_s=ANSWER_S).open()
    try:
        postgres = await connection.fetchval("SHOW server_version")
    finally:
        await connection.close()
    name = "valkey" if "valkey_version" in info else "redis"
    return {name: info.get("valkey_version") or info["redis_version"], "postgres": postgres.split()[0]}


@dataclass(frozen=True, slots=True)
class Served:
    """The programs that run, and the place of their logs."""

    settings: Settings
    programs: Programs
    logs: tuple[Path, ...]


class Demonstration:
    """One run on one machine: `demo` lets the crowd rush in, `run` only serves."""

    def __init__(self, given: Settings, plan: RushPlan, console: Console) -> None:
        self._given = given
        self._plan = plan
        self._console = console
        self._steps = Steps(console)
        self._stopping = Stopping()

    async def demo(self, *, once: bool) -> int:
        """The whole rush; the exit status. Unless `once`, the service goes on afterwards until it is asked to stop."""
        async with self._serving() as served:
            workers = served.settings.workers
            self._console.print(f"[green]✓[/green] serving at {served.programs.url} with {workers} worker(s)")
            rush = self._rush(served)
            outcome = await self._stopping.unless_stopped(rush.run())
            if outcome is None:
                return 130
            report = reports.build_report(self._plan, outcome, await server_versions(served.settings), workers)
            document = reports.write(report, self._home)
            reports.show(report, self._console)
            self._console.print(f"\nReport: {document}", highlight=False, soft_wrap=True)
            failures = reports.failures(report)
            for failure in failures:
                self._console.print(f"[bold red]✗ {failure}[/bold red]")
            if not once:
                self._say_addresses(served, outcome.campaign_id, rush.member_id)
                await self._stopping.wait()
        return 1 if failures else 0

    async def run(self) -> int:
        """Serve with the members and a campaign that opens in a minute, until asked to stop."""
        async with self._serving() as served:
            rush = self._rush(served)
            campaign_id = await self._stopping.unless_stopped(rush.offer(SALE_OPENS_IN_S))
            if campaign_id is not None:
                self._say_addresses(served, campaign_id, rush.member_id)
                await self._stopping.wait()
        return 0

    @property
    def _home(self) -> Path:
        return self._given.var_dir / "demo"

    def _rush(self, served: Served) -> Rush:
        return Rush(served.settings, served.programs, self._plan, self._home, self._steps)

    @asynccontextmanager
    async def _serving(self) -> AsyncIterator[Served]:
        """Servers, service and ledger, looked after, and found by other commands in this directory."""
        self._stopping.obey_signals()
        async with self._stack() as stack:
            settings = await self._prepare(stack)
            programs = Programs(settings, stack, settings.var_dir)
            children: list[Kept] = [*stack.embedded, programs.ledger, programs.api]
            with loading(settings), remembering(settings.var_dir, programs.url, environments_of(settings, stack)):
                async with programs, kept(children, self._stopping, self._say_died):
                    yield Served(settings, programs, tuple(child.log_path for child in children))

    def _say_died(self, what: str) -> None:
        self._console.print(f"[bold red]✗[/bold red] {what}", highlight=False, soft_wrap=True)

    def _stack(self) -> Stack:
        given = self._given
        return Stack(given.var_dir, redis_url=given.redis_url or None, database_url=given.database_url or None, cell=given.cell)

    async def _prepare(self, stack: Stack) -> Settings:
        secrets, ops_secrets = (
            given or {KID: SecretStr(remembered_secret(self._given.var_dir, kind))}
            for kind, given in (("pass", self._given.secrets), ("ops", self._given.ops_secrets))
        )
        settings = self._given.model_copy(
            update={
                "redis_url": stack.redis_url,
                "database_url": stack.database_url,
                "secrets": secrets,
                "ops_secrets": ops_secrets,
                "dev": True,
                "loading_file": self._given.var_dir / "run" / "loading",
            }
        )
        versions = await server_versions(settings)
        self._console.print(f"[green]✓[/green] {', '.join(f'{name} {version}' for name, version in versions.items())} running")
        async with self._steps.step("bringing the tables up to date"):
            await asyncio.to_thread(upgrade, stack.migration_url, settings.cell)
        return settings

    def _say_addresses(self, served: Served, campaign_id: str, member_id: str) -> None:
        url, at_home = served.programs.url, curl()
        as_json = "-H 'Content-Type: application/json'"
        signing_in = f'{at_home} -s {url}/v1/dev/sessions {as_json} -d \'{{"member_id": "{member_id}"}}\''
        self._console.print(
            f"\nServing until Ctrl-C:\n"
            f"  {url}/docs                                the calls, to try out\n"
            f"  {url}/v1/campaigns/{campaign_id}          the campaign\n"
            f"  {url}/readyz   {url}/metrics\n\n"
            f"In another terminal, as the member {member_id}:\n"
            f"  PASS=$({signing_in} | cut -d '\"' -f 4)\n"
            f'  {at_home} -si -X POST {url}/v1/campaigns/{campaign_id}/claims -H "Authorization: Bearer $PASS"\n\n'
            f"Logs:  {'  '.join(map(near, served.logs))}",
            highlight=False,
            markup=False,
            soft_wrap=True,  # lines to copy stay whole
        )


def curl() -> str:
    """The curl command that asks this machine directly; plain `curl` does so where the environment names no proxy."""
    return "curl --noproxy '*'" if getproxies_environment() else "curl"


def near(path: Path) -> str:
    """The path as somebody in this directory would type it."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


@contextmanager
def loading(settings: Settings) -> Iterator[None]:
    """From now on `/readyz` says that the data are being loaded; until their file is taken away, or this ends."""
    assert settings.loading_file is not None, "set where this is prepared"
    settings.loading_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    settings.loading_file.touch()
    try:
        yield
    finally:
        settings.loading_file.unlink(missing_ok=True)
