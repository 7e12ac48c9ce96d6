"""Which district do the faults strike? Servers that can be tampered with, the service with two workers, a ledger, members."""

import asyncio
import io
import json
import os
import secrets
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import asyncpg
import httpx
import psutil
from pydantic import SecretStr

from grab_service.cell.rights import Login
from grab_service.demo.programs import Program, environment_of
from grab_service.people import synthetic
from grab_service.people.members_csv import write_members
from grab_service.servers.ports import free_port
from grab_service.servers.postgres import PostgresServer
from grab_service.servers.stack import Addresses
from grab_service.servers.valkey import AppendFsync
from grab_service.settings import Settings
from grab_service.sql.grants import OWNER
from grab_service.vocabulary.keys import CellKeys
from grab_service.vocabulary.passes import PassKeys, mint
from grab_service.vocabulary.times import rfc3339
from loadtest.passes import Member
from reconcile.migrate import upgrade
from tests.acceptance.district import workers_of
from tests.faults.tools.crowd import Crowd
from tests.faults.tools.proxy import Proxy
from tests.faults.tools.tmpfs import small_disk
from tests.faults.tools.valkeys import FaultyValkey
from tests.harness.ready_postgres import move_in
from tests.integration.long_sale import Sale, write_long_sale

SECRET: Final = "a secret of the fault suite"
READY_TIMEOUT_S: Final = 60.0
PATIENCE_S: Final = 60.0
MEMBERS_BEFORE: Final = 110_000


@dataclass(frozen=True, slots=True)
class Site:
    """What a district is built with.

    Attributes:
        appendfsync: of Valkey.
        watched: whether Valkey's syncs are watched, which takes a C compiler.
        proxied: whether service and ledger reach the servers through proxies.
        small_disk_mb: Valkey's data on a disk of its own of this size, which takes root; 0 for none.
        replicated: whether a second Valkey follows the first from the beginning.
        replicas_min: how many replicas the service waits for before it tells of a claim.
        settings: of the service, as variables of its environment.
        claims: how many are on record when it starts, of campaigns before.
        campaigns: of how many.
    """

    appendfsync: AppendFsync = AppendFsync.ALWAYS
    watched: bool = False
    proxied: bool = False
    small_disk_mb: int = 0
    replicated: bool = False
    replicas_min: int = 0
    settings: tuple[tuple[str, str], ...] = ()
    claims: int = 0
    campaigns: int = 1


