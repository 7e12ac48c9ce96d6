"""A running ledger notices a PostgreSQL that was restored, or that refuses writes, without a grab."""

import asyncio
import time

import asyncpg
import pytest

from grab_service.embedded.postgres import PostgresServer
from reconcile.alarms import AlarmKind
from tests.harness.backend import Backend, until
from tests.harness.service import Service, definition

NOTICED_WITHIN_S = 5.0


async def database_of(backend: Backend) -> str:
    (row,) = await backend.sql("SELECT current_database() AS name")
    return str(row.name)


async def set_read_only(postgres_server: PostgresServer, database: str, value: str) -> None:
    """As an operator does it, or a server whose disk is full: for new sessions, and the old ones are ended."""
    session = await asyncpg.connect(postgres_server.url_of("postgres"))
    await session.execute(f"ALTER DATABASE {database} SET default_transaction_read_only = {value}")
    await session.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", database)
    await session.close()


async def test_a_database_that_was_restored_under_running_sessions_is_noticed(backend: Backend) -> None:
    async with backend.ledger():
        await backend.open_for_business()
        names = await backend.enrol(3)
        await backend.schedule()
        await backend.win("c", names)
        await backend.drained()
        # Restored to before the cell's present life: no session ends, nothing is grabbed.
        await backend.sql("UPDATE epochs SET epoch = 0")
        await backend.sql("UPDATE log_cursor SET epoch = 0")
        began_s = time.monotonic()

        async def noticed() -> bool:
            return AlarmKind.CELL_CLOSED.value in await backend.open_alarms()

        await until(noticed)
        assert time.monotonic() - began_s < NOTICED_WITHIN_S
        assert (await backend.open_alarms())[AlarmKind.CELL_CLOSED.value]["why"] == "newer_epoch"
        assert await backend.redis.hget(backend.keys.cell, "nonce") is None, "and nobody grabs meanwhile"


async def test_a_cursor_that_went_back_within_a_life_is_read_again_and_drained_once_more(backend: Backend) -> None:
    async with backend.ledger():
        await backend.open_for_business()
        names = await backend.enrol(4)
        await backend.schedule()
        await backend.drained()
        (then,) = await backend.sql("SELECT last_seq, last_id, at_ms FROM log_cursor")
        await backend.win("c", names)
        await backend.drained()
        before = await backend.claims()
        await backend.sql(f"DELETE FROM claims WHERE seq > {then.last_seq}")
        await backend.sql(f"UPDATE log_cursor SET last_seq = {then.last_seq}, last_id = '{then.last_id}', at_ms = {then.at_ms}")

        async def again() -> bool:
            return len(await backend.claims()) == len(before)

        began_s = time.monotonic()
        await until(again)
        assert time.monotonic() - began_s < NOTICED_WITHIN_S
        assert await backend.claims() == before


async def test_nobody_leads_on_a_postgres_that_takes_no_writes(backend: Backend, postgres_server: PostgresServer) -> None:
    database = await database_of(backend)
    async with backend.parts() as parts:
        task = asyncio.create_task(parts.leader.run())
        await parts.leader.wait()
        began_s = time.monotonic()
        await set_read_only(postgres_server, database, "on")

        async def resigned() -> bool:
            return not parts.leader.leads and parts.leader.lacks_postgres

        await until(resigned)
        assert time.monotonic() - began_s < NOTICED_WITHIN_S
        assert not await parts.leader.confirm()
        await set_read_only(postgres_server, database, "off")
        await asyncio.wait_for(parts.leader.wait(), NOTICED_WITHIN_S)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/ops/campaigns"), ("PUT", "/v1/ops/blocklist/m-1")])
async def test_calls_that_would_write_there_are_503_and_readiness_says_why(
    service: Service, postgres_server: PostgresServer, method: str, path: str
) -> None:
    await service.enrol("m-1")
    async with service.worker.engine.connect() as connection:
        database = str((await connection.exec_driver_sql("SELECT current_database()")).scalar_one())
    await set_read_only(postgres_server, database, "on")
    body = definition() if method == "POST" else {"reason": "x"}
    refused = await service.http.request(method, path, json=body, headers=service.ops())
    assert (refused.status_code, refused.json()["code"]) == (503, "ledger-unavailable"), refused.text
    ready = await service.http.get("/readyz")
    assert ready.json()["checks"]["postgres"] == {"state": "failed", "detail": "takes no writes: it is a standby, or set so"}
    await set_read_only(postgres_server, database, "off")
    done = await service.http.request(method, path, json=body, headers=service.ops())
    assert done.status_code in (200, 201), done.text
