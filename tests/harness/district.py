"""A whole district: servers that can be tampered with, the service, the ledger, members, and crowds that rush in.

Everything runs as it does for a user: real processes, real HTTP, the load testers' own tools.
"""

import asyncio
import contextlib
import io
import json
import os
import secrets
import shutil
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import asyncpg
import httpx
import psutil
from pydantic import SecretStr
from redis.asyncio import Redis
from redis.exceptions import RedisError
from rich.console import Console

from grab_service.cell.rights import Login
from grab_service.demo import report as reports
from grab_service.demo.rush import Rush, RushPlan
from grab_service.embedded.child import Child
from grab_service.embedded.ports import free_port
from grab_service.embedded.postgres import PostgresServer
from grab_service.embedded.programs import Program, Programs, environments_of
from grab_service.embedded.stack import Addresses, Stack
from grab_service.embedded.steps import Steps
from grab_service.embedded.valkey import AppendFsync
from grab_service.settings import Settings
from grab_service.sql.grants import OWNER
from grab_service.vocabulary.durability import Durability
from grab_service.vocabulary.keys import CellKeys
from grab_service.vocabulary.passes import mint
from grab_service.vocabulary.times import rfc3339
from loadtest.generator.requests import Target, build_requests
from loadtest.passes import Member
from reconcile.migrate import upgrade
from tests.harness.crowd import Crowd
from tests.harness.databases import session_in
from tests.harness.long_sale import Sale, write_long_sale
from tests.harness.proxy import Proxy, through
from tests.harness.ready_postgres import move_in
from tests.harness.recipes import DebianPostgres, DebianRedis, Recipe, certificate, running_pgbouncer, running_sentinel
from tests.harness.tmpfs import small_disk
from tests.harness.valkeys import FaultyValkey

SECRET: Final = "a secret of the district's tests"
PATIENCE_S: Final = 60.0
SALE_TIMEOUT_S: Final = 60.0
SOLD_SOME: Final = 600
MEMBERS_BEFORE: Final = 110_000
PASSES_LAST_S: Final = 12 * 3600
HEAD: Final = "member_id,org_id,person_id,name,tags,birthday_month,joined_on,status\n"


@dataclass(frozen=True, slots=True)
class Site:
    """The parts and settings of a district.

    Attributes:
        appendfsync: of Valkey.
        appendonly: whether Valkey has a log at all.
        durability: what service and ledger promise by.
        watched: whether Valkey's syncs are watched, which takes a C compiler.
        proxied: whether service and ledger reach the servers through proxies.
        small_disk_mb: Valkey's data on a disk of its own of this size, which takes root; 0 for none.
        replicated: whether a second Valkey follows the first from the beginning.
        replicas_min: how many replicas the service waits for before it tells of a claim.
        workers: of the service.
        settings: of the service, as variables of its environment.
        ledger_metrics_port: at which the ledger shows its figures; 0: it does not.
        claims: how many are on record when it starts, of campaigns before.
        campaigns: of how many.
        recipe: of docs/OPERATIONS.md, by which the servers are set up.
    """

    appendfsync: AppendFsync = AppendFsync.ALWAYS
    appendonly: bool = True
    durability: Durability = Durability.DISK
    watched: bool = False
    proxied: bool = False
    small_disk_mb: int = 0
    replicated: bool = False
    replicas_min: int = 0
    workers: int = 2
    settings: tuple[tuple[str, str], ...] = ()
    ledger_metrics_port: int = 0
    claims: int = 0
    campaigns: int = 1
    recipe: Recipe | None = None


Disturb = Callable[["District"], Coroutine[Any, Any, None]]
Districts = Callable[[int], Awaitable["District"]]
"""The district with so many workers."""


