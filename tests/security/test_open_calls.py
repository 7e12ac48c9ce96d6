"""Callers without a pass cannot exhaust the capacity for grabs: each open call on thousands of connections at once."""

import asyncio
import itertools
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from grab_service.cell.store import Cell
from tests.harness.district import Site, running_district
from tests.harness.hostile_clients import Kind, unleash
from tests.harness.keep_alive_clients import keeping_on
from tests.harness.service import Service

CONNECTIONS = 2_000
LASTS_S = 5.0
COUNTED_S = 2.0
MADE_UP = "zzzzzzzzzz"
UNKNOWN = ("campaign-not-found", "claim-not-found")


async def test_ids_that_somebody_makes_up_are_refused_without_the_cell(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def asked(*_: object) -> None:
        raise AssertionError("the cell was asked")

    await service.enrol("m-1")
    while not service.worker.view.is_fresh:
        await asyncio.sleep(0.005)
    for name in ("explain", "grab", "read_campaigns", "read_claims"):
        monkeypatch.setattr(Cell, name, asked)
    for headers in ({}, service.member("m-1")):
        campaign = f"/v1/campaigns/{MADE_UP}"
        for path in (campaign, f"{campaign}/state", f"{campaign}/eligibility", f"/v1/claims/{MADE_UP}.1.1"):
            answer = await service.http.get(path, headers=headers)
            assert answer.json()["code"] in {*UNKNOWN, "pass-invalid"}, (path, answer.text)
        answer = await service.http.post(f"/v1/campaigns/{MADE_UP}/claims", headers=headers)
        assert answer.json()["code"] in {*UNKNOWN, "pass-invalid"}, answer.text


def open_requests(description: dict[str, Any], campaign_id: str) -> list[bytes]:
    """One request for each call that no pass is needed for, and one without a pass for each call of members."""
    requests = []
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            needs_ops = any("opsToken" in one for one in operation.get("security", []))
            if needs_ops or path.startswith("/v1/dev"):
                continue
            for known in (campaign_id, MADE_UP):
                address = path.replace("{campaign_id}", known).replace("{claim_id}", f"{known}.1.1")
                address = re.sub(r"{[a-z_]+}", "sold-out", address)
                body = b'{"assertion":"x.y.z"}' if "requestBody" in operation else b""
                head = f"{method.upper()} {address} HTTP/1.1\r\nHost: grab\r\nContent-Type: application/json\r\n"
                requests.append(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    return list(dict.fromkeys(requests))


async def calls_of_scripts(redis: Redis) -> int:
    return int((await redis.info("commandstats"))["cmdstat_evalsha"]["calls"])


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_no_open_call_on_two_thousand_connections_reaches_redis_or_costs_an_honest_grab(tmp_path: Path) -> None:
    async with running_district(tmp_path, Site(workers=1), members=4_000) as district, district.valkey.client() as redis:
        campaign_id = await district.open_campaign(4_000)
        async with httpx.AsyncClient(base_url=district.programs.url, trust_env=False) as client:
            requests = open_requests((await client.get("/openapi.json")).json(), campaign_id)
        assert len(requests) > 15, requests
        honest = iter(district.grabs(campaign_id, range(1, 4_001)))
        pages = itertools.cycle(
            b"GET %b HTTP/1.1\r\nHost: grab\r\nAuthorization: Bearer %b\r\n\r\n" % (path, district.pass_of("m-9"))
            for path in (b"/v1/campaigns", f"/v1/campaigns/{campaign_id}".encode())
        )
        before = await calls_of_scripts(redis)
        await asyncio.sleep(COUNTED_S)
        alone = (await calls_of_scripts(redis) - before) / COUNTED_S
        hostile = asyncio.create_task(unleash(district.settings.port, Kind.ASKERS, CONNECTIONS, requests, tmp_path, LASTS_S))
        await asyncio.sleep(1.5)
        before = await calls_of_scripts(redis)
        async with (
            keeping_on(district.settings.port, [honest] * 4, think_s=0.02) as of_grabs,
            keeping_on(district.settings.port, [pages], think_s=0.1) as of_pages,
        ):
            await asyncio.sleep(COUNTED_S)
        calls = (await calls_of_scripts(redis) - before) / COUNTED_S
        told = await hostile
        print(told, of_grabs.statuses, of_pages.statuses, alone, calls)  # noqa: T201
        assert of_grabs.errors == []
        assert set(of_grabs.statuses) == {201}, of_grabs.statuses
        assert of_pages.errors == []
        assert set(of_pages.statuses) == {200}, of_pages.statuses
        # A call for each honest grab and page, and the polls of the view, which come no more often than without the hostile.
        honest_calls = (of_grabs.statuses.total() + of_pages.statuses.total()) / COUNTED_S
        assert calls <= 1.2 * alone + honest_calls + 10, "the hostile clients reach Redis"
        assert sum(told["answers"].values()) > CONNECTIONS, told
