"""`grab run` serves with its data, restarts its children, and lets others work beside it.

As a user starts it: a process of its own, in a directory of its own. Its environment names proxies that do not exist.
"""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from grab_service.embedded.ports import free_port
from grab_service.embedded.steps import client_of
from tests.harness.command_line import environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

PATIENCE_S = 90.0
NOWHERE = {"http_proxy": "http://127.0.0.1:9", "ALL_PROXY": "socks5://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"}
GRAB = (sys.executable, "-m", "grab_service.cli.main")
ENVIRONMENT = environment() | NOWHERE


@dataclass(frozen=True, slots=True)
class Running:
    """A run: its directory, its process, and how to ask it."""

    home: Path
    process: asyncio.subprocess.Process
    client: httpx.AsyncClient

    @property
    def said(self) -> str:
        return (self.home / "said").read_text(encoding="utf-8")

    async def until_it_says(self, pattern: str) -> str:
        async with asyncio.timeout(PATIENCE_S):
            while (found := re.search(pattern, self.said)) is None:
                assert self.process.returncode is None, self.said
                await asyncio.sleep(0.05)
        return found[0]

    async def campaigns(self) -> list[str]:
        return [one["campaign_id"] for one in (await self.client.get("/v1/campaigns")).json()["items"]]

    def kill(self, place: str) -> int:
        pid = self.pid_of(place)
        assert pid > 0
        os.kill(pid, signal.SIGKILL)
        return pid

    def pid_of(self, place: str) -> int:
        """0 while nobody is there."""
        try:
            return int((self.home / "var" / place).read_text().split()[0])
        except FileNotFoundError:
            return 0


@asynccontextmanager
async def running(home: Path, port: int, **settings: str) -> AsyncIterator[Running]:
    with (home / "said").open("wb") as said:
        process = await asyncio.create_subprocess_exec(
            *(*GRAB, "run", "--members", "3000", "--orgs", "5", "--stock", "5"),
            cwd=home,
            env=ENVIRONMENT | {"GRAB_PORT": str(port), **settings},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
        )
    try:
        async with client_of(f"http://127.0.0.1:{port}", timeout_s=10) as client:
            yield Running(home, process, client)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
            await asyncio.wait_for(process.wait(), PATIENCE_S)


async def ready(run: Running) -> set[str]:
    """Wait for the first 200 of `/readyz`; the checks that failed before."""
    failed: set[str] = set()
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                answer = await run.client.get("/readyz")
            except httpx.TransportError:
                await asyncio.sleep(0.02)
                continue
            if answer.status_code == 200:
                return failed
            failed |= {name for name, check in answer.json()["checks"].items() if check["state"] == "failed"}
            await asyncio.sleep(0.02)


def in_a_shell(lines: list[str]) -> str:
    return subprocess.run(["sh", "-c", "\n".join(lines)], env=ENVIRONMENT, capture_output=True, text=True, check=True).stdout


async def test_a_run_is_ready_with_its_data_and_others_work_beside_it(tmp_path: Path) -> None:
    port, other_port = free_port(), free_port()
    async with running(tmp_path, port) as run:
        assert "data" in await ready(run)
        (campaign_id,) = await run.campaigns()
        await run.until_it_says(r"Logs: .*var/logs/api\.log")
        assert all((tmp_path / log).exists() for log in re.findall(r"var/\S+\.log", run.said))

        # The lines of the banner, in a shell: it names the member, the campaign, and goes past the proxy.
        lines = [line for line in run.said.splitlines() if line.startswith("  PASS=") or "/claims" in line]
        assert "m-0" in lines[0]
        told = await asyncio.to_thread(in_a_shell, lines)
        assert "409 Conflict" in told
        assert "not-open-yet" in told

        # Another service and another ledger find the servers, and one may be asked what the other was told.
        serve, reconcile = [
            await asyncio.create_subprocess_exec(*GRAB, *words, cwd=tmp_path, env=ENVIRONMENT, stderr=subprocess.PIPE)
            for words in (("serve", "--port", str(other_port)), ("reconcile",))
        ]
        try:
            async with client_of(f"http://127.0.0.1:{other_port}", timeout_s=5) as other, asyncio.timeout(PATIENCE_S):
                while True:
                    try:
                        answer = await other.get("/v1/campaigns")
                    except httpx.TransportError:
                        assert serve.returncode is None
                        await asyncio.sleep(0.1)
                        continue
                    if answer.status_code == 200:
                        break
                    await asyncio.sleep(0.1)
            assert [one["campaign_id"] for one in answer.json()["items"]] == [campaign_id]
            assert reconcile.returncode is None
        finally:
            for process in (serve, reconcile):
                process.kill()
                await process.communicate()

        # A child that dies.
        for place, name in (("run/api/pid", "api"), ("run/ledger/pid", "ledger")):
            run.kill(place)
            await run.until_it_says(rf"{name} was killed by SIGKILL; its log is \S+/var/logs/{name}\.log\. It is started again")
        await ready(run)
    assert run.process.returncode == 0

    async with running(tmp_path, port, GRAB_VAR_DIR=str(tmp_path / "var")) as again:
        await again.until_it_says("Logs: ")
        assert await again.campaigns() == [campaign_id]
        for _ in range(3):
            pid = again.kill("valkey/server.pid")
            async with asyncio.timeout(PATIENCE_S):
                while again.process.returncode is None and again.pid_of("valkey/server.pid") in {0, pid}:
                    await asyncio.sleep(0.02)
        assert await asyncio.wait_for(again.process.wait(), PATIENCE_S) == 1
        assert "Valkey was killed by SIGKILL, and was started again 2 times" in again.said
