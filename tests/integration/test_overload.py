"""Beyond capacity, what cannot be done in time is refused at once, the rest is done at the full rate, and it comes back."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis

from grab_service.cell.store import Cell
from grab_service.server.worker import Worker
from tests.harness.cells import Published, armed_cell
from tests.harness.proxy import Proxy
from tests.harness.worker import LaneClients, grab_worker, publish

DISPLAY = '{"title": "中秋", "benefit": {"kind": "none", "name": "月饼"}}'
DEADLINE_S = 2.0
SLOW_S = 0.25
BATCH_MAX = 8
LATE_S = 0.4
LOOK_S = 0.01
"""An answer may be noted later than its deadline by so much, and by as much as this process was late at something simple."""


@pytest.fixture
async def cell(cell_name: str, redis_client: Redis) -> Cell:
    cell = await armed_cell(redis_client, cell_name, [f"m-{number}" for number in range(6_000)])
    await publish(cell, Published(display=DISPLAY, stock=6_000))
    return cell


@pytest.fixture
async def way(valkey_url: str) -> AsyncIterator[Proxy]:
    """The network between the worker and Redis."""
    port = urlsplit(valkey_url).port
    assert port
    async with Proxy(port) as proxy:
        yield proxy


@pytest.fixture
async def worker(valkey_url: str, cell: Cell, way: Proxy) -> AsyncIterator[Worker]:
    url = valkey_url.replace(f":{urlsplit(valkey_url).port}", f":{way.port}")
    bounds = {"batch_max": BATCH_MAX, "batches_in_flight_max": 1, "grab_deadline_s": DEADLINE_S}
    async with grab_worker(url, cell.name, **bounds) as worker:
        yield worker


@dataclass(slots=True)
class Heard:
    """The answers to a crowd in some time."""

    answers: Counter[str] = field(default_factory=Counter)
    waits_s: dict[str, list[float]] = field(default_factory=dict)
    late_s: float = 0.0

    async def look_at_the_clock(self, ends_s: float) -> None:
        """Greatest delay of a sleep: the cost of the machine's other work, which is not under test."""
        while (now_s := time.monotonic()) < ends_s:
            await asyncio.sleep(LOOK_S)
            self.late_s = max(self.late_s, time.monotonic() - now_s - LOOK_S)

    def longest_s(self, name: str) -> float:
        return max(self.waits_s.get(name, [0.0]))


async def rush(crowd: LaneClients, members: "itertools.count[int]", clients: int, lasts_s: float) -> Heard:
    """Clients who ask one after another, each time as somebody else, until the time is over."""
    heard = Heard()
    ends_s = time.monotonic() + lasts_s

    async def one() -> None:
        while time.monotonic() < ends_s:
            asked_s = time.monotonic()
            answer = await crowd.grab(f"m-{next(members)}")
            name = "won" if answer.status_code == 201 else str(answer.json()["code"])
            if answer.status_code == 503:
                assert answer.headers["retry-after"].isdigit()
            if asked_s + DEADLINE_S < ends_s:
                heard.answers[name] += 1
            heard.waits_s.setdefault(name, []).append(time.monotonic() - asked_s)
            await asyncio.sleep(0.5 if name != "won" else 0)

    await asyncio.gather(heard.look_at_the_clock(ends_s), *(one() for _ in range(clients)))
    return heard


@pytest.mark.slow
async def test_a_redis_that_is_too_slow_for_the_crowd_serves_as_many_as_it_can(worker: Worker, way: Proxy) -> None:
    members = itertools.count()
    async with LaneClients(worker) as crowd:
        way.weather.delay_s = SLOW_S
        fitting = await rush(crowd, members, BATCH_MAX, 5.0)
        beyond = await rush(crowd, members, 12 * BATCH_MAX, 5.0)
        way.fine()
        await asyncio.sleep(DEADLINE_S)
        again = await rush(crowd, members, 4 * BATCH_MAX, DEADLINE_S + 0.5)
    print(fitting.answers, beyond.answers, again.answers)  # noqa: T201
    assert fitting.answers["won"] > 20
    assert beyond.answers["won"] > 0.6 * fitting.answers["won"], "beyond capacity, the full rate goes on"
    assert set(beyond.answers) <= {"won", "overloaded", "outcome-unknown"}
    assert beyond.answers["overloaded"] > beyond.answers["won"]
    assert beyond.answers["outcome-unknown"] < 0.2 * beyond.answers["won"], "what cannot be told in time is not begun"
    assert max(map(beyond.longest_s, beyond.waits_s)) < DEADLINE_S + LATE_S + 2 * beyond.late_s
    assert set(again.answers) == {"won"}, "it comes back by itself"