@dataclass(slots=True)
class District:
    """A district that runs. `valkey` is the one that service and ledger use now, `other_valkey` one they may use next."""

    home: Path
    settings: Settings
    postgres: PostgresServer
    valkeys: list[FaultyValkey]
    api: Program
    ledger: Program
    other_ledger: Program
    members: list[Member]
    redis_ways: dict[str, Proxy] = field(default_factory=dict)
    postgres_ways: dict[str, Proxy] = field(default_factory=dict)
    way_of_replica: Proxy | None = None
    crowd: Crowd | None = None
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def valkey(self) -> FaultyValkey:
        return self.valkeys[0]

    @property
    def other_valkey(self) -> FaultyValkey:
        return self.valkeys[1]

    @property
    def replica_way(self) -> Proxy:
        """The way by which the replica follows."""
        assert self.way_of_replica is not None, "this fault needs a replica"
        return self.way_of_replica

    @property
    def keys(self) -> CellKeys:
        return CellKeys.of(self.settings.cell)

    @property
    def wins(self) -> int:
        """How many 201 the crowd has heard."""
        assert self.crowd is not None
        return self.crowd.wins

    def add(self, figure: str, amount: float) -> None:
        """Add to a figure that the report shows."""
        self.figures[figure] = self.figures.get(figure, 0) + amount

    def worker_pids(self) -> list[int]:
        """The API processes that serve."""
        return workers_of(self.api.pid)

    def postgres_pids(self) -> list[int]:
        main = psutil.Process(self.postgres.pid)
        return [main.pid, *(child.pid for child in main.children(recursive=True))]

    async def ask_postgres(self, query: str, *values: Any) -> Any:
        """One value, on a connection of its own."""
        session = await asyncpg.connect(self.postgres.url, timeout=5, command_timeout=5)
        try:
            return await session.fetchval(query, *values)
        finally:
            await session.close()

    async def use(self, valkey: FaultyValkey) -> None:
        """Let service and ledger reach another Valkey from now on."""
        for way in self.redis_ways.values():
            way.target_port = valkey.port
            way.cut()
        self.valkeys.sort(key=lambda one: one is not valkey)

    def ledger_events(self, since_us: int) -> Iterator[tuple[int, str]]:
        """What the ledgers said since then: (Unix microseconds, event)."""
        found = []
        for path in (self.home / "var" / "logs").glob("*ledger.log"):
            for line in path.read_text(encoding="utf-8").splitlines()[-400:]:
                try:
                    entry = json.loads(line)
                    at_us = int(datetime.fromisoformat(entry["timestamp"]).timestamp() * 1e6)
                except (ValueError, KeyError):
                    continue
                if at_us >= since_us:
                    found.append((at_us, str(entry["event"])))
        return iter(sorted(found))

    @asynccontextmanager
    async def ops(self) -> AsyncIterator[httpx.AsyncClient]:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.settings.port}", timeout=30) as client:
            answer = await client.post("/v1/dev/ops-sessions", json={"role": "admin"})
            client.headers["Authorization"] = f"Bearer {answer.json()['token']}"
            yield client

    async def until(self, what: Any, patience_s: float = PATIENCE_S, pause_s: float = 0.05) -> Any:
        """Ask again until the answer is true; the answer. Errors of servers that are away count as no answer."""
        said: object = None
        try:
            async with asyncio.timeout(patience_s):
                while True:
                    try:
                        said = await what()
                    except (OSError, httpx.HTTPError, asyncpg.PostgresError, asyncpg.InterfaceError, KeyError) as error:
                        said = None if isinstance(error, KeyError) else said
                    if said:
                        return said
                    await asyncio.sleep(pause_s)
        except TimeoutError:
            raise TimeoutError(f"not so in {patience_s:.0f} s: {getattr(what, '__name__', what)}") from None

    async def open_campaign(self, stock: int) -> str:
        """A campaign that is open now."""
        async with self.ops() as ops:
            now_ms = time.time_ns() // 1_000_000
            created = await ops.post(
                "/v1/ops/campaigns",
                json={
                    "title": "月饼",
                    "releases": [{"opens_at": rfc3339(now_ms + 500), "quantity": stock}],
                    "closes_at": rfc3339(now_ms + 24 * 3_600_000),
                    "benefit": {"kind": "generated_code", "name": "月饼一盒"},
                },
            )
            campaign_id = str(created.json()["campaign_id"])

            async def scheduled() -> bool:
                answer = await ops.post(f"/v1/ops/campaigns/{campaign_id}/schedule", json={"reason": "faults"})
                return answer.is_success or answer.json().get("code") == "state-conflict"

            await self.until(scheduled, pause_s=0.3)
        await asyncio.sleep(0.6)
        return campaign_id

    async def restore(self) -> None:
        """Start whatever does not run, end what should not."""
        for server in (self.postgres, self.valkey):
            if not server.running:
                await server.start()
        for program in (self.ledger, self.api):
            if not program.running:
                await program.start()
        if self.other_ledger.running:
            await self.other_ledger.kill()


def through(url: str, port: int) -> str:
    """The same address, by way of another port of this machine."""
    head, _, rest = url.rpartition("@")
    _, _, path = rest.partition("/")
    return f"{head}@127.0.0.1:{port}/{path}"


