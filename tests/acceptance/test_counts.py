"""The counts of a running service are what its crowd heard, and never more, whichever process is killed."""

import asyncio
import contextlib
import itertools
import json
import os
import signal
import time
from collections import Counter
from typing import Final

import httpx
import pytest

from tests.harness.district import District, Districts

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240), pytest.mark.asyncio(loop_scope="module")]

MEMBERS: Final = 100
STOCK: Final = 20
CLIENTS: Final = 16
TELLS: Final = {201: "won", 200: "held"}
SUMS: Final = (
    "SELECT coalesce(json_object_agg(outcome, n), '{}') FROM"
    " (SELECT outcome, sum(n) AS n FROM counts WHERE campaign_id = $1 GROUP BY outcome) AS summed"
)
LAST_SECOND_S: Final = 1.3
"""A second, and what the worker and the clock of a busy machine may add to it."""


class Crowd:
    """Members who grab until they are told to stop; what they heard, and when."""

    def __init__(self, district: District, campaign_id: str) -> None:
        self._district = district
        self._campaign_id = campaign_id
        self._numbers = itertools.count()
        self.sent = 0
        self.heard: list[tuple[float, str]] = []

    async def rush(self, seconds: float) -> None:
        """Each grab on a connection of its own, so that every worker gets some."""
        end_s = time.monotonic() + seconds
        limits = httpx.Limits(max_connections=CLIENTS, max_keepalive_connections=0)
        async with httpx.AsyncClient(base_url=self._district.programs.url, limits=limits, timeout=30, trust_env=False) as http:
            await asyncio.gather(*(self._grab_on(http, end_s) for _ in range(CLIENTS)))

    async def _grab_on(self, http: httpx.AsyncClient, end_s: float) -> None:
        while time.monotonic() < end_s:
            number = next(self._numbers)
            member = "nobody" if number % 10 == 9 else self._district.pass_of(f"m-{1 + number % MEMBERS}").decode()
            self.sent += 1
            with contextlib.suppress(httpx.TransportError):
                answer = await http.post(
                    f"/v1/campaigns/{self._campaign_id}/claims", headers={"Authorization": f"Bearer {member}"}
                )
                code = TELLS.get(answer.status_code) or answer.json()["code"].replace("-", "_")
                self.heard.append((time.monotonic(), code))

    @property
    def counts(self) -> Counter[str]:
        return Counter(code for _, code in self.heard)


async def sums_of(district: District, campaign_id: str) -> Counter[str]:
    return Counter(json.loads(await district.ask_postgres(SUMS, campaign_id)))


async def report_won(district: District, campaign_id: str) -> int:
    async with district.ops("viewer") as ops:
        report = (await ops.get(f"/v1/ops/campaigns/{campaign_id}/report")).json()
    assert sum(one["won"] for one in report["seconds"]) == sum(org["granted"] for org in report["by_org"])
    return sum(one["won"] for one in report["seconds"])


async def test_sums_over_two_workers_are_what_the_crowd_heard_though_the_ledger_is_killed(districts: Districts) -> None:
    district = await districts(2)
    await district.enrol(MEMBERS)
    campaign_id = await district.open_campaign(STOCK)
    crowd = Crowd(district, campaign_id)
    rushing = asyncio.create_task(crowd.rush(6))

    async def some() -> bool:
        return (await sums_of(district, campaign_id)).total() > 0

    await district.until(some)
    assert not rushing.done()
    await district.ledger.kill()
    await district.ledger.start()
    await rushing
    assert crowd.counts.keys() >= {"won", "held", "sold_out", "pass_invalid"}

    async def equal() -> bool:
        return await sums_of(district, campaign_id) == crowd.counts

    await district.until(equal)
    await asyncio.sleep(2)
    assert await equal(), "some were added twice"
    assert await report_won(district, campaign_id) == crowd.counts["won"] == STOCK
    async with district.valkey.client() as redis:
        assert len(await redis.hgetall(district.keys.workers)) == 2


async def test_a_worker_that_is_killed_takes_its_last_second_along_and_no_more(districts: Districts) -> None:
    district = await districts(2)
    await district.enrol(MEMBERS)
    campaign_id = await district.open_campaign(STOCK)
    crowd = Crowd(district, campaign_id)
    rushing = asyncio.create_task(crowd.rush(5))
    await asyncio.sleep(2 + (0.8 - time.time()) % 1)  # most of a second is not written yet
    killed_at_s = time.monotonic()
    os.kill(district.worker_pids()[0], signal.SIGKILL)
    await rushing
    await asyncio.sleep(4)
    counted, heard = (await sums_of(district, campaign_id)).total(), len(crowd.heard)
    last_second = sum(killed_at_s - LAST_SECOND_S < at_s <= killed_at_s for at_s, _ in crowd.heard)
    assert heard - last_second <= counted <= crowd.sent
    assert last_second > 0
    assert await report_won(district, campaign_id) == STOCK
