"""Housekeeping deletes only data that nobody can need any more."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from reconcile.alarms import AlarmKind
from reconcile.maintenance import housekeeping as module
from reconcile.maintenance.housekeeping import ASSERTIONS_KEPT_S, TOKENS_KEPT_S, Housekeeping
from tests.harness.backend import Backend
from tests.harness.cells import HOUR_MS, now_ms


@asynccontextmanager
async def housekeeping(backend: Backend, retention_h: float = 24) -> AsyncIterator[Housekeeping]:
    async with backend.parts(log_retention_h=retention_h) as parts:
        yield parts.housekeeping


async def log_of(backend: Backend) -> list[str]:
    entries: Any = await backend.redis.xrange(backend.keys.log)
    return [name.decode() for name, _ in entries]


async def some_old_entries(backend: Backend, count: int, drained_to: int) -> None:
    """A log of entries two days old, drained up to a seq."""
    await backend.begin()
    await backend.redis.delete(backend.keys.log)
    old = now_ms() - 48 * HOUR_MS
    async with backend.redis.pipeline(transaction=False) as pipe:
        for seq in range(1, count + 1):
            entry: dict[Any, Any] = {"type": "members_published", "epoch": 1, "seq": seq, "last_seq": seq, "at_ms": old}
            pipe.xadd(backend.keys.log, entry | {"members_version": 0, "changed": 0}, id=f"{seq}-0")
        await pipe.execute()
    await backend.sql(
        "UPDATE log_cursor SET last_seq = :seq, last_id = :id, at_ms = :at_ms",
        seq=drained_to,
        id=f"{drained_to}-0",
        at_ms=old,
    )


async def test_the_log_is_trimmed_below_what_is_drained_and_keeps_the_last_one(backend: Backend) -> None:
    await some_old_entries(backend, count=20, drained_to=15)
    async with housekeeping(backend) as house:
        assert await house.trim() == 14
        assert await house.trim() == 0
    assert await log_of(backend) == [f"{seq}-0" for seq in range(15, 21)]
    # And the drain finds where it was.
    drain = backend.new_drain()
    async with backend.link() as link:
        assert await drain.step(link) == 5


async def test_a_long_log_is_trimmed_in_steps(backend: Backend) -> None:
    await some_old_entries(backend, count=2500, drained_to=2500)
    async with housekeeping(backend) as house:
        assert await house.trim() == 2499
    assert await log_of(backend) == ["2500-0"]


async def test_what_is_young_stays_though_it_is_drained(backend: Backend) -> None:
    await some_old_entries(backend, count=5, drained_to=5)
    for seq in range(6, 9):
        await backend.log(seq, "members_published", {"members_version": 0, "changed": 0})
    await backend.sql("UPDATE log_cursor SET last_seq = 8, last_id = '8-0'")
    async with housekeeping(backend) as house:
        assert await house.trim() == house.counters.trimmed == 5
        assert await house.trim() == 0
        assert house.counters.trimmed == 5
    assert await log_of(backend) == ["6-0", "7-0", "8-0"]


async def test_nothing_is_trimmed_that_nobody_has_drained(backend: Backend) -> None:
    await some_old_entries(backend, count=5, drained_to=0)
    async with housekeeping(backend, retention_h=0.001) as house:
        assert await house.trim() == 0
    assert len(await log_of(backend)) == 5


async def test_assertions_are_forgotten_some_time_after_they_expired(backend: Backend) -> None:
    ages_s = {"old": -ASSERTIONS_KEPT_S - 10, "fresh": -10, "valid": 60}
    for jti, age_s in ages_s.items():
        await backend.sql("INSERT INTO used_assertions VALUES (:jti, :at)", jti=jti, at=now_ms() + age_s * 1000)
    async with housekeeping(backend) as house:
        assert await house.forget_expired() == 1
    assert {row.jti for row in await backend.sql("SELECT jti FROM used_assertions")} == {"fresh", "valid"}


async def test_tokens_of_ops_are_shown_for_some_time_after_they_expired(backend: Backend) -> None:
    for token_id, age_s in {"old": -TOKENS_KEPT_S - 10, "fresh": -TOKENS_KEPT_S + 60}.items():
        row = "INSERT INTO ops_tokens VALUES (:token_id, 'alice', 'admin', 1, :at, NULL)"
        await backend.sql(row, token_id=token_id, at=now_ms() + age_s * 1000)
    async with housekeeping(backend) as house:
        assert await house.forget_expired() == 1
    assert [row.token_id for row in await backend.sql("SELECT token_id FROM ops_tokens")] == ["fresh"]


async def test_what_is_kept_is_kept_to_the_millisecond(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    at_ms = now_ms()
    monkeypatch.setattr(module, "time", SimpleNamespace(time_ns=lambda: at_ms * 1_000_000))
    await some_old_entries(backend, count=3, drained_to=3)
    for seq, more_ms in ((4, -1), (5, 0), (6, 1)):
        entry: dict[Any, Any] = {"type": "members_published", "epoch": 1, "seq": seq, "last_seq": seq}
        entry |= {"at_ms": at_ms - HOUR_MS + more_ms, "members_version": 0, "changed": 0}
        await backend.redis.xadd(backend.keys.log, entry, id=f"{seq}-0")
    await backend.sql("UPDATE log_cursor SET last_seq = 6, last_id = '6-0'")
    for jti, more_ms in (("over", -1), ("not yet", 0)):
        moment_ms = at_ms - ASSERTIONS_KEPT_S * 1000 + more_ms
        await backend.sql("INSERT INTO used_assertions VALUES (:jti, :at)", jti=jti, at=moment_ms)
    async with housekeeping(backend, retention_h=1) as house:
        assert await house.trim() == 4
        assert await house.forget_expired() == 1
    assert await log_of(backend) == ["5-0", "6-0"]
    assert [row.jti for row in await backend.sql("SELECT jti FROM used_assertions")] == ["not yet"]


async def test_an_audit_in_the_background_says_what_it_found_and_when_it_is_over(backend: Backend) -> None:
    async with backend.open_ledger():
        await backend.sale(3, wins=3)
        async with housekeeping(backend) as house:
            assert house.counters.audit_green == -1, "no audit was made yet"
            assert await house.audit()
            assert (house.counters.audit_green, house.counters.audit_share, house.counters.audit_oldest_seconds) == (1, 1.0, 0)
            await backend.redis.hincrby(backend.keys.of_campaign("c").campaign, "active", 1)
            assert not await house.audit()
            detail = await backend.alarm(AlarmKind.AUDIT_RED)
            assert any("I3 NoLostAck" in fault for fault in detail["faults"])
            assert (detail["records"], detail["left"], detail["share"], detail["oldest_comparison_s"]) == (3, 0, 1.0, 0)
            assert house.counters.audit_green == 0
            await backend.redis.hincrby(backend.keys.of_campaign("c").campaign, "active", -1)
            assert await house.audit()
            assert await backend.open_alarms() == {}


async def test_the_background_audit_runs_by_itself(backend: Backend) -> None:
    async with backend.open_ledger(deep_audit_interval_s=0.1):
        await backend.enrol(1)
        await backend.schedule()
        await backend.drained()
        await backend.redis.hincrby(backend.keys.of_campaign("c").campaign, "issued", 1)
        async with asyncio.timeout(10):
            while not await backend.alarm(AlarmKind.AUDIT_RED):
                await asyncio.sleep(0.02)
