"""The programs of the compose file work with the settings it gives them.

Its commands, environments, secrets and health checks are run without containers; only addresses, ports and folders are others'.
What a container forbids is in tests/unit/test_deployment.py.
"""

import asyncio
import os
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import pytest
import yaml  # type: ignore[import-untyped]  # has no types

from grab_service.embedded.binaries import find_valkey
from grab_service.embedded.ports import free_port
from grab_service.embedded.postgres import PostgresServer
from grab_service.server.probes import KEPT_S
from tests.harness.databases import empty_database
from tests.harness.embedded import foreign_valkey
from tests.harness.warm_commands import CHECKOUT
from tests.integration.front_door import Door, front_door, needs_nginx

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SERVICES: Final[dict[str, dict[str, Any]]] = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text(encoding="utf-8"))[
    "services"
]
LOOPBACK: Final = "127.0.0.1"
ADDRESSES: Final = {"api-a": "127.0.0.2", "api-b": "127.0.0.3"}
"""Each API service has an address of its own, as containers have; the ports are the same."""

STRANGERS: Final = 40
CLIENTS: Final = 8


class Machine:
    """One on which the file's programs run: each of its addresses, ports and folders has a counterpart here."""

    def __init__(self, home: Path, cell: str, database_url: str) -> None:
        self.home, self.cell = home, cell
        self.redis_port = free_port()
        self.port, self.probes_port, self.ledger_port = free_port(), free_port(), free_port()
        at = urlsplit(database_url)
        self._here = {
            "/run/secrets": f"{home}/secrets",
            "8001": str(self.probes_port),
            "9101": str(self.ledger_port),
            "@valkey:6379": f"@127.0.0.1:{self.redis_port}",
            "@postgres:5432/grab": f"@{at.hostname}:{at.port}{at.path}",
            "${GRAB_CELL:-district}": cell,
        }
        (home / "work").mkdir()

    def here(self, text: str, name: str = "") -> str:
        """A word of the file, as it is on this machine for that service; a variable nobody has set has its default."""
        for theirs in ("0.0.0.0", "127.0.0.1"):
            text = text.replace(theirs, ADDRESSES.get(name, LOOPBACK))
        text = text.replace("/figures", f"{self.home}/figures-{name}")
        for theirs, ours in self._here.items():
            text = text.replace(theirs, ours)
        return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)

    def environment(self, name: str) -> dict[str, str]:
        """The environment of that service's programs."""
        given = {variable: self.here(value, name) for variable, value in SERVICES[name].get("environment", {}).items()}
        (self.home / f"figures-{name}").mkdir(exist_ok=True)
        return {"PATH": os.environ["PATH"], "PYTHONPATH": str(CHECKOUT), "GRAB_PORT": str(self.port), **given}

    async def start(self, name: str, words: list[str]) -> asyncio.subprocess.Process:
        """Start a program in that service's environment, in a folder in which nothing may be written."""
        argv = [sys.executable if word == "python" else self.here(word, name) for word in words]
        return await asyncio.create_subprocess_exec(
            *argv, cwd=self.home / "work", env=self.environment(name), stdout=sys.stderr, stderr=sys.stderr
        )

    async def to_its_end(self, name: str) -> int:
        """Run that service's command, which ends by itself."""
        return await (await self.start(name, SERVICES[name]["command"])).wait()

    async def healthy(self, name: str) -> None:
        """Wait as the engine would until its health check passes."""
        check = SERVICES[name]["healthcheck"]
        async with asyncio.timeout(check["retries"] * int(check["interval"].removesuffix("s"))):
            while await (await self.start(name, check["test"][1:])).wait() != 0:
                await asyncio.sleep(0.2)

    @asynccontextmanager
    async def up(self, name: str) -> AsyncIterator[None]:
        """That service, healthy; at its end it leaves within its grace."""
        process = await self.start(name, SERVICES[name]["command"])
        try:
            await self.healthy(name)
            yield
            process.terminate()
            async with asyncio.timeout(int(SERVICES[name]["stop_grace_period"].removesuffix("s"))):
                assert await process.wait() == 0, name
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()

    async def make_secrets(self) -> None:
        """The script's files; addresses in them lead to the servers of this machine."""
        folder = self.home / "secrets"
        env = {"PATH": os.environ["PATH"], "GRAB_CELL": self.cell}
        words = ("sh", f"{CHECKOUT}/deploy/make_secrets.sh", str(folder))
        assert await (await asyncio.create_subprocess_exec(*words, env=env, stdout=sys.stderr)).wait() == 0
        for path in folder.iterdir():
            path.chmod(0o600)
            path.write_text(self.here(path.read_text()))

    async def refused(self) -> int:
        """Number of refused connections, as a scraper reads it on a connection of its own."""
        async with httpx.AsyncClient(trust_env=False) as scraper:
            figures = (await scraper.get(f"http://{ADDRESSES['api-a']}:{self.probes_port}/metrics")).text
        return sum(
            int(float(count)) for count in re.findall(r"^grab_sign_ins_refused_total\{.*\} (\S+)$", figures, re.MULTILINE)
        )

    @asynccontextmanager
    async def valkey(self) -> AsyncIterator[None]:
        """Valkey by the file's script and words, with a stand-in for the image's entry point that only starts the program."""
        bin_dir, data = self.home / "bin", self.home / "data"
        bin_dir.mkdir()
        data.mkdir()
        (bin_dir / "docker-entrypoint.sh").write_text('#!/bin/sh\nexec "$@"\n')
        (bin_dir / "docker-entrypoint.sh").chmod(0o755)
        (bin_dir / "valkey-server").symlink_to(find_valkey().path)
        env = self.environment("valkey")
        env |= {"PATH": f"{bin_dir}:{env['PATH']}", "USERS_FILE": f"{data}/users.acl"}
        words = ["sh", f"{CHECKOUT}/deploy/valkey.sh", *SERVICES["valkey"]["command"], "--port", str(self.redis_port)]
        url = (self.home / "secrets/admin_redis_url").read_text().strip()
        async with foreign_valkey(*words, "--dir", str(data), url=url, **env):
            yield