@dataclass(slots=True)
class District:
    """A district that runs. `valkey` is the one that service and ledger use now, `other_valkey` one they may use next."""

    home: Path
    settings: Settings
    programs: Programs
    postgres: PostgresServer
    valkeys: list[FaultyValkey]
    other_ledger: Program
    redis_ways: dict[str, Proxy]
    postgres_ways: dict[str, Proxy]
    way_of_replica: Proxy | None = None
    members: list[Member] = field(default_factory=list)
    crowd: Crowd | None = None
    figures: dict[str, float] = field(default_factory=dict)
    bouncer: Child | None = None

    # -- its parts ----------------------------------------------------------------------------------------------------------

    @property
    def api(self) -> Program:
        return self.programs.api

    @property
    def ledger(self) -> Program:
        return self.programs.ledger

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
        """Number of 201 that the crowd has received."""
        assert self.crowd is not None
        return self.crowd.wins

    def add(self, figure: str, amount: float) -> None:
        """Add to a figure that the report shows."""
        self.figures[figure] = self.figures.get(figure, 0) + amount

    def worker_pids(self) -> list[int]:
        """The API processes that serve; with one worker, the one there is."""
        return workers_of(self.api.pid) or [self.api.pid]

    def postgres_pids(self) -> list[int]:
        main = psutil.Process(self.postgres.pid)
        return [main.pid, *(child.pid for child in main.children(recursive=True))]

    async def ask_postgres(self, query: str, *values: Any) -> Any:
        """One value, on a connection of its own."""
        async with session_in(self.postgres.url, timeout=5, command_timeout=5) as session:
            return await session.fetchval(query, *values)

    async def use(self, valkey: FaultyValkey) -> None:
        """Let service and ledger reach another Valkey from now on."""
        for way in self.redis_ways.values():
            way.target_port = valkey.port
            way.cut()
        self.valkeys.sort(key=lambda one: one is not valkey)

    def ledger_events(self, since_us: int) -> Iterator[tuple[int, str]]:
        """The ledgers' log lines since then: (Unix microseconds, event)."""
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

    # -- members and ops ----------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def http(self, **headers: str) -> AsyncIterator[httpx.AsyncClient]:
        async with httpx.AsyncClient(base_url=self.programs.url, headers=headers, timeout=30, trust_env=False) as client:
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

    def pass_of(self, member_id: str) -> bytes:
        """A pass that nobody signed in for."""
        return mint(self.settings.pass_keys(), member_id, int(time.time()) + PASSES_LAST_S).encode()

    async def enrol(self, count: int) -> None:
        """Import the members `m-1`, `m-2`, …, by way of ops."""
        rows = "".join(f"m-{number},org-1,,张三,,5,2020-01-31,active\n" for number in range(1, count + 1))
        async with self.ops() as ops:
            answer = await ops.post(
                "/v1/ops/members/import", content=(HEAD + rows).encode(), headers={"Content-Type": "text/csv"}, timeout=120
            )
        assert answer.status_code == 200, answer.text
        self.members = [Member(b"m-%d" % number, self.pass_of(f"m-{number}")) for number in range(1, count + 1)]

    async def open_campaign(self, stock: int, *, later: tuple[int, int] | None = None) -> str:
        """A campaign that is open now; `later` are the opening (Unix milliseconds) and the units of a second release."""
        now_ms = time.time_ns() // 1_000_000
        releases = [(now_ms - 1_000, stock), *([later] if later else [])]
        definition = {
            "title": "月饼",
            "releases": [{"opens_at": rfc3339(opens_at_ms), "quantity": units} for opens_at_ms, units in releases],
            "closes_at": rfc3339(now_ms + 24 * 3_600_000),
            "benefit": {"kind": "generated_code", "name": "月饼一盒"},
        }
        async with self.ops() as ops:
            created = await ops.post("/v1/ops/campaigns", json=definition)
            campaign_id = str(created.json()["campaign_id"])

            async def scheduled() -> bool:
                answer = await ops.post(f"/v1/ops/campaigns/{campaign_id}/schedule", json={"reason": "test"})
                return answer.is_success or answer.json().get("code") == "state-conflict"

            await self.until(scheduled, pause_s=0.3)
        return campaign_id

    def grabs(self, campaign_id: str, numbers: range) -> list[bytes]:
        """The grab of each of these members, as bytes to send."""
        target = Target("127.0.0.1", self.settings.port, f"/v1/campaigns/{campaign_id}/claims")
        return build_requests([self.members[number - 1] for number in numbers], target)

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
        async with self.valkey.client() as redis:
            before = await self._sold(redis)
            async with asyncio.timeout(SALE_TIMEOUT_S):
                while await self._sold(redis) < before + SOLD_SOME:
                    await asyncio.sleep(0.02)

    async def _sold(self, redis: Redis) -> int:
        pattern = self.keys.of_campaign("*").claims
        return sum([await redis.hlen(name) async for name in redis.scan_iter(match=pattern, count=1000)])

    async def until(self, what: Any, patience_s: float = PATIENCE_S, pause_s: float = 0.05) -> Any:
        """Ask again until the answer is true; the answer. Errors of servers that are away count as no answer."""
        said: object = None
        try:
            async with asyncio.timeout(patience_s):
                while True:
                    try:
                        said = await what()
                    except (
                        OSError,
                        httpx.HTTPError,
                        RedisError,
                        asyncpg.PostgresError,
                        asyncpg.InterfaceError,
                        KeyError,
                    ) as error:
                        said = None if isinstance(error, KeyError) else said
                    if said:
                        return said
                    await asyncio.sleep(pause_s)
        except TimeoutError:
            raise TimeoutError(f"not so in {patience_s:.0f} s: {getattr(what, '__name__', what)}") from None


