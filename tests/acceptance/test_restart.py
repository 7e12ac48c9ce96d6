"""Workers come and go, and no client notices: a rolling restart under load, and a service that ends with work in hand."""

import asyncio
import itertools
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import orjson
import pytest

from grab_service.vocabulary.passes import PassKeys, mint
from grab_service.vocabulary.times import rfc3339
from loadtest.generator.requests import Target, build_requests
from loadtest.passes import Member
from tests.acceptance.district import District, running_district
from tests.acceptance.keepers import Keeper, Notes, keeping_on

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

MEMBERS = 4_000
HEAD = "member_id,org_id,person_id,name,tags,birthday_month,joined_on,status\n"


def bearer(district: District, member_id: str) -> bytes:
    (kid, secret), *_ = district.settings.secrets.items()
    keys = PassKeys.build(district.settings.cell, [(kid, secret.get_secret_value().encode())])
    return mint(keys, member_id, int(time.time()) + 3_600).encode()


def grabs(district: District, campaign_id: str, numbers: range) -> list[bytes]:
    target = Target("127.0.0.1", district.settings.port, f"/v1/campaigns/{campaign_id}/claims")
    return build_requests([Member(b"m-%d" % number, bearer(district, f"m-{number}")) for number in numbers], target)


def ordinary(district: District, campaign_id: str, number: int) -> Iterator[bytes]:
    """What members do while they wait, and what takes Postgres, and what has a body."""
    mine = b"Host: grab\r\nAuthorization: Bearer %b\r\n" % bearer(district, f"m-{number}")
    body = orjson.dumps({"member_id": f"m-{number}"})
    return itertools.cycle(
        [
            b"GET /v1/campaigns HTTP/1.1\r\n%b\r\n" % mine,
            b"GET /v1/campaigns/%b/state HTTP/1.1\r\n%b\r\n" % (campaign_id.encode(), mine),
            b"GET /v1/me/claims HTTP/1.1\r\n%b\r\n" % mine,
            b"POST /v1/dev/sessions HTTP/1.1\r\nHost: grab\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body),
        ]
    )


def my_claims(district: District, number: int) -> bytes:
    return b"GET /v1/me/claims HTTP/1.1\r\nHost: grab\r\nAuthorization: Bearer %b\r\n\r\n" % bearer(district, f"m-{number}")


async def open_campaign(ops: httpx.AsyncClient, stock: int, members: int = MEMBERS) -> str:
    rows = "".join(f"m-{number},org-1,,张三,,5,2020-01-31,active\n" for number in range(1, members + 1))
    imported = await ops.post(
        "/v1/ops/members/import", content=(HEAD + rows).encode(), headers={"Content-Type": "text/csv"}, timeout=60
    )
    assert imported.status_code == 200, imported.text
    now_ms = time.time_ns() // 1_000_000
    created = await ops.post(
        "/v1/ops/campaigns",
        json={
            "title": "月饼",
            "releases": [{"opens_at": rfc3339(now_ms + 1_000), "quantity": stock}],
            "closes_at": rfc3339(now_ms + 3_600_000),
            "benefit": {"kind": "generated_code", "name": "月饼一盒"},
        },
    )
    campaign_id = str(created.json()["campaign_id"])
    scheduled = await ops.post(f"/v1/ops/campaigns/{campaign_id}/schedule", json={"reason": "test"})
    assert scheduled.status_code == 200, scheduled.text
    await asyncio.sleep(1.2)
    return campaign_id


async def all_workers_are_new(district: District, old: set[int], patience_s: float = 60) -> set[int]:
    async with asyncio.timeout(patience_s):
        while True:
            pids = set(district.worker_pids())
            if len(pids) == district.settings.workers and not pids & old:
                return pids
            await asyncio.sleep(0.1)


async def audited(district: District, ops: httpx.AsyncClient) -> None:
    async with asyncio.timeout(30):
        while (audit := await ops.get("/v1/ops/audit")).status_code != 200:
            await asyncio.sleep(0.3)
    assert audit.json()["redis_equals_postgres"], audit.text
    assert all(one["holds"] for one in audit.json()["invariants"].values()), audit.text


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_rolling_restart_under_load_shows_no_error_to_anybody(tmp_path: Path, workers: int) -> None:
    async with running_district(tmp_path, workers=workers) as district, district.ops() as ops:
        campaign_id = await open_campaign(ops, stock=MEMBERS)
        crowd = iter(grabs(district, campaign_id, range(1, MEMBERS + 1)))
        requests = [crowd] * 12 + [ordinary(district, campaign_id, number) for number in range(1, 9)]
        pids = set(district.worker_pids())
        async with keeping_on(district.settings.port, requests, think_s=0.03) as notes:
            for _ in range(2):
                await asyncio.sleep(0.5)
                os.kill(district.programs.api.pid, signal.SIGHUP)
                pids = await all_workers_are_new(district, pids)
        assert notes.errors == []
        assert set(notes.statuses) == {200, 201}, notes.statuses
        assert notes.goodbyes > 0, "nobody was on a worker that ended"
        won = [claim for claim in map(orjson.loads, notes.bodies) if "unit_no" in claim]
        assert len(won) == notes.statuses[201] > 200
        assert len({claim["unit_no"] for claim in won}) == len(won) == len({claim["member_id"] for claim in won})
        await audited(district, ops)


async def test_a_service_told_to_end_answers_what_is_under_way(tmp_path: Path) -> None:
    async with running_district(tmp_path, workers=2) as district, district.ops() as ops:
        campaign_id = await open_campaign(ops, stock=100, members=100)
        notes = Notes()
        keepers = [Keeper(district.settings.port, notes, keeps_bodies=True) for _ in range(40)]
        warm = b"GET /v1/time HTTP/1.1\r\nHost: grab\r\n\r\n"
        await asyncio.gather(*(keeper.ask(warm) for keeper in keepers))
        token = ops.headers["Authorization"].encode()
        new = HEAD.encode() + b"".join(b"n-%d,org-1,,x,,5,2020-01-31,active\n" % number for number in range(50))
        os.kill(district.stack.redis.pid, signal.SIGSTOP)
        try:
            half = len(new) // 2
            reader, writer = await asyncio.open_connection("127.0.0.1", district.settings.port)
            writer.write(
                b"POST /v1/ops/members/import HTTP/1.1\r\nHost: grab\r\nAuthorization: %b\r\n"
                b"Content-Type: text/csv\r\nContent-Length: %d\r\n\r\n%b" % (token, len(new), new[:half])
            )
            waiting = [
                asyncio.create_task(keeper.ask(grab))
                for keeper, grab in zip(keepers, grabs(district, campaign_id, range(1, 41)), strict=True)
            ]
            await asyncio.sleep(0.3)
            os.kill(district.programs.api.pid, signal.SIGTERM)
            await asyncio.sleep(0.6)
        finally:
            os.kill(district.stack.redis.pid, signal.SIGCONT)
        assert await asyncio.gather(*waiting) == [201] * 40, notes
        assert notes.goodbyes == 40
        writer.write(new[half:])
        answer = await asyncio.wait_for(reader.read(), 10)
        assert answer.startswith(b"HTTP/1.1 200"), answer
        assert b"connection: close" in answer
        writer.close()
        async with asyncio.timeout(20):
            while district.programs.api.running:
                await asyncio.sleep(0.05)
