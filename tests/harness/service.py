"""The whole service in this process, over a real Redis and a real Postgres.

The ledger's drain runs beside it, and a cell that is armed as the guard arms it, but without the wait for an audit.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg
import httpx
from pydantic import SecretStr
from redis.asyncio import Redis
from sqlalchemy import insert, text
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncEngine

from grab_service.cell.rights import Login
from grab_service.publishing.publish import publish_members
from grab_service.server.lane import ASGIApp
from grab_service.server.worker import Worker
from grab_service.service.app import build_app
from grab_service.sql.tables import members, orgs
from grab_service.vocabulary.durability import Durability
from grab_service.vocabulary.passes import Role, mint, mint_ops
from reconcile.drain.drain import Drain
from reconcile.guard.redis_settings import ServerSettings
from reconcile.maintenance.redis_watch import write_note
from reconcile.redis_link import RedisLink
from tests.harness.backend import backend
from tests.harness.databases import session_in
from tests.harness.worker import forget_metrics

SECRET: Final = "a secret of tests, long enough"
OPS_SECRET: Final = "another secret of tests for ops"


def at(seconds: float) -> str:
    """The time so many seconds from now, as ops write it."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")


def definition(**changes: Any) -> dict[str, Any]:
    """A campaign of ten units that opened a second ago."""
    return {
        "title": "中秋月饼",
        "releases": [{"opens_at": at(-1), "quantity": 10}],
        "closes_at": at(3600),
        "benefit": {"kind": "generated_code", "name": "月饼一盒", "valid_days": 30},
        **changes,
    }


class Service:
    """One worker, its application behind the lane, and the drain. `http` is a client of it."""

    def __init__(
        self,
        worker: Worker,
        app: ASGIApp,
        http: httpx.AsyncClient,
        redis: Redis,
        drain: "DrainTask",
        ledger_engine: AsyncEngine,
        admin_url: str,
    ) -> None:
        self.worker = worker
        self.app = app
        self.http = http
        self.redis = redis
        self.drain = drain
        self.ledger_engine = ledger_engine
        self.admin_url = admin_url

    def ops(self, role: Role = Role.OPERATOR, actor: str = "alice") -> dict[str, str]:
        """The headers of somebody of ops."""
        now_s = int(time.time())
        return {"Authorization": f"Bearer {mint_ops(self.worker.keys, actor, role, now_s, now_s + 600)}"}

    def member(self, member_id: str) -> dict[str, str]:
        """The headers of a member."""
        return {"Authorization": f"Bearer {mint(self.worker.keys, member_id, int(time.time()) + 600)}"}

    async def enrol(self, *member_ids: str, org_id: str = "org-1", **columns: Any) -> None:
        """Register members and publish them."""
        rows = [
            {"member_id": member_id, "org_id": org_id, "name": "张三", "tags": [], "status": "active", **columns}
            for member_id in member_ids
        ]
        async with self.worker.engine.begin() as connection:
            await connection.execute(upsert(orgs).values(org_id=org_id, name=org_id).on_conflict_do_nothing())
            for row in rows:
                version = (await connection.execute(text("SELECT nextval('members_version')"))).scalar_one()
                await connection.execute(insert(members).values(version=version, **row))
        await publish_members(self.worker.engine, self.worker.cell)

    async def create(self, **changes: Any) -> str:
        """A draft; its id."""
        response = await self.http.post("/v1/ops/campaigns", json=definition(**changes), headers=self.ops())
        assert response.status_code == 201, response.text
        return str(response.json()["campaign_id"])

    async def publish(self, **changes: Any) -> str:
        """A scheduled campaign; its id."""
        campaign_id = await self.create(**changes)
        response = await self.http.post(f"/v1/ops/campaigns/{campaign_id}/schedule", headers=self.ops())
        assert response.status_code == 200, response.text
        return campaign_id

    async def sale(self, *member_ids: str, **changes: Any) -> str:
        """Register members and schedule a campaign; its id."""
        await self.enrol(*member_ids)
        return await self.publish(**changes)

    async def listed(self, path: str, headers: Mapping[str, str] | None = None, *, limit: int = 2) -> list[dict[str, Any]]:
        """All items of a list, read page by page."""
        found: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        while True:
            page = (await self.http.get(path, params={"limit": limit, **cursor}, headers=headers)).json()
            assert len(page["items"]) <= limit
            found += page["items"]
            if page["next_cursor"] is None:
                return found
            cursor = {"cursor": page["next_cursor"]}

    async def sql(self, statement: str, *values: Any) -> list[asyncpg.Record]:
        """Run a statement as the superuser; its rows."""
        async with session_in(self.admin_url) as session:
            return await session.fetch(statement, *values)

    async def grab(self, member_id: str, campaign_id: str, **headers: str) -> httpx.Response:
        """One grab, through the lane."""
        sent = {**self.member(member_id), **headers}
        return await self.http.post(f"/v1/campaigns/{campaign_id}/claims", headers=sent)

    async def drained(self) -> None:
        """Wait until the ledger has all that the cell has logged so far."""
        seq = int(await self.redis.hget(self.worker.cell.keys.cell, "seq") or 0)
        assert await self.drain.drain.reach(seq, 5), "not drained in time"


def claim_of(answer: httpx.Response) -> dict[str, Any]:
    """The claim in the answer to a grab as other calls show it: without the proof that each answer has of its own."""
    return {name: value for name, value in answer.json().items() if name not in {"as_of_seq", "head"}}


class DrainTask:
    """The ledger's drain, which a test may stop and start again."""

    def __init__(self, drain: Drain) -> None:
        self.drain = drain
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self.drain.run())

    async def stop(self) -> None:
        task, self._task = self._task, None
        while task is not None and not task.done():
            # A cancellation that meets an answer just coming in may be lost on Python 3.11; so it is repeated.
            task.cancel()
            await asyncio.wait([task], timeout=0.2)


@asynccontextmanager
async def running_service(redis_url: str, database_url: str, cell_name: str, **settings: Any) -> AsyncIterator[Service]:
    """The service, until the test is over."""
    async with AsyncExitStack() as stack:
        built = await stack.enter_async_context(backend(redis_url, database_url, cell_name))
        await built.begin()
        await built.arm()
        given = built.settings_of(
            Login.API,
            **{
                "secrets": {"k1": SecretStr(SECRET)},
                "ops_secrets": {"o1": SecretStr(OPS_SECRET)},
                "dev": True,
                "sql_connections_max": 3,
                **settings,
            },
        )
        link = await RedisLink.open(redis_url, 5)
        await write_note(link, built.keys, await ServerSettings.read(link))
        await link.close()
        drain = DrainTask(built.new_drain(awaited=given.durability is Durability.RECORD, signing_keys=given.signing_keys()))
        drain.start()
        stack.push_async_callback(drain.stop)
        forget_metrics()
        worker = Worker.build(given)
        await stack.enter_async_context(worker.running())
        app = build_app(worker)
        lane = worker.lane(app)
        transport = httpx.ASGITransport(lane, raise_app_exceptions=False)
        http = await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://grab"))
        yield Service(worker, app, http, built.redis, drain, built.ledger_engine, built.admin_url)
    assert built.pauses == [], "the drain found something impossible"