def workers_of(pid: int) -> list[int]:
    """The worker processes of a supervisor; one that ends this very moment is none any more."""
    pids = []
    for child in psutil.Process(pid).children():
        with contextlib.suppress(psutil.Error):
            if "spawn_main" in " ".join(child.cmdline()):
                pids.append(child.pid)
    return pids


class _Servers(Stack):
    """The servers of a district; its programs may reach them through proxies."""

    def __init__(self, var_dir: Path, valkey: FaultyValkey, postgres: PostgresServer | None) -> None:
        super().__init__(var_dir)
        self._redis = valkey
        self._postgres = postgres or self._postgres
        self.redis_ways: dict[str, Proxy] = {}
        self.postgres_ways: dict[str, Proxy] = {}
        self.redis_as_set_up: Callable[[str], str] = str
        self.postgres_as_set_up: Callable[[str], str] = str

    def addresses_of(self, program: Login) -> Addresses:
        """As of any stack, but for the ports."""
        given = super().addresses_of(program)
        if program not in self.redis_ways:
            guard = given.guard_redis_url and self.redis_as_set_up(given.guard_redis_url)
            return Addresses(self.redis_as_set_up(given.redis_url), self.postgres_as_set_up(given.database_url), guard)
        redis, postgres = self.redis_ways[program].port, self.postgres_ways[program].port
        guard = given.guard_redis_url and through(given.guard_redis_url, redis)
        return Addresses(through(given.redis_url, redis), through(given.database_url, postgres), guard)


NOTHING_SPECIAL: Final = Site()


