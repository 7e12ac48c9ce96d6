"""A leader goes on leading, or lets go, for every last message of Postgres on a connection that dies."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import pytest
from sqlalchemy.engine import make_url

from reconcile.counters import Counters
from reconcile.leader import Leader
from reconcile.process import end
from tests.harness.backend import until

FAREWELL_FIELDS: Final = b"SFATAL\0VFATAL\0C57P02\0Mterminating connection because of crash of another server process\0\0"
FAREWELL: Final = b"E" + (4 + len(FAREWELL_FIELDS)).to_bytes(4) + FAREWELL_FIELDS


class Between:
    """Stands between a client and Postgres, and can say a server's last words before the server hangs up."""

    def __init__(self, host: str, port: int) -> None:
        self.opened = 0
        self._server = (host, port)
        self._clients: list[asyncio.StreamWriter] = []

    async def take(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        self.opened += 1
        from_server, to_server = await asyncio.open_connection(*self._server)
        self._clients.append(to_client)
        with contextlib.suppress(OSError):
            await asyncio.gather(carry(from_client, to_server), carry(from_server, to_client))

    def say_farewell(self) -> None:
        """Tell every client that the server is going down; the connections stay up for a while."""
        for client in self._clients:
            client.write(FAREWELL)
        self._clients.clear()


async def carry(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
    finally:
        target.close()


@asynccontextmanager
async def between(database_url: str) -> AsyncIterator[tuple[Between, str]]:
    url = make_url(database_url)
    assert url.host is not None
    assert url.port is not None
    middle = Between(url.host, url.port)
    server = await asyncio.start_server(middle.take, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield middle, url.set(host="127.0.0.1", port=port).render_as_string(hide_password=False)
    finally:
        server.close()


async def test_a_leader_outlives_a_postgres_that_says_farewell_before_it_hangs_up(database_url: str) -> None:
    async with between(database_url) as (middle, url):
        leader = Leader(url, Counters())
        task = asyncio.create_task(leader.run())
        try:
            await asyncio.wait_for(leader.wait(), 5)
            middle.say_farewell()

            async def leads_again() -> bool:
                assert not task.done(), task.exception()
                return middle.opened > 1 and leader.leads

            assert await until(leads_again)
        finally:
            await end([task])


async def test_a_leader_that_stands_still_loses_the_lead(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its machine may be gone for good, and nobody would tell Postgres for hours."""
    monkeypatch.setattr("reconcile.leader.SILENT_MAX_S", 1)
    still, next_one = Leader(database_url, Counters()), Leader(database_url, Counters())
    monkeypatch.setattr("reconcile.leader.LOOK_INTERVAL_S", 600)
    tasks = [asyncio.create_task(still.run())]
    await asyncio.wait_for(still.wait(), 5)
    monkeypatch.setattr("reconcile.leader.LOOK_INTERVAL_S", 0.2)
    tasks.append(asyncio.create_task(next_one.run()))
    await asyncio.wait_for(next_one.wait(), 10)
    assert not await still.confirm(), "it may believe that it leads, and is told otherwise when it asks"
    await asyncio.sleep(1.5)
    assert next_one.leads, "who looks often enough keeps the lead"
    assert await next_one.confirm()
    await end(tasks)
