"""Claims that are told only once they are on record (`GRAB_DURABILITY=record`)."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis
from sqlalchemy import text

from grab_service.cell.scripts import ScriptSources
from grab_service.cell.store import Cell
from grab_service.server.worker import Worker
from grab_service.vocabulary.campaigns import BenefitKind
from grab_service.vocabulary.claims import on_record, parse_holding
from grab_service.vocabulary.durability import Durability, Recorded
from tests.harness.backend import Backend
from tests.harness.cells import Published, arm, enrol, grab
from tests.harness.service import Service, at, running_service
from tests.harness.worker import LaneClients, grab_worker, publish

DISPLAY = '{"title": "中秋", "benefit": {"kind": "generated_code", "name": "月饼", "valid_days": 30}}'
RUSH = Published(display=DISPLAY, benefit_kind=BenefitKind.GENERATED_CODE, stock=3)
MEMBERS = [f"m-{number}" for number in range(10)]
DEADLINE_S = 0.6


@pytest.fixture
async def cell(valkey_url: str, cell_name: str, redis_client: Redis) -> Cell:
    sources = ScriptSources.read()
    await arm(redis_client, cell_name, sources)
    cell = Cell(redis_client, cell_name, sources)
    await enrol(cell, MEMBERS)
    return cell


@pytest.fixture
async def worker(valkey_url: str, cell: Cell) -> AsyncIterator[Worker]:
    async with grab_worker(valkey_url, cell.name, durability=Durability.RECORD, grab_deadline_s=DEADLINE_S) as worker:
        yield worker


@pytest.fixture
async def crowd(worker: Worker) -> AsyncIterator[LaneClients]:
    async with LaneClients(worker) as crowd:
        yield crowd


async def note(redis: Redis, cell: Cell, seq: int, epoch: int = 1) -> None:
    """As the ledger does after a commit."""
    await redis.hset(cell.keys.cell, "recorded", str(Recorded(epoch, seq)))


async def test_a_winner_hears_of_the_claim_when_the_ledger_has_noted_its_seq_and_not_before(
    crowd: LaneClients, cell: Cell, redis_client: Redis
) -> None:
    seq = await publish(cell, RUSH)
    first, second = asyncio.create_task(crowd.grab("m-1")), None
    await asyncio.sleep(0.1)
    second = asyncio.create_task(crowd.grab("m-2"))
    await asyncio.sleep(0.1)
    assert not first.done()
    await note(redis_client, cell, seq + 1)
    won = await asyncio.wait_for(first, 0.2)
    assert (won.status_code, won.json()["unit_no"]) == (201, 1)
    assert not second.done()
    await note(redis_client, cell, seq + 2)
    won = await asyncio.wait_for(second, 0.2)
    assert (won.status_code, won.json()["unit_no"]) == (201, 2)


async def test_without_its_record_the_outcome_of_a_grab_is_unknown_and_so_is_that_of_its_repeat(
    crowd: LaneClients, cell: Cell, redis_client: Redis
) -> None:
    seq = await publish(cell, RUSH)
    for _ in range(2):
        silent = await crowd.grab("m-1")
        assert (silent.status_code, silent.json()["code"]) == (503, "outcome-unknown")
    await note(redis_client, cell, seq + 1)
    again = await crowd.grab("m-1")
    assert (again.status_code, again.json()["seq"]) == (200, seq + 1)


async def test_losers_do_not_wait(crowd: LaneClients, cell: Cell) -> None:
    await publish(cell, RUSH)
    answers = await crowd.all_grab(MEMBERS)
    assert Counter(answer.status_code for answer in answers) == {409: 7, 503: 3}


async def test_the_note_of_another_life_tells_nobody(crowd: LaneClients, cell: Cell, redis_client: Redis) -> None:
    seq = await publish(cell, RUSH)
    await note(redis_client, cell, seq + 100, epoch=2)
    assert (await crowd.grab("m-1")).json()["code"] == "outcome-unknown"


async def test_claims_of_a_member_are_those_on_record(cell: Cell, worker: Worker, redis_client: Redis) -> None:
    seq = await publish(cell, Published(campaign_id="c", stock=5, limit_per_member=3))
    await grab(cell, [("m-1", "a"), ("m-1", "b")])
    for recorded, seqs in ((None, []), (seq, []), (seq + 1, [seq + 1]), (seq + 2, [seq + 1, seq + 2])):
        if recorded is not None:
            await note(redis_client, cell, recorded)
        (holding,) = await worker.cell.read_claims("m-1", ["c"])
        assert [record.seq for record in parse_holding(holding)] == seqs


def test_claims_of_an_earlier_life_are_on_record() -> None:
    holding = b"\n".join(
        b"1\tseq=%d\tepoch=%d\tat_ms=1\tstate=fulfilled\tunit_no=1\tordinal=1\tcode=\tkey=" % place
        for place in ((70, 1), (80, 2), (81, 2))
    )
    assert [record.seq for record in parse_holding(on_record(holding, Recorded(2, 80)))] == [70, 80]
    assert parse_holding(on_record(holding, Recorded())) == []


@pytest.fixture
async def service(valkey_url: str, database_url: str, cell_name: str) -> AsyncIterator[Service]:
    async with running_service(valkey_url, database_url, cell_name, durability=Durability.RECORD) as service:
        yield service


async def test_with_a_ledger_winners_hear_at_once_and_without_one_nobody_hears(service: Service) -> None:
    await service.enrol(*MEMBERS)
    campaign_id = await service.publish(releases=[{"opens_at": at(-1), "quantity": 4}], limit_per_member=2)
    answers = await asyncio.gather(*(service.grab(name, campaign_id, **{"Idempotency-Key": "first"}) for name in MEMBERS[:3]))
    assert Counter(answer.status_code for answer in answers) == {201: 3}
    assert all(answer.elapsed.total_seconds() < 1 for answer in answers)
    await service.drain.stop()
    lone = await service.grab("m-0", campaign_id, **{"Idempotency-Key": "second"})
    assert lone.json()["code"] == "outcome-unknown"
    headers = service.member("m-0")
    mine = (await service.http.get("/v1/me/claims", headers=headers)).json()["items"]
    assert [claim["seq"] for claim in mine] == [answers[0].json()["seq"]]
    shown = (await service.http.get(f"/v1/campaigns/{campaign_id}", headers=headers)).json()
    assert [claim["claim_id"] for claim in shown["my_claims"]] == [answers[0].json()["claim_id"]]
    service.drain.start()
    again = await service.grab("m-0", campaign_id, **{"Idempotency-Key": "second"})
    assert again.status_code == 200
    assert len((await service.http.get("/v1/me/claims", headers=headers)).json()["items"]) == 2


async def test_nothing_is_noted_that_postgres_has_not_committed(backend: Backend) -> None:
    await backend.begin()
    await backend.schedule(stock=10, publish=False)
    await backend.log(2, "published", {"campaign_id": "c", "version": 1, "releases": "1:10"})
    claims = '[["m3",3,1,"CODE",""]]'
    await backend.log(3, "granted", {"campaign_id": "c", "claims": claims})
    drain = backend.new_drain(awaited=True)
    async with backend.link() as link:
        async with backend.engine.begin() as connection:
            await connection.execute(text("LOCK TABLE claims"))
            step = asyncio.create_task(drain.step(link))
            await asyncio.sleep(0.2)
            assert not step.done()
            noted: Any = await backend.redis.hget(backend.keys.cell, "recorded")
        assert Recorded.parse(noted or b"").seq < 3
        assert await step
        await drain.step(link)
    noted = await backend.redis.hget(backend.keys.cell, "recorded")
    assert drain.cursor is not None
    assert noted == drain.cursor.note.encode()
    assert Recorded.parse(noted)[:2] == (1, 3)


async def test_an_older_note_that_a_ledger_left_which_slept_is_written_over(service: Service) -> None:
    await service.enrol(*MEMBERS)
    campaign_id = await service.publish()
    assert (await service.grab("m-0", campaign_id)).status_code == 201
    cell = service.worker.cell.keys.cell
    noted: Any = await service.redis.hget(cell, "recorded")
    await service.redis.hset(cell, "recorded", "1:1")
    # The worker has heard of the newer one, and an older one takes nothing back.
    await asyncio.sleep(0.1)
    assert (await service.grab("m-0", campaign_id)).status_code == 200
    async with asyncio.timeout(5):
        while await service.redis.hget(cell, "recorded") != noted:
            await asyncio.sleep(0.05)


async def test_a_redis_that_refuses_the_note_does_not_stop_the_drain(mortal: Backend) -> None:
    await mortal.begin()
    await mortal.schedule(stock=10, publish=False)
    await mortal.log(2, "published", {"campaign_id": "c", "version": 1, "releases": "1:10"})
    drain = mortal.new_drain(awaited=True)
    async with mortal.link() as link:
        await mortal.redis.config_set("maxmemory", "1mb")
        while await drain.step(link):
            pass
        assert (await mortal.cursor()).last_seq == 2
        noted: Any = await mortal.redis.hget(mortal.keys.cell, "recorded")
        assert Recorded.parse(noted)[:2] == (1, 0)
        await mortal.redis.config_set("maxmemory", "0")
        await drain.step(link)
    noted = await mortal.redis.hget(mortal.keys.cell, "recorded")
    assert Recorded.parse(noted)[:2] == (1, 2)
