"""The shared part of acceptance tests: a district of so many workers, for all tests of a module in one process."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from tests.harness.district import District, Districts, Site, running_district


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def districts(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Districts]:
    """The district with so many workers; killed parts of it are running again."""
    made: dict[int, District] = {}
    async with AsyncExitStack() as stack:

        async def ready(workers: int) -> District:
            if workers not in made:
                home = tmp_path_factory.mktemp("district")
                made[workers] = await stack.enter_async_context(running_district(home, Site(workers=workers)))
            await made[workers].restore()
            await made[workers].programs.wait_ready()
            return made[workers]

        yield ready
