"""The drain stops at an impossible entry, reports it, skips nothing, and goes on when it is mended."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from grab_service.embedded.valkey import ValkeyServer
from reconcile.alarms import AlarmKind
from reconcile.drain.drain import Drain
from reconcile.process import end
from tests.harness.backend import PATIENCE_S, Backend, until
from tests.harness.cells import now_ms


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
        await end([task])


@dataclass(frozen=True, slots=True)
class Fault:
    """An entry that goes wrong after seq 4, the alarm it raises and what that says, and whether its campaign is paused."""

    alarm: AlarmKind
    says: str
    entry: Callable[[Backend], Awaitable[str]]
    pauses: bool = False


def logged(seq: int, kind: str, fields: dict[str, Any], **more: int) -> Callable[[Backend], Awaitable[str]]:
    return lambda backend: backend.log(seq, kind, fields, **more)


def granted(*claims: str, **more: int) -> Callable[[Backend], Awaitable[str]]:
    return logged(5, "granted", grant(*claims), **more)


async def without_a_type(backend: Backend) -> str:
    name = await backend.redis.xadd(backend.keys.log, {"hello": "world"}, id="5-0")
    assert isinstance(name, bytes)
    return name.decode()


def impossible(says: str, entry: Callable[[Backend], Awaitable[str]]) -> Fault:
    """An entry that Postgres does not let pass; the campaign that it is about is paused."""
    return Fault(AlarmKind.LOG_VIOLATION, says, entry, pauses=True)


FAULTS = {
    "a_gap": Fault(AlarmKind.LOG_GAP, "expected is 5", logged(6, "granted", grant(unit(3)))),
    "an_overlap": Fault(
        AlarmKind.LOG_DUPLICATE, "begins with seq 4", logged(4, "granted", grant(unit(2), unit(3)), last_seq=5)
    ),
    "a_foreign_epoch": Fault(AlarmKind.LOG_FOREIGN_EPOCH, "epoch 2", granted(unit(3), epoch=2)),
    "an_epoch_nobody_began": Fault(
        AlarmKind.LOG_VIOLATION, "no such epoch", logged(5, "epoch_began", {"predecessor": 7, "reason": "x"})
    ),
    "an_unknown_type": Fault(AlarmKind.LOG_BAD_ENTRY, "does not decode", logged(5, "confetti", {"campaign_id": "c"})),
    "no_entry_at_all": Fault(AlarmKind.LOG_BAD_ENTRY, "does not decode", without_a_type),
    "fewer_claims_than_seqs": Fault(AlarmKind.LOG_BAD_ENTRY, "does not decode", granted(unit(3), last_seq=7)),
    "a_unit_twice": impossible("claims_unit_uq", granted(unit(2, member="somebody else", code="NEW"))),
    "a_unit_above_the_total": impossible("lies outside campaign", granted(unit(11))),
    "a_code_twice": impossible("claims_code_uq", granted(unit(3, code="CODE-2"))),
    "a_second_claim_of_one_member": impossible("claims_ordinal_uq", granted(unit(3, member="m2"))),
    "an_ordinal_above_the_limit": impossible("lies outside campaign", granted(unit(3, ordinal=2))),
    "a_number_too_large_for_its_column": impossible("out of", granted(unit(3_000_000_000))),
    "a_member_that_is_a_number": impossible("str", granted('[17,3,1,"C",""]')),
    "a_letter_that_postgres_cannot_hold": impossible("0x00", granted('["m\\u0000",3,1,"C",""]')),
    "a_claim_without_its_code": impossible("lacks its code", granted('["m3",3,1,"",""]')),
    "a_campaign_nobody_wrote": impossible(
        "the campaign is not published", logged(5, "granted", {"campaign_id": "nowhere", "claims": f"[{unit(3)}]"})
    ),
    "a_second_publication": impossible(
        "published before", logged(5, "published", {"campaign_id": "c", "version": 1, "releases": "1:10"})
    ),
    "a_return_of_nothing": impossible(
        "no such claim",
        logged(5, "returned", {"campaign_id": "c", "member_id": "m9", "claim_seq": 4, "unit_no": 2, "reason": "returned"}),
    ),
    "stock_below_what_is_held": impossible(
        "would not cover", logged(5, "stock_set", {"campaign_id": "c", "total": 1, "releases": "1:1"})
    ),
}


async def four_sound_entries(backend: Backend) -> None:
    await backend.begin_log()
    await backend.log(3, "granted", grant(unit(1)))
    await backend.log(4, "granted", grant(unit(2)))


async def drained_up_to_four(backend: Backend) -> Drain:
    """A drain that has drained these."""
    await four_sound_entries(backend)
    drain = backend.new_drain()
    async with draining(backend, drain):
        await until(lambda: _cursor_is(backend, 4))
    return drain


@pytest.mark.parametrize("name", FAULTS)
async def test_the_drain_stops_at_a_fault_and_goes_on_once_it_is_mended(backend: Backend, name: str) -> None:
    fault = FAULTS[name]
    await four_sound_entries(backend)
    # The faulty entry lies among sound ones, in the same batch.
    entry_id = await fault.entry(backend)
    last = int(entry_id.split("-")[0])
    await backend.log(last + 1, "granted", grant(unit(9)))
    drain = backend.new_drain()
    async with draining(backend, drain):
        alarms = await until(backend.open_alarms)
        assert list(alarms) == [fault.alarm.value]
        detail = alarms[fault.alarm.value]
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
        await backend.all_clear()
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


async def test_another_log_under_the_same_name_is_noticed(backend: Backend) -> None:
    """An older copy of Redis came back and went on by itself: the numbers fit, the history does not."""
    drain = await drained_up_to_four(backend)
    await backend.redis.delete(backend.keys.log)
    for seq in (4, 5):
        await asyncio.sleep(0.002)
        await backend.log(seq, "granted", grant(unit(seq)))
    async with draining(backend, drain):
        alarms = await until(backend.open_alarms)
    assert list(alarms) == [AlarmKind.LOG_LOST.value]
    assert (await backend.cursor()).last_seq == 4


async def test_a_log_that_lost_what_was_drained_last_is_noticed(backend: Backend) -> None:
    drain = await drained_up_to_four(backend)
    await backend.log(5, "granted", grant(unit(5)))
    await backend.redis.xdel(backend.keys.log, "4-0")
    async with draining(backend, drain):
        alarms = await until(backend.open_alarms)
    assert list(alarms) == [AlarmKind.LOG_LOST.value]
    assert (await backend.cursor()).last_seq == 4


async def test_what_was_drained_last_need_not_be_of_a_version_that_this_release_knows(backend: Backend) -> None:
    drain = await drained_up_to_four(backend)
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
    async with backend.open_ledger():
        names = await backend.sale(2)
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
        await backend.all_clear()
        await backend.drained()
        assert [row.member_id for row in await backend.claims()] == names
        assert (await backend.campaign()).state == "paused", "it stays so until somebody resumes it"


async def test_postgres_away_is_waited_out_and_is_no_alarm(backend: Backend) -> None:
    await four_sound_entries(backend)
    async with draining(backend, backend.new_drain()):
        await until(lambda: _cursor_is(backend, 4))
        async with backend.postgres_away(), asyncio.timeout(PATIENCE_S):
            before_ms = now_ms()
            await backend.log(5, "granted", grant(unit(5)))
            while backend.counters.lag_seq != 1 or backend.counters.lag_seconds < 0.4:
                await asyncio.sleep(0.01)
            assert backend.counters.lag_seconds * 1000 <= now_ms() - before_ms, "it is counted from the grant"
        await until(lambda: _cursor_is(backend, 5))
        assert backend.counters.lag_seq == 0
    assert await backend.sql("SELECT 1 FROM alarms") == []


async def test_redis_away_is_waited_out_and_is_no_alarm(mortal: Backend, valkey: ValkeyServer) -> None:
    await four_sound_entries(mortal)
    async with draining(mortal, mortal.new_drain()):
        await until(lambda: _cursor_is(mortal, 4))
        await valkey.kill()
        await asyncio.sleep(0.3)
        await valkey.start()
        await mortal.log(5, "granted", grant(unit(5)))
        await until(lambda: _cursor_is(mortal, 5))
    assert await mortal.sql("SELECT 1 FROM alarms") == []


async def test_the_lag_is_known(backend: Backend) -> None:
    await four_sound_entries(backend)
    drain = backend.new_drain(entries_max=2)
    async with backend.link() as link:
        await drain.step(link)
    assert backend.counters.lag_seq == 2
    assert 0 <= backend.counters.lag_seconds * 1000 <= now_ms()
    async with backend.link() as link:
        while await drain.step(link):
            pass
    assert backend.counters.lag_seq == 0
