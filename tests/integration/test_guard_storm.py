"""Every acknowledged claim is on record, and not one unit too many, whichever process dies in a rush."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from grab_service.audit import audit_cell
from grab_service.cell.scripts import ScriptSources
from grab_service.cell.store import Cell, CellError
from grab_service.embedded.valkey import ValkeyServer
from grab_service.vocabulary.claims import ClaimRecord
from tests.harness.backend import Backend, until
from tests.harness.backend import backend as a_backend

pytestmark = pytest.mark.slow

MEMBERS = 1500
STOCK = 1000
BATCH = 5


@pytest.fixture
async def mortal(valkey: ValkeyServer, database_url: str, cell_name: str) -> AsyncIterator[Backend]:
    async with a_backend(valkey.url, database_url, cell_name, redis_timeout_s=1.0) as built:
        yield built


class BatchClients:
    """Members who grab until they hear an answer, through a view of the cell of their own; `told` is what they were told."""

    def __init__(self, backend: Backend) -> None:
        self.cell = Cell(backend.service, backend.settings.cell, ScriptSources.read())
        self.told: dict[str, bytes] = {}
        self.contradictions: list[tuple[str, bytes, bytes]] = []
        self.unanswered = 0

    async def rush(self, names: list[str]) -> None:
        """In small batches, each repeated until it is answered."""
        for at in range(0, len(names), BATCH):
            batch = names[at : at + BATCH]
            while not await self._ask(batch):
                self.unanswered += 1
                await asyncio.sleep(0.01)

    async def _ask(self, batch: list[str]) -> bool:
        triples = [part for name in batch for part in (name, "", f"CODE-{name}-{random.getrandbits(64)}")]
        try:
            reply = await self.cell.grab("c", b"b", triples)
        except CellError:
            return False
        for name, answer in zip(batch, reply.answers, strict=True):
            outcome, _, rest = answer.partition(b"\t")
            record = rest if outcome in {b"won", b"held"} else outcome
            before = self.told.setdefault(name, record)
            # Sold out may turn into a claim (a unit that was decided and not heard of), a claim into nothing else.
            if before != record and b"\t" in before:
                self.contradictions.append((name, before, record))
            if b"\t" in record:
                self.told[name] = record
        return True


async def _storm(backend: Backend, valkey: ValkeyServer, crowd: BatchClients, names: list[str], deaths: int) -> None:
    """Redis dies each time that another share of the crowd was answered, so that a fast machine is not done before."""
    rushes = [asyncio.create_task(crowd.rush(names[at::6])) for at in range(6)]
    for death in range(1, deaths + 1):
        while len(crowd.told) < death * len(names) // (deaths + 1):
            await asyncio.sleep(0.001)
        await valkey.kill()
        await asyncio.sleep(random.uniform(0, 0.1))
        await valkey.start()
        await backend.open_for_business(10)
    await asyncio.gather(*rushes)


async def _everything_adds_up(backend: Backend, crowd: BatchClients, names: list[str]) -> None:
    async def ask_once_more() -> bool:
        return await crowd._ask(names[:1])

    await until(ask_once_more)
    for at in range(0, len(names), 100):
        assert await crowd._ask(names[at : at + 100])
    await backend.drained()
    rows = {row.member_id: row for row in await backend.claims()}
    assert crowd.contradictions == []
    told = {name: ClaimRecord.parse(record) for name, record in crowd.told.items() if b"\t" in record}
    assert len(rows) == STOCK, "exactly the stock, not one more and not one less"
    assert {row.unit_no for row in rows.values()} == set(range(1, STOCK + 1))
    assert told.keys() == rows.keys(), "every winner on record was told, and the other way round"
    for name, claim in told.items():
        row = rows[name]
        assert (row.seq, row.unit_no, row.code, row.granted_at_ms) == (
            claim.seq,
            claim.unit_no,
            claim.code,
            claim.granted_at_ms,
        )
    report = await audit_cell(backend.cell, backend.engine, backend.redis, demand={"c": len(names)})
    assert report.holds, report.faults
    assert report.redis_equals_postgres
    await backend.all_clear()


async def test_redis_is_killed_again_and_again(mortal: Backend, valkey: ValkeyServer) -> None:
    async with mortal.open_ledger():
        names = await mortal.sale(MEMBERS, stock=STOCK)
        crowd = BatchClients(mortal)
        await _storm(mortal, valkey, crowd, names, deaths=5)
        await _everything_adds_up(mortal, crowd, names)
    assert crowd.unanswered >= 5, "each time that it died somebody was not answered"
    assert len(await mortal.sql("SELECT 1 FROM epochs")) == 1, "nothing was ever lost"


async def test_the_ledger_is_ended_again_and_again(mortal: Backend) -> None:
    crowd = BatchClients(mortal)
    async with mortal.open_ledger():
        names = await mortal.sale(MEMBERS, stock=STOCK)
    rushes = [asyncio.create_task(crowd.rush(names[at::6])) for at in range(6)]
    while not all(rush.done() for rush in rushes):
        async with mortal.ledger():
            await asyncio.sleep(random.uniform(0.02, 0.15))
    await asyncio.gather(*rushes)
    async with mortal.ledger():
        await _everything_adds_up(mortal, crowd, names)


async def test_redis_dies_and_is_emptied_and_what_was_drained_is_not_sold_again(mortal: Backend) -> None:
    """Acknowledged claims that were never drained are gone with an emptied Redis; drained ones are not."""
    async with mortal.open_ledger():
        names = await mortal.sale(MEMBERS, stock=STOCK)
        crowd = BatchClients(mortal)
        await crowd.rush(names[:300])
        await mortal.drained()
        for _ in range(2):
            await mortal.empty_redis()
            await mortal.open_for_business()
            await asyncio.sleep(0.3)
        await mortal.open_for_business()
        await crowd.rush(names[300:])
        await _everything_adds_up(mortal, crowd, names)
