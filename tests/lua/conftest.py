"""What may a test of the rules ask for: a cell of its own with the rules loaded, and a connection past them."""

from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis

from grab_service.cell.connect import connect
from grab_service.cell.rights import Login
from grab_service.cell.scripts import ScriptSources
from grab_service.cell.store import Cell
from tests.harness.cells import arm
from tests.harness.logins import redis_logins
from tests.lua.walker import Laboratory


@pytest.fixture(scope="session")
def sources() -> ScriptSources:
    return ScriptSources.read()


@pytest.fixture
async def raw(valkey_url: str) -> AsyncIterator[Redis]:
    """A connection past the rules, to look and to plant."""
    async with Redis.from_url(valkey_url, protocol=2) as client:
        yield client


@pytest.fixture
async def armed_cell(valkey_url: str, cell_name: str, sources: ScriptSources, raw: Redis) -> AsyncIterator[Cell]:
    await arm(raw, cell_name, sources)
    async with redis_logins(valkey_url, cell_name) as urls:
        client = connect(urls[Login.API], connections_max=4, timeout_s=5)
        yield Cell(client, cell_name, sources)
        await client.aclose()
    names = [name async for name in raw.scan_iter(match=f"grab:{{{cell_name}}}:*", count=1000)]
    await raw.unlink(*names)


@pytest.fixture
def lab(valkey_url: str, sources: ScriptSources) -> Iterator[Laboratory]:
    laboratory = Laboratory(valkey_url, sources)
    yield laboratory
    laboratory.close()
