"""Workers come and go, and no client notices: a rolling restart under load, and a service that ends with work in hand."""

import asyncio
import itertools
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator

import httpx
import orjson
import pytest
import pytest_asyncio

from grab_service.vocabulary.durability import Durability
from tests.harness.district import HEAD, District, Districts, Site, running_district
from tests.harness.keep_alive_clients import KeepAliveClient, Notes, keeping_on

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240), pytest.mark.asyncio(loop_scope="module")]

WITH_TWO = pytest.mark.xdist_group("restarts of two workers")
"""Tests that share a district."""


MEMBERS = 4_000


def ordinary(district: District, campaign_id: str, number: int) -> Iterator[bytes]:
    """Requests of waiting members: polls, a call that takes Postgres, and one with a body."""
    mine = b"Host: grab\r\nAuthorization: Bearer %b\r\n" % district.pass_of(f"m-{number}")
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
    return b"GET /v1/me/claims HTTP/1.1\r\nHost: grab\r\nAuthorization: Bearer %b\r\n\r\n" % district.pass_of(f"m-{number}")


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


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=WITH_TWO)])
async def test_a_rolling_restart_under_load_shows_no_error_to_anybody(districts: Districts, workers: int) -> None:
    district = await districts(workers)
    await district.enrol(MEMBERS)
    async with district.ops() as ops:
        campaign_id = await district.open_campaign(MEMBERS)
        crowd = iter(district.grabs(campaign_id, range(1, MEMBERS + 1)))
        requests = [crowd] * 12 + [ordinary(district, campaign_id, number) for number in range(1, 9)]
        pids = set(district.worker_pids())
        async with keeping_on(district.settings.port, requests, think_s=0.03) as notes:
            for _ in range(2):
                await asyncio.sleep(0.5)
                os.kill(district.api.pid, signal.SIGHUP)
                pids = await all_workers_are_new(district, pids)
        assert notes.errors == []
        assert set(notes.statuses) == {200, 201}, notes.statuses
        assert notes.goodbyes > 0, "nobody was on a worker that ended"
        won = [claim for claim in map(orjson.loads, notes.bodies) if "unit_no" in claim]
        assert len(won) == notes.statuses[201] > 200
        assert len({claim["unit_no"] for claim in won}) == len(won) == len({claim["member_id"] for claim in won})
        await audited(district, ops)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def recorded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[District]:
    """A district whose winners hear of what is on record."""
    site = Site(durability=Durability.RECORD)
    async with running_district(tmp_path_factory.mktemp("recorded"), site, members=MEMBERS) as district:
        yield district


BY_RECORD = pytest.mark.xdist_group("restarts with claims told by their record")


@BY_RECORD
@pytest.mark.parametrize("in_time", [True, False], ids=["the record comes in time", "it does not"])
async def test_winners_who_wait_for_their_record_are_answered_before_their_worker_ends(
    recorded: District, in_time: bool
) -> None:
    campaign_id = await recorded.open_campaign(100)
    notes, old = Notes(), set(recorded.worker_pids())
    grabs = recorded.grabs(campaign_id, range(1, 41))
    # A page of another origin takes the ordinary way, through FastAPI.
    grabs[::2] = [grab.replace(b"Host: ", b"Origin: https://elsewhere.example\r\nHost: ", 1) for grab in grabs[::2]]
    clients = [KeepAliveClient(recorded.settings.port, notes, keeps_bodies=True) for _ in grabs]
    await asyncio.gather(*(client.ask(b"GET /v1/time HTTP/1.1\r\nHost: grab\r\n\r\n") for client in clients))
    os.kill(recorded.ledger.pid, signal.SIGSTOP)
    try:
        began_s = time.monotonic()
        waiting = [asyncio.create_task(client.ask(grab)) for client, grab in zip(clients, grabs, strict=True)]
        await asyncio.sleep(0.3)
        assert notes.statuses == {200: 40}, "nobody is told before the record"
        for pid in old:
            os.kill(pid, signal.SIGTERM)
        await asyncio.sleep(0.4)
        assert not any(task.done() for task in waiting)
        if in_time:
            os.kill(recorded.ledger.pid, signal.SIGCONT)
        answers = await asyncio.gather(*waiting)
        assert time.monotonic() - began_s < recorded.settings.grab_deadline_s + 1
    finally:
        os.kill(recorded.ledger.pid, signal.SIGCONT)
    assert answers == [201 if in_time else 503] * 40, notes
    assert (notes.broken, notes.goodbyes) == ([], 40)
    assert set(notes.refusals) == (set() if in_time else {"503 outcome-unknown"})
    await all_workers_are_new(recorded, old)
    await recorded.programs.wait_ready()
    assert await asyncio.gather(*(client.ask(grab) for client, grab in zip(clients, grabs, strict=True))) == [200] * 40, notes
    await asyncio.gather(*(client.hang_up() for client in clients))
    async with recorded.ops() as ops:
        await audited(recorded, ops)


