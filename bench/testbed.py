"""The testbed of all measurements: its servers, service, ledger, members and campaigns.

Everything is what a district would run: embedded servers, the service and the ledger as processes of their own, members and
campaigns by way of the ops API.
"""

import asyncio
import contextlib
import io
import os
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import psutil
from pydantic import SecretStr
from redis.asyncio import Redis
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from grab_service.embedded.ports import free_port
from grab_service.embedded.programs import Programs
from grab_service.embedded.stack import Stack
from grab_service.embedded.steps import client_of
from grab_service.embedded.valkey import AppendFsync
from grab_service.files import synthetic
from grab_service.files.members_csv import write_members
from grab_service.settings import Settings
from grab_service.sql.engine import connect
from grab_service.sql.tables import log_cursor
from grab_service.vocabulary.keys import CellKeys
from grab_service.vocabulary.passes import PassKeys, mint
from grab_service.vocabulary.times import rfc3339
from loadtest.passes import Member
from reconcile.migrate import upgrade

KID: Final = "bench"
SECRET: Final = "a-measurement-keeps-no-secrets"  # noqa: S105 -- as it says
VALID_DAYS: Final = 30
PASSES_LAST_S: Final = 6 * 3600
WINDOW_MS: Final = 24 * 3600 * 1000
OPENS_IN_MS: Final = 300
KNOWN_AFTER_S: Final = 0.5
IMPORT_AT_ONCE: Final = 50_000
IMPORT_TIMEOUT_S: Final = 300.0
REWRITE_TIMEOUT_S: Final = 60.0
DRAIN_TIMEOUT_S: Final = 120.0
CALLS_AT_ONCE: Final = 16
"""A service takes no more than half of its places from one actor of ops."""


class TestbedError(Exception):
    """The testbed cannot be made ready; the message says which call failed and how."""


