"""Fixtures of all tests: real servers, and names and databases of a test's own on them.

Servers are started when the first test asks, and live as long as the run: a Valkey for each worker, a PostgreSQL for all of
them. Nothing is ever flushed: a test that wants to be alone has its own cell, or its own database.
"""

import asyncio
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import structlog
from redis.asyncio import Redis

from grab_service.embedded.postgres import PostgresServer
from grab_service.embedded.valkey import AppendFsync, ValkeyServer
from tests.harness import alone, order, ready_postgres, shared_postgres, signals
from tests.harness.databases import NewDatabase, drop_database, make_database
from tests.harness.places import quick_dir
from tests.harness.shared_postgres import fill_template, join, server_in

HARNESS = (signals, alone, order, shared_postgres, ready_postgres)

for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
    del os.environ[name]  # all that tests ask is on this machine; those that are about proxies set some


def pytest_configure(config: pytest.Config) -> None:
    for part in HARNESS:
        config.pluginmanager.register(part)


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """A command that a test calls in this process sets up the logs; the next test finds them as they were."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.fixture(scope="session")
def servers_dir() -> Iterator[Path]:
    folder = quick_dir()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def valkey_server(servers_dir: Path) -> Iterator[ValkeyServer]:
    server = ValkeyServer(servers_dir / "valkey", appendfsync=AppendFsync.NO)
    asyncio.run(server.start())
    yield server
    asyncio.run(server.stop())


@pytest.fixture(scope="session")
def valkey_url(valkey_server: ValkeyServer) -> str:
    return valkey_server.url


@pytest.fixture
async def redis_client(valkey_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(valkey_url) as client:
        yield client


@pytest.fixture
def cell_name() -> str:
    return f"t{secrets.token_hex(6)}"


@pytest.fixture(scope="session")
def postgres_server(pytestconfig: pytest.Config, servers_dir: Path) -> Iterator[PostgresServer]:
    shared_dir = getattr(pytestconfig, "workerinput", {}).get("shared_dir")
    if shared_dir is not None:
        yield join(Path(shared_dir))
        return
    server = server_in(servers_dir)
    asyncio.run(server.start())
    fill_template(server)
    yield server
    asyncio.run(server.stop())


@pytest.fixture
async def new_database(postgres_server: PostgresServer) -> AsyncIterator[NewDatabase]:
    async with AsyncExitStack() as stack:

        async def make() -> str:
            name = f"t_{secrets.token_hex(6)}"
            url = await make_database(postgres_server, name)
            stack.push_async_callback(drop_database, postgres_server, name)
            return url

        yield make


@pytest.fixture
async def database_url(new_database: NewDatabase) -> str:
    return await new_database()
