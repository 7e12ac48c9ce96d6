"""Fixtures of tests of the parts together, beside servers."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from grab_service.embedded.valkey import AppendFsync, ValkeyServer
from tests.harness.backend import Backend
from tests.harness.backend import backend as a_backend
from tests.harness.service import Service, running_service


@pytest.fixture
async def service(valkey_url: str, database_url: str, cell_name: str) -> AsyncIterator[Service]:
    """The whole service in this process, in development mode, with its own cell and database."""
    async with running_service(valkey_url, database_url, cell_name) as running:
        yield running


@pytest.fixture
async def backend(valkey_url: str, database_url: str, cell_name: str) -> AsyncIterator[Backend]:
    """A cell and its database, for tests of the ledger; nothing of ours runs yet."""
    async with a_backend(valkey_url, database_url, cell_name) as built:
        yield built


@pytest.fixture
async def valkey(tmp_path: Path) -> AsyncIterator[ValkeyServer]:
    """A Valkey that may be killed."""
    server = ValkeyServer(tmp_path / "valkey", appendfsync=AppendFsync.ALWAYS)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def mortal(valkey: ValkeyServer, database_url: str, cell_name: str) -> AsyncIterator[Backend]:
    """A backend whose Valkey may be killed."""
    async with a_backend(valkey.url, database_url, cell_name) as built:
        yield built