@BY_RECORD
async def test_a_rolling_restart_in_mid_rush_loses_no_winner_who_waits_for_the_record(recorded: District) -> None:
    campaign_id = await recorded.open_campaign(MEMBERS)
    crowd = iter(recorded.grabs(campaign_id, range(1, MEMBERS + 1)))
    pids = set(recorded.worker_pids())
    async with keeping_on(recorded.settings.port, [crowd] * 16, think_s=0.01) as notes:
        await asyncio.sleep(0.3)
        os.kill(recorded.api.pid, signal.SIGHUP)
        await all_workers_are_new(recorded, pids)
    assert notes.errors == []
    assert set(notes.statuses) == {201}
    assert notes.goodbyes > 0, "nobody was on a worker that ended"
    won = {claim["claim_id"] for claim in map(orjson.loads, notes.bodies)}
    on_record = await recorded.ask_postgres("SELECT count(*) FROM claims WHERE campaign_id = $1", campaign_id)
    assert len(won) == notes.statuses[201] == on_record
    async with recorded.ops() as ops:
        await audited(recorded, ops)


@WITH_TWO
async def test_a_service_told_to_end_answers_what_is_under_way(districts: Districts) -> None:
    district = await districts(2)
    await district.enrol(100)
    async with district.ops() as ops:
        campaign_id = await district.open_campaign(100)
        notes = Notes()
        clients = [KeepAliveClient(district.settings.port, notes, keeps_bodies=True) for _ in range(40)]
        warm = b"GET /v1/time HTTP/1.1\r\nHost: grab\r\n\r\n"
        await asyncio.gather(*(client.ask(warm) for client in clients))
        token = ops.headers["Authorization"].encode()
        new = HEAD.encode() + b"".join(b"n-%d,org-1,,x,,5,2020-01-31,active\n" % number for number in range(50))
        os.kill(district.valkey.pid, signal.SIGSTOP)
        try:
            half = len(new) // 2
            reader, writer = await asyncio.open_connection("127.0.0.1", district.settings.port)
            writer.write(
                b"POST /v1/ops/members/import HTTP/1.1\r\nHost: grab\r\nAuthorization: %b\r\n"
                b"Content-Type: text/csv\r\nContent-Length: %d\r\n\r\n%b" % (token, len(new), new[:half])
            )
            waiting = [
                asyncio.create_task(client.ask(grab))
                for client, grab in zip(clients, district.grabs(campaign_id, range(1, 41)), strict=True)
            ]
            await asyncio.sleep(0.3)
            os.kill(district.api.pid, signal.SIGTERM)
            await asyncio.sleep(0.6)
        finally:
            os.kill(district.valkey.pid, signal.SIGCONT)
        assert await asyncio.gather(*waiting) == [201] * 40, notes
        assert notes.goodbyes == 40
        writer.write(new[half:])
        answer = await asyncio.wait_for(reader.read(), 10)
        assert answer.startswith(b"HTTP/1.1 200"), answer
        assert b"connection: close" in answer
        writer.close()
        async with asyncio.timeout(20):
            while district.api.running:
                await asyncio.sleep(0.05)
