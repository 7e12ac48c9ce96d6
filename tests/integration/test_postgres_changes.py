"""A running ledger notices a PostgreSQL that was restored, or that refuses writes, without a grab."""

import asyncio

import pytest

from grab_service.embedded.postgres import PostgresServer
from reconcile.alarms import AlarmKind
from tests.harness.backend import Backend, until
from tests.harness.databases import in_postgres
from tests.harness.service import Service, definition

NOTICED_WITHIN_S = 5.0


async def set_read_only(postgres_server: PostgresServer, database: str, value: str) -> None:
    """As an operator does it, or a server whose disk is full: for new sessions, and the old ones are ended."""
    await in_postgres(
        postgres_server.url_of("postgres"),
        f"ALTER DATABASE {database} SET default_transaction_read_only = {value}",
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'",
    )


async def test_a_database_that_was_restored_under_running_sessions_is_noticed(backend: Backend) -> None:
    async with backend.open_ledger():
        await backend.sale(3, wins=3)
        # Restored to before the cell's present life: no session ends, nothing is grabbed.
        await backend.sql("UPDATE epochs SET epoch = 0")
        await backend.sql("UPDATE log_cursor SET epoch = 0")
        alarm = await until(lambda: backend.alarm(AlarmKind.CELL_CLOSED), NOTICED_WITHIN_S)
        assert alarm["why"] == "newer_epoch"
        assert await backend.redis.hget(backend.keys.cell, "nonce") is None, "and nobody grabs meanwhile"


async def test_a_cursor_that_went_back_within_a_life_is_read_again_and_drained_once_more(backend: Backend) -> None:
    async with backend.open_ledger():
        names = await backend.sale(4)
        await backend.drained()
        (then,) = await backend.sql("SELECT last_seq, last_id, at_ms, encode(head, 'hex') AS head FROM log_cursor")
        await backend.win_on_record("c", names)
        before = await backend.claims()
        await backend.sql(f"DELETE FROM claims WHERE seq > {then.last_seq}")
        await backend.sql(f"DELETE FROM log_entries WHERE last_seq > {then.last_seq}")
        await backend.sql(
            f"UPDATE log_cursor SET last_seq = {then.last_seq}, last_id = '{then.last_id}', at_ms = {then.at_ms},"
            f" head = decode('{then.head}', 'hex')"
        )

        async def again() -> bool:
            return len(await backend.claims()) == len(before)

        await until(again, NOTICED_WITHIN_S)
        assert await backend.claims() == before


async def test_nobody_leads_on_a_postgres_that_takes_no_writes(backend: Backend, postgres_server: PostgresServer) -> None:
    ((database,),) = await backend.sql("SELECT current_database()")
    async with backend.leading() as parts:
        await set_read_only(postgres_server, database, "on")
        async with asyncio.timeout(NOTICED_WITHIN_S):
            while parts.leader.leads or not parts.leader.lacks_postgres:
                await asyncio.sleep(0.01)
        assert not await parts.leader.confirm()
        await set_read_only(postgres_server, database, "off")
        await asyncio.wait_for(parts.leader.wait(), NOTICED_WITHIN_S)


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