@asynccontextmanager
async def running_district(
    home: Path, site: Site = NOTHING_SPECIAL, *, shim: Path | None = None, members: int = 0
) -> AsyncIterator[District]:
    """Start everything, with so many members, and end it."""
    var_dir = home / "var"
    async with AsyncExitStack() as stack:
        if site.small_disk_mb:
            stack.enter_context(small_disk(var_dir / "valkey", site.small_disk_mb))
        password = secrets.token_urlsafe(16)
        kind = FaultyValkey if site.recipe in {None, Recipe.PGBOUNCER} else DebianRedis
        valkeys = [
            kind(
                place,
                appendfsync=site.appendfsync,
                shim=shim if site.watched else None,
                password=password,
                appendonly=site.appendonly,
            )
            for place in (var_dir / "valkey", home / "valkey-2")
        ]
        postgres = _by_tls(home, valkeys[0]) if site.recipe is Recipe.TLS else None
        if isinstance(valkeys[0], DebianRedis):
            valkeys[0].few_rights = site.recipe is Recipe.FEW_RIGHTS
        if postgres is None:
            await move_in(var_dir / "postgres")
        stack.push_async_callback(valkeys[1].stop)
        servers = await stack.enter_async_context(_Servers(var_dir, valkeys[0], postgres))
        bouncer = await _follow_recipe(site, home, servers, valkeys, password, stack)
        way_of_replica = None
        if site.replicated:
            way_of_replica = await stack.enter_async_context(Proxy(valkeys[0].port))
            await valkeys[1].follow(valkeys[0], way_of_replica.port)
        await asyncio.to_thread(upgrade, servers.migration_url)
        if site.claims:
            await _sell_before(servers, site)
        if site.proxied:
            for login in (Login.API, Login.LEDGER):
                servers.redis_ways[login] = await stack.enter_async_context(Proxy(servers.redis.port))
                servers.postgres_ways[login] = await stack.enter_async_context(Proxy(servers.postgres.port))
        settings = Settings(
            redis_url=servers.redis_url,
            database_url=servers.database_url,
            secrets={"k1": SecretStr(SECRET)},
            ops_secrets={"o1": SecretStr(f"{SECRET} for ops")},
            dev=True,
            durability=site.durability,
            port=free_port(),
            workers=site.workers,
            var_dir=var_dir,
        )
        programs = Programs(settings, servers, var_dir)
        environments = environments_of(settings, servers)
        of_api = {"GRAB_REPLICAS_MIN": str(site.replicas_min), **dict(site.settings)}
        programs.api = Program("api", ("serve",), var_dir, environments[Login.API] | of_api)
        if site.ledger_metrics_port:
            of_ledger = {"GRAB_LEDGER_METRICS_PORT": str(site.ledger_metrics_port)}
            programs.ledger = Program("ledger", ("reconcile",), var_dir, environments[Login.LEDGER] | of_ledger)
        other_ledger = Program("other-ledger", ("reconcile",), var_dir, environments[Login.LEDGER])
        for program in (programs.ledger, other_ledger, programs.api):
            stack.push_async_callback(_end, program)
        await programs.start()
        ways = servers.redis_ways, servers.postgres_ways
        district = District(home, settings, programs, servers.postgres, valkeys, other_ledger, *ways, way_of_replica)
        district.bouncer = bouncer
        if members:
            await district.enrol(members)
        yield district


def _by_tls(home: Path, valkey: FaultyValkey) -> DebianPostgres:
    assert isinstance(valkey, DebianRedis)
    ca, made, key = certificate(home)
    own = home / "redis.key"
    shutil.copy(key, own)
    valkey.tls = free_port(), ca, made, own
    return DebianPostgres(home / "var" / "postgres", ca, made, key)


async def _follow_recipe(
    site: Site, home: Path, servers: _Servers, valkeys: list[FaultyValkey], password: str, stack: AsyncExitStack
) -> Child | None:
    """Lead the programs to the servers as the recipe says; PgBouncer, if that is what stands between."""
    if site.recipe is Recipe.TLS:
        assert isinstance(valkeys[0], DebianRedis)
        assert isinstance(servers.postgres, DebianPostgres)
        servers.redis_as_set_up, servers.postgres_as_set_up = valkeys[0].tls_url, servers.postgres.tls_url
    if site.recipe is Recipe.SENTINEL:
        front = await stack.enter_async_context(running_sentinel(home / "sentinel", valkeys, password))
        servers.redis_as_set_up = partial(through, port=front)
    if site.recipe is Recipe.PGBOUNCER:
        bouncer, port = await stack.enter_async_context(running_pgbouncer(home / "bouncer", servers.postgres))
        servers.postgres_as_set_up = partial(through, port=port)
        return bouncer
    return None


async def _sell_before(servers: Stack, site: Site) -> None:
    """Write what was sold before into Postgres. Redis is empty: the first thing that the ledger does is to rebuild it."""
    each = site.claims // site.campaigns
    before = [Sale(f"before-{number}", each, MEMBERS_BEFORE) for number in range(site.campaigns)]
    before.append(Sale("codes", 10_000, MEMBERS_BEFORE, kind="code_pool"))
    await write_long_sale(servers.postgres.url_as(OWNER), Settings().cell, MEMBERS_BEFORE, before)


async def _end(program: Program) -> None:
    if program.running:
        os.kill(program.pid, signal.SIGCONT)
        await program.stop()


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