@pytest.fixture
async def machine(postgres_server: PostgresServer, cell_name: str, tmp_path: Path) -> AsyncIterator[Machine]:
    """With an empty database and its superuser's address among the secrets."""
    async with empty_database(postgres_server, roles_of=cell_name) as url:
        (tmp_path / "secrets").mkdir()
        (tmp_path / "secrets/admin_database_url").write_text(url)
        machine = Machine(tmp_path, cell_name, url)
        await machine.make_secrets()
        yield machine


async def test_the_files_of_secrets_open_every_door_and_the_figures_of_all_workers_are_shown(machine: Machine) -> None:
    async with machine.valkey():
        assert await machine.to_its_end("provision") == 0
        assert await machine.to_its_end("migrate") == 0
        async with machine.up("reconcile"), machine.up("api-a"), httpx.AsyncClient(trust_env=False) as client:
            ledger = await client.get(f"http://127.0.0.1:{machine.ledger_port}/metrics")
            assert "ledger_armed" in ledger.text
            for _ in range(STRANGERS):  # on a connection each, so that both workers meet some
                async with httpx.AsyncClient(trust_env=False) as stranger:
                    asked = await stranger.get(
                        f"http://{ADDRESSES['api-a']}:{machine.port}/v1/me/claims", headers={"Authorization": "Bearer x"}
                    )
                    assert asked.status_code == 401
            async with asyncio.timeout(10):  # each worker counts them once a second
                while await machine.refused() < STRANGERS:
                    await asyncio.sleep(0.2)
            await asyncio.sleep(KEPT_S)  # what the other worker has said before is forgotten
            # Each worker speaks for both.
            assert {await machine.refused() for _ in range(10)} == {STRANGERS}
    assert list((machine.home / "work").iterdir()) == [], "in the image nothing can be written there"


@needs_nginx
async def test_while_one_service_after_the_other_is_replaced_nobody_behind_the_proxy_notices(machine: Machine) -> None:
    statuses: Counter[tuple[str, int]] = Counter()
    over = asyncio.Event()

    async def ask(door: Door) -> None:
        """One member who keeps the connection; grabs without a pass, for what matters is that the service has answered."""
        async with httpx.AsyncClient(trust_env=False, base_url=door.public, timeout=20) as client:
            while not over.is_set():
                for method, path in (("GET", "/v1/time"), ("POST", "/v1/campaigns/x/claims")):
                    statuses[method, (await client.request(method, path)).status_code] += 1
                await asyncio.sleep(0.01)

    async with machine.valkey(), AsyncExitStack() as stack:
        assert await machine.to_its_end("provision") == 0
        assert await machine.to_its_end("migrate") == 0
        await stack.enter_async_context(machine.up("reconcile"))
        services = {name: await stack.enter_async_context(AsyncExitStack()) for name in ADDRESSES}
        for name, service in services.items():
            await service.enter_async_context(machine.up(name))
        (machine.home / "proxy").mkdir()
        at = {name.removeprefix("api-"): address for name, address in ADDRESSES.items()}
        door = await stack.enter_async_context(front_door(machine.home / "proxy", at, machine.port))
        async with asyncio.TaskGroup() as clients:
            for _ in range(CLIENTS):
                clients.create_task(ask(door))
            for name, service in services.items():
                before = statuses.total()
                await service.aclose()
                await service.enter_async_context(machine.up(name))
                assert statuses.total() > before + 100, name
            over.set()
    assert statuses.keys() == {("GET", 200), ("POST", 401)}, statuses