@dataclass(frozen=True, slots=True)
class Testbed:
    """Servers, a service and a ledger that run, with an ops session and an admin's connection to Redis."""

    stack: Stack
    settings: Settings
    programs: Programs
    ops: httpx.AsyncClient
    redis: Redis
    engine: AsyncEngine
    at_once: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CALLS_AT_ONCE))

    async def ask(self, method: str, path: str, **request: Any) -> Any:
        """One call as ops that has to succeed; the JSON of its answer."""
        async with self.at_once:
            answer = await self.ops.request(method, path, **request)
        if not answer.is_success:
            raise TestbedError(f"{method} {path} answered {answer.status_code}: {answer.text[:500]}")
        return answer.json()

    async def enrol(self, number: int, *, seed: int = 1) -> list[Member]:
        """So many members with their passes; the same again for the same seed."""
        keys = PassKeys.build(self.settings.cell, [(KID, SECRET.encode())])
        expires_at_s = int(time.time()) + PASSES_LAST_S
        people = list(synthetic.generate(seed, number, max(1, min(588, number // 100))))
        for at in range(0, number, IMPORT_AT_ONCE):
            file = io.StringIO(newline="")
            write_members(file, people[at : at + IMPORT_AT_ONCE])
            await self.ask(
                "POST",
                "/v1/ops/members/import",
                content=file.getvalue().encode(),
                headers={"Content-Type": "text/csv"},
                timeout=IMPORT_TIMEOUT_S,
            )
        return [Member(one.member_id.encode(), mint(keys, one.member_id, expires_at_s).encode()) for one in people]

    async def campaign(self, stock: int, **fields: Any) -> str:
        """A campaign with so many units, open for a day; returns its id when it is open and every worker knows it."""
        now_ms = (await self.ask("GET", "/v1/time"))["now_ms"]
        definition: dict[str, Any] = {
            "title": "中秋月饼",
            "releases": [{"opens_at": rfc3339(now_ms + OPENS_IN_MS), "quantity": stock}],
            "closes_at": rfc3339(now_ms + WINDOW_MS),
            "benefit": {"kind": "generated_code", "name": "月饼一盒", "valid_days": VALID_DAYS},
            **fields,
        }
        campaign_id: str = (await self.ask("POST", "/v1/ops/campaigns", json=definition))["campaign_id"]
        await self.ask("POST", f"/v1/ops/campaigns/{campaign_id}/schedule", json={"reason": "bench"})
        await asyncio.sleep(OPENS_IN_MS / 1000 + KNOWN_AFTER_S)
        return campaign_id

    async def persist(self, appendfsync: AppendFsync | None) -> None:
        """Set Redis' log of writes from now on; None: no log."""
        if appendfsync is None:
            await self.redis.config_set("appendonly", "no")
            return
        await self.redis.config_set("appendfsync", appendfsync.value)
        await self.redis.config_set("appendonly", "yes")
        give_up_s = time.monotonic() + REWRITE_TIMEOUT_S
        while (await self.redis.info("persistence"))["aof_rewrite_in_progress"]:
            if time.monotonic() > give_up_s:
                raise TestbedError("Redis is still writing its log anew")
            await asyncio.sleep(0.05)

    def service_pids(self) -> list[int]:
        """The processes that serve; with one worker, the one there is."""
        parent = psutil.Process(self.programs.api.pid)
        return [one.pid for one in parent.children() if "spawn_main" in " ".join(one.cmdline())] or [parent.pid]

    def redis_pid(self) -> int:
        """The embedded Valkey's process."""
        return self.stack.redis.pid

    async def claims(self, campaign_id: str) -> int:
        """The claims of a campaign that Redis holds."""
        return int(await self.redis.hlen(CellKeys.of(self.settings.cell).of_campaign(campaign_id).claims))

    async def drained(self) -> None:
        """Wait until the ledger has everything, so that it does not compete with what is measured next.

        Raises:
            TestbedError: it was not in time.
        """
        keys = CellKeys.of(self.settings.cell)
        query = select(log_cursor.c.last_seq).where(log_cursor.c.cell == self.settings.cell)
        give_up_s = time.monotonic() + DRAIN_TIMEOUT_S
        while True:
            seq = int(await self.redis.hget(keys.cell, "seq") or 0)
            async with self.engine.connect() as connection:
                drained = (await connection.execute(query)).scalar_one()
            if drained >= seq:
                return
            if time.monotonic() > give_up_s:
                raise TestbedError(f"the ledger is at {drained} of {seq}")
            await asyncio.sleep(0.05)


@asynccontextmanager
async def running_testbed(home: Path, *, workers: int = 1, env: Mapping[str, str] | None = None) -> AsyncIterator[Testbed]:
    """Start everything in `home` (a new directory), and end it; `env` are further settings of service and ledger."""
    async with Stack(home / "var") as stack:
        chosen = Settings(
            redis_url=stack.redis_url,
            database_url=stack.database_url,
            secrets={KID: SecretStr(SECRET)},
            dev=True,
            port=free_port(),
            workers=workers,
            var_dir=home / "var",
        )
        await asyncio.to_thread(upgrade, stack.migration_url)
        engine = connect(stack.database_url, connections_max=2)
        programs = Programs(chosen, stack, home / "var")
        try:
            with _in_environment(env or {}):
                await programs.start()
            async with (
                client_of(programs.url, timeout_s=30) as ops,
                Redis.from_url(stack.redis_url) as redis,
            ):
                answer = await ops.post("/v1/dev/ops-sessions", json={"role": "admin"})
                ops.headers["Authorization"] = f"Bearer {answer.json()['token']}"
                yield Testbed(stack, chosen, programs, ops, redis, engine)
        finally:
            await programs.stop()
            await engine.dispose()


@asynccontextmanager
async def passing_testbed(*, workers: int = 1) -> AsyncIterator[Testbed]:
    """One in a directory that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="grab-bench-", ignore_cleanup_errors=True) as home:
        async with running_testbed(Path(home), workers=workers) as testbed:
            yield testbed


@contextlib.contextmanager
def _in_environment(env: Mapping[str, str]) -> Iterator[None]:
    """For the processes that are started meanwhile."""
    before = {name: os.environ.get(name) for name in env}
    os.environ.update(env)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def pin(pids: Iterable[int], cpus: list[int]) -> None:
    """Keep processes, and their threads, on these processors; those that have ended meanwhile are on none."""
    for pid in pids:
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            for thread in psutil.Process(pid).threads():
                os.sched_setaffinity(thread.id, cpus)
