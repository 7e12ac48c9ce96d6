"""A cell, its database, and members who win, for tests of the ledger and of the service.

Everything is real: Redis, Postgres, the rules, the ledger's own parts. A test may run the whole ledger, or one part of it.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

from redis.asyncio import Redis
from sqlalchemy import Row, insert, select, text
from sqlalchemy.dialects.postgresql import insert as upsert

from grab_service.cell.connect import connect as connect_redis
from grab_service.cell.nodes import Nodes
from grab_service.cell.rights import Login
from grab_service.cell.scripts import ScriptSources, new_nonce, sha_of
from grab_service.cell.store import Cell, CellError
from grab_service.publishing.publish import publish_campaign, publish_members
from grab_service.settings import Settings
from grab_service.signing import SigningKeys
from grab_service.sql.engine import connect as connect_sql
from grab_service.sql.tables import alarms, campaigns, claims, log_cursor, orgs, pool_codes
from grab_service.vocabulary.claims import ClaimRecord
from grab_service.vocabulary.events import Granted
from grab_service.vocabulary.keys import CellKeys
from reconcile.alarms import AlarmKind
from reconcile.counters import Counters
from reconcile.drain.cursor import read_cursor
from reconcile.drain.drain import Drain
from reconcile.epochs import begin_first, opening_commands
from reconcile.fence import Fence
from reconcile.process import Ledger, build, end, run
from reconcile.redis_link import RedisLink
from tests.harness.cells import HOUR_MS, now_ms
from tests.harness.databases import session_in
from tests.harness.logins import as_role, redis_logins

PATIENCE_S: Final = 15.0


async def until(what: Any, patience_s: float = PATIENCE_S) -> Any:
    """Ask again until the answer is true; the answer."""
    async with asyncio.timeout(patience_s):
        while True:
            answer = await what()
            if answer:
                return answer
            await asyncio.sleep(0.01)


class Backend:
    """A cell, its database, its members and campaigns. `pauses` collects the campaigns that a drain built here paused.

    `redis` and `engine` are the admin's, for scenes; `service` is the API's, on which `cell` stands.
    """

    def __init__(self, urls: Mapping[Login, str], admin_url: str, redis: Redis, service: Redis, settings: Settings) -> None:
        self._urls = urls
        self.settings = settings
        self.redis = redis
        self.service = service
        self.keys = CellKeys.of(settings.cell)
        self.admin_url = admin_url
        self.engine = connect_sql(admin_url, connections_max=8)
        self.ledger_engine = connect_sql(settings.database_url, connections_max=4)
        self.cell = Cell(service, settings.cell, ScriptSources.read())
        self.counters = Counters()
        self.pauses: list[str] = []
        self._numbers = itertools.count(1)

    def settings_of(self, program: Login, **changes: Any) -> Settings:
        """The settings of a program, as its own users and roles."""
        return _settings(program, self._urls, self.admin_url, self.settings.cell, **changes)

    # -- the ledger, whole or in parts --------------------------------------------------------------------------------------

    @asynccontextmanager
    async def ledger(self, **changes: Any) -> AsyncIterator[asyncio.Task[None]]:
        """The whole ledger, running, until the block ends; it must not have crashed."""
        stop = asyncio.Event()
        task = asyncio.create_task(run(self.settings.model_copy(update=changes), stop))
        try:
            yield task
        finally:
            stop.set()
            await task

    @asynccontextmanager
    async def open_ledger(self, **changes: Any) -> AsyncIterator[asyncio.Task[None]]:
        """The whole ledger, running, and the cell open for business."""
        async with self.ledger(**changes) as task:
            await self.open_for_business()
            yield task

    @asynccontextmanager
    async def parts(self, **changes: Any) -> AsyncIterator[Ledger]:
        """The parts of a ledger, not running."""
        async with build(self.settings.model_copy(update=changes)) as ledger:
            yield ledger

    @asynccontextmanager
    async def leading(self, **changes: Any) -> AsyncIterator[Ledger]:
        """The parts of a ledger that leads and does nothing else."""
        async with self.parts(**changes) as ledger:
            task = asyncio.create_task(ledger.leader.run())
            try:
                await asyncio.wait_for(ledger.leader.wait(), PATIENCE_S)
                yield ledger
            finally:
                await end([task])

    @asynccontextmanager
    async def working(self, **changes: Any) -> AsyncIterator[Ledger]:
        """The parts of a ledger that leads and drains; what its guard does, is up to the test."""
        async with self.leading(**changes) as ledger:
            task = asyncio.create_task(ledger.drain.run())
            try:
                yield ledger
            finally:
                await end([task])

    async def fence(self, link: RedisLink, ledger: Ledger) -> Fence:
        """The cell in the hands of this ledger."""
        return await Fence.take(link, self.keys, ledger.leader.confirm)

    @asynccontextmanager
    async def link(self) -> AsyncIterator[RedisLink]:
        """A link of the guard's."""
        link = await RedisLink.open(self.settings.redis_url_of_guard, self.settings.redis_timeout_s)
        try:
            yield link
        finally:
            await link.close()

    async def open_link(self) -> RedisLink:
        """A link of the drain's."""
        return await RedisLink.open(self.settings.redis_url, self.settings.redis_timeout_s)

    def new_drain(
        self, *, entries_max: int = 100, rows_max: int = 1000, awaited: bool = False, signing_keys: SigningKeys | None = None
    ) -> Drain:
        async def pause(campaign_id: str) -> None:
            self.pauses.append(campaign_id)

        return Drain(
            self.ledger_engine,
            self.settings.cell,
            self.open_link,
            self.counters,
            pause=pause,
            entries_max=entries_max,
            rows_max=rows_max,
            awaited=awaited,
            signing_keys=signing_keys,
        )

    async def begin(self) -> None:
        """Begin the cell without arming it: enough for a drain, to which a test writes the log by hand."""
        cursor = await begin_first(self.engine, self.settings.cell)
        async with self.link() as link:
            await link.transaction(opening_commands(self.keys, cursor, 0, "first_start", now_ms(), 0))

    async def arm(self) -> None:
        """Load the rules as the guard does, without its audit; the cell has begun."""
        sources, nonce = ScriptSources.read(), new_nonce()
        table: dict[Any, Any] = {"epoch": await self.redis.hget(self.keys.cell, "epoch")}
        for name, source in sources.bake(nonce).items():
            await self.redis.script_load(source)
            table[sources.table_field(name)] = sha_of(source)
        await self.redis.hset(self.keys.cell, "nonce", nonce)
        await self.redis.hset(self.keys.scripts, mapping=table)

    async def open_for_business(self, patience_s: float = PATIENCE_S) -> None:
        """Wait until the cell answers; the grab is loaded last."""

        async def answers() -> bool:
            try:
                await self.cell.grab("nowhere", b"b", ("nobody", "", ""))
            except CellError:
                return False
            return True

        await until(answers, patience_s)

    async def drained(self) -> int:
        """Wait until Postgres has all that the cell has logged so far; the seq."""
        seq = int(await self.redis.hget(self.keys.cell, "seq") or 0)

        async def is_there() -> bool:
            cursor = await read_cursor(self.engine, self.settings.cell)
            return cursor is not None and cursor.last_seq >= seq

        await until(is_there)
        return seq

    # -- members and campaigns ----------------------------------------------------------------------------------------------

    async def enrol(self, count: int, *, publish: bool = True) -> list[str]:
        """Register members, with the next free names."""
        names = [f"m{next(self._numbers):05d}" for _ in range(count)]
        async with self.engine.begin() as connection:
            await connection.execute(upsert(orgs).values(org_id="org-1", name="一工会").on_conflict_do_nothing())
            await connection.execute(
                text(
                    "INSERT INTO members (member_id, org_id, name, tags, status, version) "
                    "SELECT name, 'org-1', '张三', ARRAY['driver'], 'active', nextval('members_version') "
                    "FROM unnest(CAST(:names AS text[])) AS name"
                ),
                {"names": names},
            )
        if publish:
            await publish_members(self.engine, self.cell)
        return names

    async def schedule(
        self,
        campaign_id: str = "c",
        *,
        stock: int = 10,
        limit: int = 1,
        kind: str = "generated_code",
        codes: int = 0,
        publish: bool = True,
        **benefit: Any,
    ) -> str:
        """Write a campaign that opened a second ago, as ops do, and publish it."""
        opens_at_ms = now_ms() - 1000
        row = {
            "campaign_id": campaign_id,
            "version": 1,
            "state": "scheduled",
            "definition": {
                "title": "中秋月饼",
                "eligibility": {"orgs": None, "tags_any": ["driver"], "birthday_months": [], "joined_before": None},
                "benefit": {"kind": kind, "name": "月饼一盒", **benefit},
            },
            "opens_at_ms": opens_at_ms,
            "closes_at_ms": opens_at_ms + HOUR_MS,
            "releases": [[opens_at_ms, stock]],
            "total": stock,
            "limit_per_member": limit,
            "created_at_ms": opens_at_ms,
        }
        async with self.engine.begin() as connection:
            await connection.execute(insert(campaigns).values(row))
        await self.import_codes(campaign_id, codes)
        if publish:
            assert (await publish_campaign(self.engine, self.cell, campaign_id)).outcome == "published"
        return campaign_id

    async def sale(self, members: int, *, wins: int = 0, **campaign: Any) -> list[str]:
        """Register members and publish a campaign `c`; the first so many win a unit each, on record. All names."""
        names = await self.enrol(members)
        await self.schedule(**campaign)
        if wins:
            await self.win_on_record("c", names[:wins])
        return names

    async def import_codes(self, campaign_id: str, count: int) -> None:
        """Add codes to the pool in Postgres."""
        if not count:
            return
        async with self.engine.begin() as connection:
            query = select(pool_codes.c.position).where(pool_codes.c.campaign_id == campaign_id)
            known = len((await connection.execute(query)).all())
            rows = [
                {"campaign_id": campaign_id, "position": at, "code": f"{campaign_id}-POOL-{at:04d}"}
                for at in range(known + 1, known + count + 1)
            ]
            await connection.execute(insert(pool_codes), rows)

    async def grab(self, campaign_id: str, names: Sequence[str], *, key: str = "") -> list[bytes]:
        """One batch of grabs; the answers as the rules give them."""
        triples: list[str] = []
        for name in names:
            triples += (name, key, f"CODE-{next(self._numbers)}")
        return (await self.cell.grab(campaign_id, b"b%d" % next(self._numbers), triples)).answers

    async def win(self, campaign_id: str, names: Sequence[str], *, key: str = "") -> list[ClaimRecord]:
        """One batch of grabs that all win."""
        answers = await self.grab(campaign_id, names, key=key)
        assert all(answer.startswith(b"won\t") for answer in answers), answers
        return [ClaimRecord.parse(answer.removeprefix(b"won\t")) for answer in answers]

    async def win_on_record(self, campaign_id: str, names: Sequence[str], *, key: str = "") -> list[ClaimRecord]:
        """The same, and Postgres has them."""
        won = await self.win(campaign_id, names, key=key)
        await self.drained()
        return won

    async def empty_redis(self) -> None:
        """All keys and all scripts of that Redis are gone."""
        await self.redis.flushall()
        await self.redis.script_flush()

    async def decide_return(self, claim: ClaimRecord, campaign_id: str, member_id: str, reason: str = "returned") -> None:
        """Decide in Postgres that a unit goes back, as the call that a member makes will."""
        async with self.engine.begin() as connection:
            await connection.execute(
                text(
                    "UPDATE claims SET state = :reason, voucher_state = 'returned', decided_at_ms = :now "
                    "WHERE seq = :seq AND state = 'fulfilled'"
                ),
                {"seq": claim.seq, "reason": reason, "now": now_ms()},
            )
        await self.command_return(claim, campaign_id, member_id, reason)

    async def command_return(self, claim: ClaimRecord, campaign_id: str, member_id: str, reason: str = "returned") -> None:
        """Put the command into the outbox."""
        async with self.engine.begin() as connection:
            await connection.execute(
                text(
                    "INSERT INTO commands (kind, campaign_id, member_id, claim_seq, reason, created_at_ms) "
                    "VALUES ('return_unit', :campaign_id, :member_id, :seq, :reason, :now)"
                ),
                {"campaign_id": campaign_id, "member_id": member_id, "seq": claim.seq, "reason": reason, "now": now_ms()},
            )

    # -- what is on record --------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def postgres_away(self) -> AsyncIterator[None]:
        """Nobody gets into the database until the block ends, and those who are in are thrown out."""
        database = str((await self.sql("SELECT current_database() AS name"))[0].name)
        async with session_in(self.admin_url.replace(f"/{database}", "/postgres")) as session:
            await session.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS false")
            await session.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", database)
            try:
                yield
            finally:
                await session.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS true")

    async def leaders(self) -> list[int]:
        """The sessions in Postgres by which ledgers lead, by their process."""
        rows = await self.sql(
            "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        return [row.pid for row in rows]

    async def end_leaders(self) -> None:
        """End the sessions by which ledgers lead."""
        await self.sql("SELECT pg_terminate_backend(pid) FROM unnest(CAST(:pids AS int[])) AS pid", pids=await self.leaders())

    async def sql(self, statement: str, **values: Any) -> Sequence[Row[Any]]:
        async with self.engine.begin() as connection:
            result = await connection.execute(text(statement), values)
            return result.all() if result.returns_rows else []

    async def claims(self) -> Sequence[Row[Any]]:
        async with self.engine.connect() as connection:
            return (await connection.execute(select(claims).order_by(claims.c.seq))).all()

    async def campaign(self, campaign_id: str = "c") -> Row[Any]:
        async with self.engine.connect() as connection:
            return (await connection.execute(select(campaigns).where(campaigns.c.campaign_id == campaign_id))).one()

    async def cursor(self) -> Row[Any]:
        async with self.engine.connect() as connection:
            return (await connection.execute(select(log_cursor))).one()

    async def lives(self) -> dict[int, int]:
        """The epochs of the cell to their number, counted from 1 in the order in which they followed each other."""
        rows = await self.sql("SELECT epoch FROM epochs ORDER BY first_seq, epoch")
        return {row.epoch: number for number, row in enumerate(rows, start=1)}

    async def open_alarms(self, but: AlarmKind | None = AlarmKind.SERVER_SETTINGS) -> dict[str, dict[str, Any]]:
        """Open alarms, but for the one that is always open: the Valkey of these tests does not sync its log."""
        query = select(alarms).where(alarms.c.cleared_at_ms.is_(None))
        async with self.engine.connect() as connection:
            rows = await connection.execute(query if but is None else query.where(alarms.c.kind != but.value))
            return {row.kind: row.detail for row in rows}

    async def alarm(self, kind: AlarmKind) -> dict[str, Any]:
        """The detail of the open alarm of a kind; empty if there is none."""
        return (await self.open_alarms()).get(kind.value, {})

    async def all_clear(self) -> None:
        """Wait until no alarm is open."""
        async with asyncio.timeout(PATIENCE_S):
            while await self.open_alarms():
                await asyncio.sleep(0.01)

    async def everything_in_redis(self) -> dict[str, Any]:
        """All keys of the cell with what they hold."""
        found: dict[str, Any] = {}
        async for name in self.redis.scan_iter(match=self.keys.prefix + "*", count=1000):
            if name == self.keys.server.encode():
                continue  # a note about the server, written every few seconds; nothing of the cell
            key = name.decode().removeprefix(self.keys.prefix)
            kind: Any = await self.redis.type(name)
            match kind.decode():
                case "hash":
                    found[key] = await self.redis.hgetall(name)
                case "zset":
                    found[key] = await self.redis.zrange(name, 0, -1, withscores=True)
                case "set":
                    found[key] = await self.redis.smembers(name)
                case "list":
                    found[key] = await self.redis.lrange(name, 0, -1)
                case "string":
                    found[key] = await self.redis.get(name)
                case "stream":
                    found[key] = await self.redis.xrange(name)
                case other:
                    raise AssertionError(f"{key} is a {other}")
        return found

    # -- the log, by hand ---------------------------------------------------------------------------------------------------

    async def begin_log(self, stock: int = 10) -> None:
        """Begin the cell, and a log whose first entry, of seq 2, publishes a campaign `c`."""
        await self.begin()
        await self.schedule(stock=stock, publish=False)
        await self.log(2, "published", {"campaign_id": "c", "version": 1, "releases": f"1:{stock}"})

    async def log(self, seq: int, kind: str, fields: Mapping[str, Any], *, last_seq: int | None = None, epoch: int = 1) -> str:
        """Write an entry into the log, whatever it says; its id."""
        last_seq = last_seq or seq
        entry: dict[Any, Any] = {"type": kind, "epoch": epoch, "seq": seq, "last_seq": last_seq, "at_ms": now_ms()}
        if kind == Granted.TYPE:
            entry |= {"version": Granted.VERSION, "fields": Granted.FIELDS, "state": "fulfilled"}
        entry |= fields
        await self.redis.xadd(self.keys.log, entry, id=f"{last_seq}-0")
        await self.redis.hset(self.keys.cell, "seq", last_seq)
        return f"{last_seq}-0"


def _settings(program: Login, urls: Mapping[Login, str], admin_url: str, cell_name: str, **changes: Any) -> Settings:
    return Settings(
        redis_url=urls[program],
        guard_redis_url=urls[Login.GUARD],
        database_url=as_role(admin_url, program),
        cell=cell_name,
        **changes,
    )


@asynccontextmanager
async def backend(redis_url: str, database_url: str, cell_name: str, **changes: Any) -> AsyncIterator[Backend]:
    """A backend of its own: users, roles and connections of a cell in these servers, closed when the block ends."""
    async with AsyncExitStack() as stack:
        urls = await stack.enter_async_context(redis_logins(redis_url, cell_name))
        settings = _settings(Login.LEDGER, urls, database_url, cell_name, **changes)
        redis, service = (
            connect_redis(url, connections_max=20, timeout_s=2, nodes=Nodes(cell_name)) for url in (redis_url, urls[Login.API])
        )
        stack.push_async_callback(redis.aclose)
        stack.push_async_callback(service.aclose)
        built = Backend(urls, database_url, redis, service, settings)
        for engine in (built.engine, built.ledger_engine):
            stack.push_async_callback(engine.dispose)
        yield built
