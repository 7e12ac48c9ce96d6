"""The grab path of one worker, in this process, over a real Redis."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self

import httpx
from prometheus_client import REGISTRY
from pydantic import SecretStr

from grab_service.cell.rights import Login
from grab_service.cell.store import Cell
from grab_service.grabpath.view import View
from grab_service.server.worker import Worker
from grab_service.settings import Settings
from grab_service.vocabulary.passes import mint
from tests.harness import cells
from tests.harness.logins import redis_logins

VIEW_AGE_MAX_S = Settings.model_fields["view_age_max_s"].default
SECRET = "a secret of tests, long enough"
UNUSED_DATABASE = "postgresql://nobody@127.0.0.1:1/none"


async def nothing_else(scope: Any, receive: Any, send: Any) -> None:
    """The application behind the lane in these tests: it answers 404 to all that the lane passes on."""
    await send({"type": "http.response.start", "status": 404, "headers": [(b"x-passed-on", b"1")]})
    await send({"type": "http.response.body", "body": b""})


async def publish(cell: Cell, campaign: cells.Published) -> int:
    """Publish a campaign as `schedule` does: when this returns, no fresh view lacks it."""
    seq = await cells.publish(cell, campaign)
    await asyncio.sleep(VIEW_AGE_MAX_S)
    return seq


@asynccontextmanager
async def view_of(cell: Cell, *, poll_s: float = 60, age_max_s: float = 0.05) -> AsyncIterator[View]:
    """A view of its own that is complete, and looks again after that time or when it is woken."""
    view = View(cell, poll_s=poll_s, age_max_s=age_max_s, clock=time.monotonic)
    running = asyncio.create_task(view.run())
    assert await view.wait_complete(5)
    yield view
    view.stop()
    await running


def forget_metrics() -> None:
    """Each worker of a test registers its counters anew, as each process does."""
    for collector, names in list(REGISTRY._collector_to_names.items()):
        if any(name.startswith("grab_") for name in names):
            REGISTRY.unregister(collector)


@asynccontextmanager
async def grab_worker(redis_url: str, cell_name: str, **settings: Any) -> AsyncIterator[Worker]:
    """A worker that runs."""
    async with redis_logins(redis_url, cell_name) as urls:
        given = Settings(
            redis_url=urls[Login.API],
            database_url=UNUSED_DATABASE,
            cell=cell_name,
            secrets={"k1": SecretStr(SECRET)},
            **settings,
        )
        forget_metrics()
        worker = Worker.build(given)
        async with worker.running():
            yield worker


class LaneClients:
    """Members who grab through the lane."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        lane = worker.lane(nothing_else)
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(lane), base_url="http://grab")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()

    def knows(self, campaign_id: str) -> bool:
        """Whether the worker's view has the campaign."""
        return self._worker.path.knows(campaign_id)

    def pass_of(self, member_id: str, ttl_s: int = 600) -> str:
        return mint(self._worker.keys, member_id, int(time.time()) + ttl_s)

    async def grab(
        self, member_id: str, campaign_id: str = "c", *, headers: dict[str, str] | None = None, **request: Any
    ) -> httpx.Response:
        sent = {"Authorization": f"Bearer {self.pass_of(member_id)}", **(headers or {})}
        return await self.http.post(f"/v1/campaigns/{campaign_id}/claims", headers=sent, **request)

    async def all_grab(self, member_ids: Sequence[str], campaign_id: str = "c") -> list[httpx.Response]:
        return await asyncio.gather(*(self.grab(member_id, campaign_id) for member_id in member_ids))
