"""Waiters for a connection to PostgreSQL are served in turn, and hear at once if none will come."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine

from grab_service.sql.engine import STILL_S, WAITING_MAX, connect


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = connect(database_url, connections_max=1)
    yield engine
    await engine.dispose()


async def test_a_connection_that_comes_back_is_for_the_one_who_waits_and_not_for_a_newcomer(engine: AsyncEngine) -> None:
    served: list[str] = []
    newcomers: list[asyncio.Task[None]] = []

    async def ask(caller: str) -> None:
        async with engine.connect():
            served.append(caller)

    def come(*_: object) -> None:
        """In the moment in which the connection goes back into the pool, before the one who waits has been woken."""
        newcomers.append(asyncio.create_task(ask("newcomer")))

    async with engine.connect():
        waiting = asyncio.create_task(ask("who waits"))
        await asyncio.sleep(0.05)
        event.listen(engine.sync_engine.pool, "checkin", come, once=True)
    await asyncio.gather(waiting)
    await asyncio.gather(*newcomers)
    assert served == ["who waits", "newcomer"]


async def test_a_crowd_at_a_rested_pool_is_served(engine: AsyncEngine) -> None:
    """As many as come over at once when another worker ends."""

    async def ask() -> int:
        async with engine.connect() as connection:
            return int((await connection.execute(text("SELECT 1"))).scalar_one())

    await ask()
    await asyncio.sleep(1.1 * STILL_S)
    assert sum(await asyncio.gather(*(ask() for _ in range(2 * WAITING_MAX)))) == 2 * WAITING_MAX


async def test_while_no_connection_comes_back_the_queue_is_short(engine: AsyncEngine) -> None:
    async with engine.connect():
        waiting = [asyncio.create_task(engine.connect().__aenter__()) for _ in range(WAITING_MAX)]
        await asyncio.sleep(1.1 * STILL_S)
        with pytest.raises(PoolTimeoutError, match="wait for a connection already"):
            async with asyncio.timeout(0.5), engine.connect():
                pass
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    async with engine.connect() as connection:
        assert (await connection.execute(text("SELECT 1"))).scalar_one() == 1
