"""What a test of the doors may ask for, beside servers."""

from collections.abc import AsyncIterator

import pytest

from tests.harness.service import Service, running_service


@pytest.fixture
async def service(valkey_url: str, database_url: str, cell_name: str) -> AsyncIterator[Service]:
    """The whole service in this process, in development mode, with its own cell and database."""
    async with running_service(valkey_url, database_url, cell_name) as running:
        yield running
