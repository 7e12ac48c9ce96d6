"""What may a test of the parts together ask for, beside servers?"""

from collections.abc import AsyncIterator

import pytest

from tests.integration.ledgers import Town
from tests.integration.ledgers import town as a_town
from tests.integration.stack import Service, running_service


@pytest.fixture
async def service(valkey_url: str, database_url: str, cell_name: str) -> AsyncIterator[Service]:
    """The whole service in this process, in development mode, with its own cell and database."""
    async with running_service(valkey_url, database_url, cell_name) as running:
        yield running


@pytest.fixture
async def town(valkey_url: str, database_url: str, cell_name: str) -> AsyncIterator[Town]:
    """A cell and its database, for tests of the ledger; nothing of ours runs yet."""
    async with a_town(valkey_url, database_url, cell_name) as built:
        yield built
