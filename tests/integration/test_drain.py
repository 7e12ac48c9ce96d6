"""Every grant becomes a row, once, at once, in the order of the log."""

import asyncio
import statistics
import time
from typing import Any

import orjson
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from grab_service.vocabulary.claims import DAY_MS
from reconcile.drain.cursor import read_cursor
from reconcile.drain.drain import Drain
from reconcile.process import end
from tests.harness.backend import Backend, until
from tests.harness.cells import now_ms
from tests.harness.pace import slowness

GRANT = '[["{0}",{1},1,"CODE-{1}",""]]'


def grant(first: int, *units: int) -> dict[str, str]:
    """The fields of an entry that grants these units to members of their own."""
    return {
        "campaign_id": "c",
        "claims": "[" + ",".join(f'["m{unit}",{unit},1,"CODE-{first}-{unit}",""]' for unit in units) + "]",
    }


async def drain_all(backend: Backend, drain: Drain) -> None:
    async with backend.link() as link:
        while await drain.step(link):
            pass


async def test_a_won_claim_is_on_record_with_everything_that_was_said_of_it(backend: Backend) -> None:
    async with backend.open_ledger():
        names = await backend.sale(3, valid_days=30)
        won = await backend.win_on_record("c", names, key="k")
        rows = await backend.claims()
    assert [(row.seq, row.unit_no, row.ordinal, row.code, row.idempotency_key) for row in rows] == [
        (claim.seq, claim.unit_no, claim.ordinal, claim.code, "k") for claim in won
    ]
    assert [row.member_id for row in rows] == names
    for row, claim in zip(rows, won, strict=True):
        assert (row.epoch, row.campaign_id, row.state, row.voucher_state) == (1, "c", "fulfilled", "active")
        assert row.granted_at_ms == claim.granted_at_ms == row.valid_from_ms
        assert row.valid_until_ms == claim.granted_at_ms + 30 * DAY_MS
        assert row.decided_at_ms is None
        assert row.returned_seq is None


async def test_a_claim_without_benefit_has_no_voucher(backend: Backend) -> None:
    async with backend.open_ledger():
        names = await backend.sale(1, kind="none")
        await backend.grab("c", names)
        await backend.drained()
        (row,) = await backend.claims()
    assert (row.state, row.voucher_state, row.valid_from_ms) == ("fulfilled", None, None)


async def test_a_claim_is_on_record_to_the_letter(backend: Backend) -> None:
    """All marks that PostgreSQL's formats take for the end of a field, of a row or of everything, and of full length."""
    texts = ["\\N", "\\.", "a\tb\nc\r\\", "\"',;{}", "会员", "\u00e9\U0001f96e", "x" * 300, "\x01\x7f", " ", "NULL"]
    await backend.begin()
    await backend.schedule(stock=100, publish=False, valid_days=30)
    await backend.schedule("free", stock=100, publish=False, kind="none")
    await backend.log(2, "published", {"campaign_id": "c", "version": 1, "releases": "1:100"})
    await backend.log(3, "published", {"campaign_id": "free", "version": 1, "releases": "1:100"})
    claims = [[f"m{text}", unit, 1, f"c{text}", text] for unit, text in enumerate(texts, 1)]
    entry = {"campaign_id": "c", "claims": orjson.dumps(claims)}
    await backend.log(4, "granted", entry, last_seq=3 + len(claims))
    # In the same batch a claim that has no code, no key and no voucher.
    await backend.log(4 + len(claims), "granted", {"campaign_id": "free", "claims": '[["m",7,1,"",""]]'})
    await drain_all(backend, backend.new_drain())
    *rows, free = await backend.claims()
    assert [[row.member_id, row.unit_no, row.ordinal, row.code, row.idempotency_key] for row in rows] == claims
    assert {(row.voucher_state, row.valid_until_ms - row.valid_from_ms) for row in rows} == {("active", 30 * DAY_MS)}
    assert (free.campaign_id, free.unit_no, free.code, free.idempotency_key) == ("free", 7, None, None)
    assert (free.voucher_state, free.valid_from_ms, free.valid_until_ms) == (None, None, None)
    assert {row.state for row in (*rows, free)} == {"fulfilled"}


