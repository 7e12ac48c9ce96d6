"""How does a test get a whole district: servers, service, ledger, members, and a crowd that rushes in?

Everything runs as it does for a user: real processes, real HTTP, the load testers' own tools.
"""

import asyncio
import contextlib
import io
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import httpx
import psutil
from pydantic import SecretStr
from redis.asyncio import Redis
from rich.console import Console

from grab_service.demo import report as reports
from grab_service.demo.programs import Programs
from grab_service.demo.rush import Rush, RushPlan
from grab_service.demo.steps import Steps
from grab_service.servers.ports import free_port
from grab_service.servers.stack import Stack
from grab_service.settings import Settings
from grab_service.vocabulary.keys import CellKeys
from reconcile.migrate import upgrade
from tests.harness.ready_postgres import move_in

SALE_TIMEOUT_S: Final = 60.0
SOLD_SOME: Final = 600

Disturb = Callable[["District"], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class District:
    """A district that runs."""

    stack: Stack
    settings: Settings
    programs: Programs
    home: Path

    @asynccontextmanager
    async def http(self, **headers: str) -> AsyncIterator[httpx.AsyncClient]:
        async with httpx.AsyncClient(base_url=self.programs.url, headers=headers, timeout=30) as client:
            yield client

    @asynccontextmanager
    async def ops(self, role: str = "admin") -> AsyncIterator[httpx.AsyncClient]:
        async with self.http() as client:
            answer = await client.post("/v1/dev/ops-sessions", json={"role": role})
            client.headers["Authorization"] = f"Bearer {answer.json()['token']}"
            yield client

    async def member(self, client: httpx.AsyncClient, member_id: str) -> dict[str, str]:
        """The headers of a member who signed in."""
        answer = await client.post("/v1/dev/sessions", json={"member_id": member_id})
        assert answer.status_code == 200, answer.text
        return {"Authorization": f"Bearer {answer.json()['pass']}"}

    async def rush(self, plan: RushPlan, disturb: Disturb | None = None) -> dict[str, Any]:
        """A crowd rushes in, somebody disturbs it perhaps; the report."""
        said = io.StringIO()
        rush = Rush(self.settings, self.programs, plan, self.home / "demo", Steps(Console(file=said)))
        disturbing = asyncio.create_task(disturb(self)) if disturb else None
        outcome = await rush.run()
        if disturbing is not None:
            await disturbing
        return reports.build_report(plan, outcome, {}, self.settings.workers)

    async def in_the_midst_of_a_sale(self) -> None:
        """Return when some of a campaign that is published from now on are sold, however long it takes until then."""
        async with Redis.from_url(self.stack.redis.url) as redis:
            before = await self._sold(redis)
            async with asyncio.timeout(SALE_TIMEOUT_S):
                while await self._sold(redis) < before + SOLD_SOME:
                    await asyncio.sleep(0.02)

    async def _sold(self, redis: Redis) -> int:
        pattern = CellKeys.of(self.settings.cell).of_campaign("*").claims
        return sum([await redis.hlen(name) async for name in redis.scan_iter(match=pattern, count=1000)])

    def worker_pids(self) -> list[int]:
        """The API processes that serve; with one worker, the one there is."""
        return workers_of(self.programs.api.pid) or [self.programs.api.pid]


def workers_of(pid: int) -> list[int]:
    """The worker processes of a supervisor; one that ends this very moment is none any more."""
    pids = []
    for child in psutil.Process(pid).children():
        with contextlib.suppress(psutil.Error):
            if "spawn_main" in " ".join(child.cmdline()):
                pids.append(child.pid)
    return pids


@asynccontextmanager
async def running_district(home: Path, *, workers: int = 1) -> AsyncIterator[District]:
    """Start everything, and end it."""
    await move_in(home / "var" / "postgres")
    async with Stack(home / "var") as stack:
        settings = Settings(
            redis_url=stack.redis_url,
            database_url=stack.database_url,
            secrets={"k1": SecretStr("a secret of the acceptance tests")},
            ops_secrets={"o1": SecretStr("another of the acceptance tests")},
            dev=True,
            port=free_port(),
            workers=workers,
            var_dir=home / "var",
        )
        await asyncio.to_thread(upgrade, stack.migration_url)
        async with Programs(settings, stack, home / "var") as programs:
            yield District(stack, settings, programs, home)


def exactly(report: dict[str, Any]) -> None:
    """Nothing about the rush is off, to the last unit and the last member."""
    assert reports.failures(report) == [], report
    refused = sum(report["refused"].values())
    assert report["won"] + refused == report["members"]
    assert report["distinct_winners"] == report["won"]
    assert set(report["refused"]) <= {"sold-out"}
    assert {"I1 NoOversell", "I2 NoUndersell", "I3 NoLostAck", "I4 OneAnswer", "I5 UniqueUnit", "I6 Conserved"} <= set(
        report["invariants"]
    )


def plan_of(members: int, stock: int, **given: Any) -> RushPlan:
    """A small rush."""
    return replace(RushPlan(members=members, stock=stock, orgs=20, lead_s=3.0), **given)


def alive(pid: int) -> bool:
    """Whether a process lives."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
