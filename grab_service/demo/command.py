"""What do `grab demo` and `grab run` do? Servers, service, ledger, a crowd or none, and a clean end."""

import asyncio
from typing import Final

import asyncpg
import httpx
from pydantic import SecretStr
from redis.asyncio import Redis
from rich.console import Console

from grab_service.demo import report as reports
from grab_service.demo.programs import Programs, remembered_secret
from grab_service.demo.rush import Rush, RushPlan
from grab_service.demo.steps import Steps, ask
from grab_service.demo.stopping import Stopping
from grab_service.servers.stack import Stack
from grab_service.settings import Settings
from reconcile.migrate import upgrade

KID: Final = "k1"
SALE_OPENS_IN_S: Final = 60.0


async def server_versions(settings: Settings) -> dict[str, str]:
    """Which Redis or Valkey and which PostgreSQL this ran on."""
    async with Redis.from_url(settings.redis_url) as client:
        info = await client.info("server")
    connection = await asyncpg.connect(settings.database_url)
    try:
        postgres = await connection.fetchval("SHOW server_version")
    finally:
        await connection.close()
    name = "valkey" if "valkey_version" in info else "redis"
    return {name: info.get("valkey_version") or info["redis_version"], "postgres": postgres.split()[0]}


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
        home = self._given.var_dir / "demo"
        self._stopping.obey_signals()
        async with self._stack() as stack:
            settings = await self._prepare(stack)
            async with Programs(settings, stack, self._given.var_dir) as programs:
                self._console.print(f"[green]✓[/green] serving at {programs.url} with {settings.workers} worker(s)")
                rush = Rush(settings, programs, self._plan, home, self._steps)
                outcome = await self._stopping.unless_stopped(rush.run())
                if outcome is None:
                    return 130
                report = reports.build_report(self._plan, outcome, await server_versions(settings), settings.workers)
                document, picture = reports.write(report, home)
                reports.show(report, self._console)
                self._console.print(f"\nReport: {document}\nPicture: {picture}", highlight=False, soft_wrap=True)
                failures = reports.failures(report)
                for failure in failures:
                    self._console.print(f"[bold red]✗ {failure}[/bold red]")
                if not once:
                    self._say_addresses(programs.url, outcome.campaign_id)
                    await self._stopping.wait()
        return 1 if failures else 0

    async def run(self) -> int:
        """Serve with the members and a campaign that opens in a minute, until asked to stop."""
        self._stopping.obey_signals()
        async with self._stack() as stack:
            settings = await self._prepare(stack)
            async with Programs(settings, stack, self._given.var_dir) as programs:
                rush = Rush(settings, programs, self._plan, self._given.var_dir / "demo", self._steps)
                campaign_id = await self._stopping.unless_stopped(self._offer(rush, programs.url))
                if campaign_id is not None:
                    self._say_addresses(programs.url, campaign_id)
                    await self._stopping.wait()
        return 0

    def _stack(self) -> Stack:
        given = self._given
        return Stack(given.var_dir, redis_url=given.redis_url or None, database_url=given.database_url or None, cell=given.cell)

    async def _prepare(self, stack: Stack) -> Settings:
        secrets = self._given.secrets or {KID: SecretStr(remembered_secret(self._given.var_dir))}
        settings = self._given.model_copy(
            update={
                "redis_url": stack.redis_url,
                "database_url": stack.database_url,
                "secrets": secrets,
                "dev": True,
            }
        )
        versions = await server_versions(settings)
        self._console.print(f"[green]✓[/green] {', '.join(f'{name} {version}' for name, version in versions.items())} running")
        async with self._steps.step("bringing the tables up to date"):
            await asyncio.to_thread(upgrade, stack.migration_url, settings.cell)
        return settings

    async def _offer(self, rush: Rush, url: str) -> str:
        async with httpx.AsyncClient(base_url=url, timeout=30) as client:
            token = (await ask(client, "POST", "/v1/dev/ops-sessions", json={"role": "admin"}))["token"]
            client.headers["Authorization"] = f"Bearer {token}"
            await rush.import_members(client)
            return await rush.publish(client, opens_in_s=SALE_OPENS_IN_S)

    def _say_addresses(self, url: str, campaign_id: str) -> None:
        self._console.print(
            f"\nServing until Ctrl-C:\n"
            f"  {url}/docs                                the calls, to try out\n"
            f"  {url}/v1/campaigns/{campaign_id}          the campaign\n"
            f"  {url}/readyz   {url}/metrics\n\n"
            f"A pass:  curl -s {url}/v1/dev/sessions -H 'Content-Type: application/json' -d '{{\"member_id\": \"…\"}}'\n"
            f"A grab:  curl -si -X POST {url}/v1/campaigns/{campaign_id}/claims -H 'Authorization: Bearer <pass>'",
            highlight=False,
            markup=False,
            soft_wrap=True,  # lines to copy stay whole
        )
