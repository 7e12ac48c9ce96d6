"""The drain stops at an impossible entry, reports it, skips nothing, and goes on when it is mended."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from grab_service.embedded.postgres import PostgresServer
from grab_service.embedded.valkey import AppendFsync, ValkeyServer
from reconcile.alarms import AlarmKind
from reconcile.drain.drain import Drain
from tests.harness.backend import Backend, now_ms, until
from tests.harness.backend import backend as a_backend


def grant(*claims: str) -> dict[str, str]:
    return {"campaign_id": "c", "claims": "[" + ",".join(claims) + "]"}


def unit(number: int, member: str | None = None, code: str | None = None, ordinal: int = 1) -> str:
    return f'["{member or f"m{number}"}",{number},{ordinal},"{code or f"CODE-{number}"}",""]'


@asynccontextmanager
async def draining(backend: Backend, drain: Drain) -> AsyncIterator[None]:
    task = asyncio.create_task(drain.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class Fault:
    """Entries that go wrong after seq 4, the alarm they raise, the id it names, and how far the drain gets before."""

    kind: AlarmKind
    make: Callable[[Backend], Awaitable[str]]
    says: str
    pauses: bool = False


async def a_gap(backend: Backend) -> str:
    return await backend.log(6, "granted", grant(unit(3)))


async def an_overlap(backend: Backend) -> str:
    return await backend.log(4, "granted", grant(unit(2), unit(3)), last_seq=5)


async def a_foreign_epoch(backend: Backend) -> str:
    return await backend.log(5, "granted", grant(unit(3)), epoch=2)


async def an_epoch_nobody_began(backend: Backend) -> str:
    return await backend.log(5, "epoch_began", {"predecessor": 7, "reason": "x"})


async def an_unknown_type(backend: Backend) -> str:
    return await backend.log(5, "confetti", {"campaign_id": "c"})


async def no_entry_at_all(backend: Backend) -> str:
    name = await backend.redis.xadd(backend.keys.log, {"hello": "world"}, id="5-0")
    assert isinstance(name, bytes)
    return name.decode()


async def fewer_claims_than_seqs(backend: Backend) -> str:
    return await backend.log(5, "granted", grant(unit(3)), last_seq=7)


async def a_unit_twice(backend: Backend) -> str:
    return await backend.log(5, "granted", grant(unit(2, member="somebody else", code="NEW")))


async def a_unit_above_the_total(backend: Backend) -> str:
    return await backend.log(5, "granted", grant(unit(11)))


async def a_code_twice(backend: Backend) -> str:
    return await backend.log(5, "granted", grant(unit(3, code="CODE-2")))


async def a_second_claim_of_one_member(backend: Backend) -> str:
    return await backend.log(5, "granted", grant(unit(3, member="m2")))


async def an_ordinal_above_the_limit(backend: Backend) -> str:
    return await backend.log(5, "granted", grant(unit(3, ordinal=2)))


async def a_number_too_large_for_its_column(backend: Backend) -> str:
    return await backend.log(5, "granted", grant(unit(3_000_000_000)))


async def a_member_that_is_a_number(backend: Backend) -> str:
    return await backend.log(5, "granted", grant('[17,3,1,"C",""]'))


async def a_letter_that_postgres_cannot_hold(backend: Backend) -> str:
    return await backend.log(5, "granted", grant('["m\\u0000",3,1,"C",""]'))


async def a_claim_without_its_code(backend: Backend) -> str:
    return await backend.log(5, "granted", grant('["m3",3,1,"",""]'))


async def a_campaign_nobody_wrote(backend: Backend) -> str:
    return await backend.log(5, "granted", {"campaign_id": "nowhere", "claims": f"[{unit(3)}]"})


async def a_second_publication(backend: Backend) -> str:
    return await backend.log(5, "published", {"campaign_id": "c", "version": 1, "releases": "1:10"})


async def a_return_of_nothing(backend: Backend) -> str:
    return await backend.log(
        5, "returned", {"campaign_id": "c", "member_id": "m9", "claim_seq": 4, "unit_no": 2, "reason": "returned"}
    )


async def stock_below_what_is_held(backend: Backend) -> str:
    return await backend.log(5, "stock_set", {"campaign_id": "c", "total": 1, "releases": "1:1"})


FAULTS = [
    Fault(AlarmKind.LOG_GAP, a_gap, "expected is 5"),
    Fault(AlarmKind.LOG_DUPLICATE, an_overlap, "begins with seq 4"),
    Fault(AlarmKind.LOG_FOREIGN_EPOCH, a_foreign_epoch, "epoch 2"),
    Fault(AlarmKind.LOG_VIOLATION, an_epoch_nobody_began, "no such epoch"),
    Fault(AlarmKind.LOG_BAD_ENTRY, an_unknown_type, "does not decode"),
    Fault(AlarmKind.LOG_BAD_ENTRY, no_entry_at_all, "does not decode"),
    Fault(AlarmKind.LOG_BAD_ENTRY, fewer_claims_than_seqs, "does not decode"),
    Fault(AlarmKind.LOG_VIOLATION, a_unit_twice, "claims_unit_uq", pauses=True),
    Fault(AlarmKind.LOG_VIOLATION, a_unit_above_the_total, "lies outside campaign", pauses=True),
    Fault(AlarmKind.LOG_VIOLATION, a_code_twice, "claims_code_uq", pauses=True),
    Fault(AlarmKind.LOG_VIOLATION, a_second_claim_of_one_member, "claims_ordinal_uq", pauses=True),
    Fault(AlarmKind.LOG_VIOLATION, an_ordinal_above_the_limit, "lies outside campaign", pauses=True),
    Fault(AlarmKind.LOG_VIOLATION, a_number_too_large_for_its_column, "out of", pauses=True),
    Fault(AlarmKind.LOG_VIOLATION, a_member_that_is_a_number, "str", pauses=True),
    Fault(AlarmKind.LOG_VIOLATION, a_letter_that_postgres_cannot_hold, "0x00", pauses=True),
    Fault(AlarmKind.LOG_VIOLATION, a_claim_without_its_code, "lacks its code", pauses=True),
    Fault(AlarmKind.LOG_VIOLATION, a_campaign_nobody_wrote, "the campaign is not published", pauses=True),
    Fault(AlarmKind.LOG_VIOLATION, a_second_publication, "published before", pauses=True),
    Fault(AlarmKind.LOG_VIOLATION, a_return_of_nothing, "no such claim", pauses=True),
    Fault(AlarmKind.LOG_VIOLATION, stock_below_what_is_held, "would not cover", pauses=True),
]


async def four_sound_entries(backend: Backend) -> None:
    await backend.begin()
    await backend.schedule(stock=10, publish=False)
    await backend.log(2, "published", {"campaign_id": "c", "version": 1, "releases": "1:10"})
    await backend.log(3, "granted", grant(unit(1)))
    await backend.log(4, "granted", grant(unit(2)))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.make.__name__)
async def test_the_drain_stops_at_a_fault_and_goes_on_once_it_is_mended(backend: Backend, fault: Fault) -> None:
    await four_sound_entries(backend)
    # The faulty entry lies among sound ones, in the same batch.
    entry_id = await fault.make(backend)
    last = int(entry_id.split("-")[0])
    await backend.log(last + 1, "granted", grant(unit(9)))
    drain = backend.new_drain()
    async with draining(backend, drain):
        alarms = await until(backend.open_alarms)
        assert list(alarms) == [fault.kind.value]
        detail = alarms[fault.kind.value]
        assert detail["entry_id"] == entry_id
        assert fault.says in detail["why"]
        assert {row.unit_no for row in await backend.claims()} == {1, 2}, "what lies before the fault, and no more"
        before = (await backend.cursor()).last_seq
        await asyncio.sleep(0.3)
        assert (await backend.cursor()).last_seq == before, "something was skipped"
        assert len(await backend.sql("SELECT 1 FROM alarms")) == 1, "one fault is one alarm"
        assert backend.pauses == ([detail["campaign_id"]] if fault.pauses else [])
        await _mend(backend, before)
        await until(lambda: _cursor_is(backend, before + 1))
        await until(lambda: _no_alarm(backend))
    assert 9 in {row.unit_no for row in await backend.claims()}


async def _mend(backend: Backend, last_seq: int) -> None:
    """Somebody writes the log anew by hand: it ends with what was drained last, and goes on with a sound grant."""
    cursor = await backend.cursor()
    anchor: dict[Any, Any] = {"type": "members_published", "epoch": 1, "seq": last_seq, "last_seq": last_seq}
    anchor |= {"at_ms": cursor.at_ms, "members_version": 0, "changed": 0}
    await backend.redis.delete(backend.keys.log)
    await backend.redis.xadd(backend.keys.log, anchor, id=cursor.last_id)
    await backend.log(last_seq + 1, "granted", grant(unit(9, code="MENDED")))


async def _cursor_is(backend: Backend, seq: int) -> bool:
    return bool((await backend.cursor()).last_seq == seq)


async def _no_alarm(backend: Backend) -> bool:
    return not await backend.open_alarms()


async def test_another_log_under_the_same_name_is_noticed(backend: Backend) -> None:
    """An older copy of Redis came back and went on by itself: the numbers fit, the history does not."""
    await four_sound_entries(backend)
    drain = backend.new_drain()
    async with draining(backend, drain):
        await until(lambda: _cursor_is(backend, 4))
    await backend.redis.delete(backend.keys.log)
    for seq in (4, 5):
        await asyncio.sleep(0.002)
        await backend.log(seq, "granted", grant(unit(seq)))
    async with draining(backend, drain):
        alarms = await until(backend.open_alarms)
    assert list(alarms) == [AlarmKind.LOG_LOST.value]
    assert (await backend.cursor()).last_seq == 4


async def test_a_log_that_lost_what_was_drained_last_is_noticed(backend: Backend) -> None:
    await four_sound_entries(backend)
    drain = backend.new_drain()
    async with draining(backend, drain):
        await until(lambda: _cursor_is(backend, 4))
    await backend.log(5, "granted", grant(unit(5)))
    await backend.redis.xdel(backend.keys.log, "4-0")
    async with draining(backend, drain):
        alarms = await until(backend.open_alarms)
    assert list(alarms) == [AlarmKind.LOG_LOST.value]
    assert (await backend.cursor()).last_seq == 4


async def test_what_was_drained_last_need_not_be_of_a_version_that_this_release_knows(backend: Backend) -> None:
    await four_sound_entries(backend)
    drain = backend.new_drain()
    async with draining(backend, drain):
        await until(lambda: _cursor_is(backend, 4))
    newest: Any = await backend.redis.xrevrange(backend.keys.log, count=1)
    ((_, last),) = newest
    for name in (b"version", b"fields", b"state"):
        del last[name]
    await backend.redis.delete(backend.keys.log)
    await backend.redis.xadd(backend.keys.log, last, id="4-0")
    await backend.log(5, "granted", grant(unit(5)))
    async with draining(backend, drain):
        await until(lambda: _cursor_is(backend, 5))
    assert not await backend.open_alarms()


async def test_a_violation_pauses_the_campaign_in_the_cell(backend: Backend) -> None:
    async with backend.ledger():
        await backend.open_for_business()
        names = await backend.enrol(2)
        await backend.schedule()
        await backend.win("c", names[:1])
        seq = await backend.drained()
        # A row that nobody granted stands where the next claim belongs.
        await backend.sql(
            "INSERT INTO claims (seq, epoch, campaign_id, member_id, unit_no, ordinal, state, granted_at_ms) "
            "VALUES (:seq, 1, 'c', 'nobody', 2, 1, 'fulfilled', 0)",
            seq=seq + 100,
        )
        await backend.win("c", names[1:])

        async def paused() -> bool:
            return (await backend.redis.hget(backend.keys.of_campaign("c").campaign, "state")) == b"paused"

        await until(paused)
        assert list(await backend.open_alarms()) == [AlarmKind.LOG_VIOLATION.value]
        await backend.sql("DELETE FROM claims WHERE member_id = 'nobody'")
        await until(lambda: _no_alarm(backend))
        await backend.drained()
        assert [row.member_id for row in await backend.claims()] == names
        assert (await backend.campaign()).state == "paused", "it stays so until somebody resumes it"


async def test_postgres_away_is_waited_out_and_is_no_alarm(backend: Backend, postgres_server: PostgresServer) -> None:
    await four_sound_entries(backend)
    drain = backend.new_drain()
    (database,) = (await backend.sql("SELECT current_database()"))[0]
    session = await asyncpg.connect(postgres_server.url_of("postgres"))
    async with draining(backend, drain):
        await until(lambda: _cursor_is(backend, 4))
        await session.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS false")
        await session.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", database)
        before_ms = now_ms()
        await backend.log(5, "granted", grant(unit(5)))

        async def lag_is_seen() -> bool:
            return backend.counters.lag_seq == 1 and backend.counters.lag_ms >= 400

        await until(lag_is_seen)
        assert backend.counters.lag_ms <= now_ms() - before_ms, "it is counted from the grant"
        await session.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS true")
        await until(lambda: _cursor_is(backend, 5))
        assert backend.counters.lag_seq == 0
    await session.close()
    assert await backend.sql("SELECT 1 FROM alarms") == []


async def test_redis_away_is_waited_out_and_is_no_alarm(tmp_path: Path, database_url: str, cell_name: str) -> None:
    server = ValkeyServer(tmp_path / "valkey", appendfsync=AppendFsync.ALWAYS)
    await server.start()
    try:
        async with a_backend(server.url, database_url, cell_name) as backend:
            await four_sound_entries(backend)
            async with draining(backend, backend.new_drain()):
                await until(lambda: _cursor_is(backend, 4))
                await server.kill()
                await asyncio.sleep(0.3)
                await server.start()
                await backend.log(5, "granted", grant(unit(5)))
                await until(lambda: _cursor_is(backend, 5))
            assert await backend.sql("SELECT 1 FROM alarms") == []
    finally:
        await server.stop()


async def test_the_lag_is_known(backend: Backend) -> None:
    await four_sound_entries(backend)
    drain = backend.new_drain(entries_max=2)
    async with backend.link() as link:
        await drain.step(link)
    assert backend.counters.lag_seq == 2
    assert 0 <= backend.counters.lag_ms <= now_ms()
    async with backend.link() as link:
        while await drain.step(link):
            pass
    assert backend.counters.lag_seq == 0