@asynccontextmanager
async def running_district(home: Path, site: Site, shim: Path | None, members: int) -> AsyncIterator[District]:
    """Start everything, and end it."""
    async with AsyncExitStack() as stack:
        disk = home / "valkey"
        if site.small_disk_mb:
            stack.enter_context(small_disk(disk, site.small_disk_mb))
        password = secrets.token_urlsafe(16)
        valkeys = [
            FaultyValkey(place, appendfsync=site.appendfsync, shim=shim if site.watched else None, password=password)
            for place in (disk, home / "valkey-2")
        ]
        await move_in(home / "postgres")
        postgres = PostgresServer(home / "postgres")
        for server in (postgres, *valkeys):
            stack.push_async_callback(server.stop)
        await postgres.start()
        await valkeys[0].start()
        way_of_replica = None
        if site.replicated:
            way_of_replica = await stack.enter_async_context(Proxy(valkeys[0].port))
            await valkeys[1].follow(valkeys[0], way_of_replica.port)
        await asyncio.to_thread(upgrade, postgres.url_as(OWNER))
        if site.claims:
            # Redis is empty: the first thing that the ledger does is to rebuild it.
            each = site.claims // site.campaigns
            before = [Sale(f"before-{number}", each, MEMBERS_BEFORE) for number in range(site.campaigns)]
            before.append(Sale("codes", 10_000, MEMBERS_BEFORE, kind="code_pool"))
            await write_long_sale(postgres.url_as(OWNER), Settings().cell, MEMBERS_BEFORE, before)
        settings = Settings(
            redis_url=valkeys[0].url,
            database_url=postgres.url,
            secrets={"k1": SecretStr(SECRET)},
            ops_secrets={"o1": SecretStr(f"{SECRET} for ops")},
            dev=True,
            port=free_port(),
            workers=2,
            var_dir=home / "var",
        )
        redis_ways, postgres_ways = {}, {}
        envs = {
            program.value: environment_of(
                settings,
                Addresses(
                    valkeys[0].url_of(program),
                    postgres.url_as(program.value),
                    valkeys[0].url_of(Login.GUARD) if program is Login.LEDGER else "",
                ),
            )
            for program in (Login.API, Login.LEDGER)
        }
        envs["api"] |= {"GRAB_REPLICAS_MIN": str(site.replicas_min), **dict(site.settings)}
        if site.proxied:
            for name, env in envs.items():
                redis_ways[name] = await stack.enter_async_context(Proxy(valkeys[0].port))
                postgres_ways[name] = await stack.enter_async_context(Proxy(postgres.port))
                for address in ("REDIS_URL", "GRAB_GUARD_REDIS_URL"):
                    env[address] = env[address] and through(env[address], redis_ways[name].port)
                env["DATABASE_URL"] = through(env["DATABASE_URL"], postgres_ways[name].port)
        run = ("reconcile",)
        district = District(
            home,
            settings,
            postgres,
            valkeys,
            api=Program("api", ("serve",), home / "var", envs["api"]),
            ledger=Program("ledger", run, home / "var", envs["ledger"]),
            other_ledger=Program("other-ledger", run, home / "var", envs["ledger"]),
            members=[],
            redis_ways=redis_ways,
            postgres_ways=postgres_ways,
            way_of_replica=way_of_replica,
        )
        for program in (district.ledger, district.other_ledger, district.api):
            stack.push_async_callback(_end, program)
        await district.ledger.start()
        await district.api.start()
        await district.until(lambda: _is_ready(settings.port), READY_TIMEOUT_S)
        district.members = await _enrol(district, members)
        yield district


async def _end(program: Program) -> None:
    if program.running:
        os.kill(program.pid, signal.SIGCONT)
        await program.stop()


async def _is_ready(port: int) -> bool:
    async with httpx.AsyncClient(timeout=5) as client:
        return (await client.get(f"http://127.0.0.1:{port}/readyz?exclude=aof_policy")).status_code == 200


async def _enrol(district: District, count: int) -> list[Member]:
    people = list(synthetic.generate(20200920, count, 20))
    csv = io.StringIO(newline="")
    write_members(csv, people)
    async with district.ops() as ops:
        answer = await ops.post(
            "/v1/ops/members/import", content=csv.getvalue().encode(), headers={"Content-Type": "text/csv"}, timeout=120
        )
        assert answer.json()["imported"] == count, answer.text
    keys = PassKeys.build(district.settings.cell, [("k1", SECRET.encode())])
    expires_at_s = int(time.time()) + 12 * 3600
    return [Member(one.member_id.encode(), mint(keys, one.member_id, expires_at_s).encode()) for one in people]