async def test_a_grant_is_a_row_within_milliseconds(backend: Backend) -> None:
    async with backend.open_ledger():
        names = await backend.sale(21, stock=100)
        took_ms = []
        for name in names:
            began = time.perf_counter()
            await backend.win_on_record("c", [name])
            took_ms.append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(0.02)  # so that the drain waits for each, and is woken
    assert statistics.median(took_ms) < 100 * slowness(), took_ms


async def test_grants_that_follow_one_another_share_a_transaction(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first is not kept waiting, and who waits for one of the others is heard."""
    monkeypatch.setattr("reconcile.drain.drain.GATHER_S", 5.0)
    await backend.begin_log(100)
    drain = backend.new_drain()
    draining = asyncio.create_task(drain.run())
    try:
        async with asyncio.timeout(4):
            assert await drain.reach(2, 4)
            before = backend.counters.batches
            for seq in range(3, 9):
                await backend.log(seq, "granted", grant(seq, seq))
                await asyncio.sleep(0.02)
            assert backend.counters.batches == before
            assert await drain.reach(8, 2)
        assert backend.counters.batches == before + 1
    finally:
        await end([draining])
    assert [row.seq for row in await backend.claims()] == list(range(3, 9))


async def test_the_campaign_on_record_follows_the_log(backend: Backend) -> None:
    async with backend.open_ledger():
        await backend.enrol(1)
        await backend.schedule(stock=10)
        seq = await backend.drained()
        assert (await backend.campaign()).published_seq == seq
        await backend.cell.set_state("c", "pause")
        await backend.drained()
        assert (await backend.campaign()).state == "paused"
        await backend.cell.set_state("c", "resume")
        await backend.cell.set_stock("c", 10, 25)
        await backend.drained()
        row = await backend.campaign()
        assert (row.state, row.total, sum(quantity for _, quantity in row.releases)) == ("scheduled", 25, 25)
        await backend.cell.set_state("c", "close")
        await backend.drained()
        assert (await backend.campaign()).state == "closed"


async def test_rows_are_written_in_the_order_of_the_log(backend: Backend) -> None:
    """In one batch the stock rises and falls again between grants; in any other order the database would refuse."""
    await backend.begin()
    row_releases = f"{now_ms() - 1000}:"
    await backend.schedule(stock=1, publish=False)
    await backend.log(2, "published", {"campaign_id": "c", "version": 1, "releases": row_releases + "1"})
    await backend.log(3, "granted", grant(3, 1))
    await backend.log(4, "stock_set", {"campaign_id": "c", "total": 3, "releases": row_releases + "3"})
    await backend.log(5, "granted", grant(5, 2, 3), last_seq=6)
    await backend.log(
        7, "returned", {"campaign_id": "c", "member_id": "m3", "claim_seq": 6, "unit_no": 3, "reason": "returned"}
    )
    await backend.log(8, "stock_set", {"campaign_id": "c", "total": 2, "releases": row_releases + "2"})
    await backend.log(
        9, "returned", {"campaign_id": "c", "member_id": "m2", "claim_seq": 5, "unit_no": 2, "reason": "returned"}
    )
    await backend.log(10, "granted", {"campaign_id": "c", "claims": '[["m9",2,1,"AGAIN",""]]'})
    drain = backend.new_drain()
    async with backend.link() as link:
        assert await drain.step(link) == 10 - 1  # all at once: the batch of two is one entry
    counters = backend.counters
    assert (counters.batches, counters.entries, counters.claims, counters.returns) == (1, 9, 4, 2)
    assert [(row.seq, row.unit_no, row.returned_seq) for row in await backend.claims()] == [
        (3, 1, None),
        (5, 2, 9),
        (6, 3, 7),
        (10, 2, None),
    ]
    assert (await backend.campaign()).total == 2
    cursor = await backend.cursor()
    assert (cursor.epoch, cursor.last_seq, cursor.last_id) == (1, 10, "10-0")


async def test_a_return_that_postgres_decided_is_closed_by_its_entry(backend: Backend) -> None:
    async with backend.open_ledger():
        names = await backend.sale(2)
        claims = await backend.win_on_record("c", names)
        await backend.decide_return(claims[0], "c", names[0])
        await until(lambda: backend.sql("SELECT 1 FROM commands WHERE done_seq IS NOT NULL"))
        await backend.drained()
        given_back, kept = await backend.claims()
    (command,) = await backend.sql("SELECT done_seq, last_outcome FROM commands")
    assert given_back.state == "returned"
    assert given_back.returned_seq == command.done_seq
    assert command.last_outcome in {None, "returned"}
    assert kept.returned_seq is None


@pytest.mark.parametrize("reason", ["returned", "lapsed"])
async def test_a_return_that_postgres_did_not_decide_is_decided_by_the_log(backend: Backend, reason: str) -> None:
    async with backend.open_ledger():
        (name,) = await backend.sale(1)
        (claim,) = await backend.win("c", [name])
        assert (await backend.cell.return_unit("c", name, claim.seq, reason))[0] == "returned"
        seq = await backend.drained()
        (row,) = await backend.claims()
    assert (row.state, row.voucher_state, row.returned_seq) == (reason, "returned", seq)
    assert row.decided_at_ms >= row.granted_at_ms


async def test_batches_are_bounded_by_entries_and_by_rows(backend: Backend) -> None:
    await backend.begin_log(100)
    seq = 3
    for _ in range(6):
        await backend.log(seq, "granted", grant(seq, *range(seq, seq + 10)), last_seq=seq + 9)
        seq += 10
    drain = backend.new_drain(entries_max=4, rows_max=20)
    seen = []
    async with backend.link() as link:
        while await drain.step(link):
            assert drain.cursor is not None
            seen.append(drain.cursor.last_seq)
    assert seen == [22, 42, 62]  # rows first: two entries of ten, begun with two short ones
    assert backend.counters.claims == 60
    assert len(await backend.claims()) == 60


async def test_the_next_page_is_read_while_postgres_takes_the_last(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    await backend.begin_log(100)
    for seq in range(3, 11):
        await backend.log(seq, "granted", grant(seq, seq))
    drain = backend.new_drain(entries_max=2)
    read_at: list[int | None] = []
    async with backend.link() as link:
        calls = link.calls

        async def heard(*given: Any) -> list[Any]:
            read_at.append(drain.cursor.last_seq if drain.cursor else None)
            return await calls(*given)

        monkeypatch.setattr(link, "calls", heard)
        while await drain.step(link):
            pass
    # Noted and read at 0 and, while these are written, what follows them; so on to the last page, and to see that it was.
    assert read_at == [0, 0, 0, 2, 4, 6, 10]
    assert [row.seq for row in await backend.claims()] == list(range(3, 11))


async def test_what_was_read_ahead_is_forgotten_when_somebody_else_was_faster(backend: Backend) -> None:
    await backend.begin_log(100)
    for seq in range(3, 13):
        await backend.log(seq, "granted", grant(seq, seq))
    overtaken, other = backend.new_drain(entries_max=3), backend.new_drain(entries_max=5)
    async with backend.link() as link, backend.link() as another:
        assert await overtaken.step(link) == 3
        assert await other.step(another) == 5
        assert await overtaken.step(link) == 0, "it holds a page that begins where the cursor is no more"
        assert backend.counters.conflicts == 1
        assert await overtaken.step(link) == 3
        assert overtaken.cursor is not None
        assert overtaken.cursor.last_seq == 5 + 3 + 3
    assert [row.seq for row in await backend.claims()] == list(range(3, 12))


async def test_rows_and_cursor_are_written_together_or_not_at_all(backend: Backend) -> None:
    await backend.begin_log()
    await backend.log(3, "granted", grant(3, 1))
    await backend.sql("CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'disk full'; END $$")
    await backend.sql("CREATE TRIGGER fail BEFORE INSERT ON claims EXECUTE FUNCTION fail()")
    drain = backend.new_drain()
    async with backend.link() as link:
        with pytest.raises(Exception, match="disk full"):
            await drain.step(link)
    assert (await backend.cursor()).last_seq == 0
    assert (await backend.campaign()).published_seq is None
    await backend.sql("DROP TRIGGER fail ON claims")
    await drain_all(backend, drain)
    assert (await backend.cursor()).last_seq == 3
    assert await backend.open_alarms() == {}


async def test_two_ledgers_on_one_log_write_every_claim_once(backend: Backend) -> None:
    await backend.begin_log(400)
    for seq in range(3, 403):
        await backend.log(seq, "granted", grant(seq, seq - 2))
    drains = [backend.new_drain(entries_max=5) for _ in range(3)]

    async def run(drain: Drain) -> None:
        async with backend.link() as link:
            while (await backend.cursor()).last_seq < 402:
                await drain.step(link)

    await asyncio.gather(*(run(drain) for drain in drains))
    assert [row.unit_no for row in await backend.claims()] == list(range(1, 401))
    assert backend.counters.claims == 400
    assert backend.counters.conflicts > 0, "they never met, so nothing was shown"


async def test_a_ledger_that_slept_through_its_replacement_writes_nothing(backend: Backend) -> None:
    await backend.begin_log()
    zombie, successor = backend.new_drain(), backend.new_drain()
    zombie.cursor = await read_cursor(backend.engine, backend.settings.cell)
    await drain_all(backend, successor)
    await backend.log(3, "granted", grant(3, 1))
    async with backend.link() as link:
        assert await zombie.step(link) == 0
        assert backend.counters.conflicts == 1
        # It has looked at the cursor again, and may go on from there.
        assert await zombie.step(link) == 1
    assert [row.seq for row in await backend.claims()] == [3]


async def test_a_waiter_for_a_seq_hears_that_another_ledger_drained_it(backend: Backend) -> None:
    await backend.begin_log()
    overtaken, other = backend.new_drain(), backend.new_drain()
    overtaken.cursor = await read_cursor(backend.engine, backend.settings.cell)
    await drain_all(backend, other)
    waiting = asyncio.create_task(overtaken.reach(2, timeout_s=10))
    await asyncio.sleep(0.05)
    async with backend.link() as link:
        assert await overtaken.step(link) == 0
    async with asyncio.timeout(1):
        assert await waiting


async def test_nothing_of_a_life_that_is_over_can_be_drained_any_more(backend: Backend) -> None:
    """Somebody still reads the log of the epoch before, on a Redis that is not the right one any more."""
    from reconcile.epochs import begin_next

    await backend.begin_log()
    zombie = backend.new_drain()
    await drain_all(backend, zombie)
    cursor = await read_cursor(backend.engine, backend.settings.cell)
    assert cursor is not None
    async with backend.leading() as ledger:
        await begin_next(ledger.leader, backend.settings.cell, cursor, "test")
    await backend.log(3, "granted", grant(3, 1))
    async with backend.link() as link:
        assert await zombie.step(link) == 0
    assert await backend.claims() == []


async def test_a_ledger_that_stands_still_in_the_midst_of_a_batch_keeps_nobody_from_draining(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconcile.process.DRAIN_STANDS_STILL_MAX_S", 1)
    await backend.begin()
    async with backend.parts() as suspended, suspended.drain._engine.connect() as in_the_midst:
        await in_the_midst.execute(text("UPDATE log_cursor SET last_seq = last_seq + 10"))
        async with backend.link() as link:
            async with asyncio.timeout(10):
                while await backend.new_drain().step(link) == 0:
                    pass
        with pytest.raises(DBAPIError):
            await in_the_midst.commit()
    assert (await backend.cursor()).last_seq == 1
