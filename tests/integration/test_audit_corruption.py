"""A corruption turns the invariant that it breaks red.

Every test corrupts the same day in its own way; what it did is undone after it.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import orjson
import pytest
import pytest_asyncio

from grab_service.audit import Invariant, audit_cell
from grab_service.audit.counters import COMPARED
from grab_service.embedded.postgres import PostgresServer
from grab_service.vocabulary.claims import ClaimRecord
from reconcile.guard.closed_audit import audit_closed
from tests.harness.backend import backend as a_backend
from tests.harness.databases import drop_database, make_database
from tests.integration.days import Day, a_day, red

pytestmark = pytest.mark.asyncio(loop_scope="module")

Corrupt = Callable[[Day], Awaitable[None]]
TABLES = ("campaigns", "pool_codes", "claims")


@pytest.fixture(scope="module")
def own_database_url(postgres_server: PostgresServer) -> Iterator[str]:
    name = f"a_{secrets.token_hex(6)}"
    yield asyncio.run(make_database(postgres_server, name))
    asyncio.run(drop_database(postgres_server, name))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def whole_day(valkey_url: str, own_database_url: str) -> AsyncIterator[Day]:
    """A day that is over: the cell is armed, nobody drains any more."""
    async with a_backend(valkey_url, own_database_url, f"t{secrets.token_hex(6)}") as backend:
        async with backend.ledger():
            day = await a_day(backend)
        for table in TABLES:
            await backend.sql(f"CREATE TABLE kept_{table} AS TABLE {table}")
        yield day


@pytest_asyncio.fixture(loop_scope="module")
async def day(whole_day: Day) -> AsyncIterator[Day]:
    """The day, to be corrupted; sound again afterwards."""
    backend = whole_day.backend
    keys = [key async for key in backend.redis.scan_iter(match=backend.keys.prefix + "*")]
    dumps: dict[bytes, Any] = {key: await backend.redis.dump(key) for key in keys}
    yield whole_day
    for key, dump in dumps.items():
        await backend.redis.restore(key, 0, dump, replace=True)
    await backend.sql("ALTER TABLE campaigns DISABLE TRIGGER USER")
    await backend.sql("ALTER TABLE claims DISABLE TRIGGER USER")
    await backend.sql("TRUNCATE claims, pool_codes, campaigns")
    for table in TABLES:
        await backend.sql(f"INSERT INTO {table} SELECT * FROM kept_{table}")
    await backend.sql("ALTER TABLE campaigns ENABLE TRIGGER USER")
    await backend.sql("ALTER TABLE claims ENABLE TRIGGER USER")


# -- corruption, each with the invariant that must turn red -----------------------------------------------------------------


async def a_claim_is_dropped_from_postgres(day: Day) -> None:
    await day.backend.sql("DELETE FROM claims WHERE seq = :seq", seq=day.one[5].seq)


async def a_claim_is_dropped_from_the_cell(day: Day) -> None:
    await day.backend.redis.hdel(day.key("one", "claims"), day.names[5])


async def a_claim_is_added_to_postgres(day: Day) -> None:
    await day.backend.sql(
        "INSERT INTO claims (seq, epoch, campaign_id, member_id, unit_no, ordinal, state, granted_at_ms) "
        "VALUES (1, 1, 'one', 'ghost', 20, 1, 'fulfilled', 0)"
    )


async def a_claim_is_added_to_the_cell(day: Day) -> None:
    await day.backend.redis.hset(day.key("one", "claims"), "ghost", ClaimRecord(1, 1, 20, 1, 1, "GHOST", "").encode())


async def two_claims_swap_their_units_in_the_cell(day: Day) -> None:
    records = [day.one[0], day.one[1]]
    for at, record in enumerate(records):
        other = records[1 - at]
        swapped = ClaimRecord(record.seq, 1, other.unit_no, 1, record.granted_at_ms, record.code, "")
        await day.backend.redis.hset(day.key("one", "claims"), day.names[at], swapped.encode())


async def two_claims_swap_their_units_in_postgres(day: Day) -> None:
    first, second = day.one[:2]
    for unit_no, seq in ((19, first.seq), (first.unit_no, second.seq), (second.unit_no, first.seq)):
        await day.backend.sql("UPDATE claims SET unit_no = :unit_no WHERE seq = :seq", unit_no=unit_no, seq=seq)


async def two_members_hold_one_unit_in_the_cell(day: Day) -> None:
    first, second = day.one[:2]
    twin = ClaimRecord(second.seq, 1, first.unit_no, 1, second.granted_at_ms, second.code, "")
    await day.backend.redis.hset(day.key("one", "claims"), day.names[1], twin.encode())


async def two_claims_hold_one_unit_in_postgres(day: Day) -> None:
    """Decided and not freed: no constraint speaks against it."""
    await day.backend.sql(
        "UPDATE claims SET state = 'returned', unit_no = :unit_no WHERE seq = :seq", unit_no=1, seq=day.one[1].seq
    )


async def three_claims_hold_one_unit_in_postgres(day: Day) -> None:
    """And the sums agree."""
    first, middle, last = (record.unit_no for record in day.one[:3])
    assert first + last == 2 * middle
    for seq in (day.one[0].seq, day.one[2].seq):
        await day.backend.sql(
            "UPDATE claims SET state = 'returned', unit_no = :unit_no WHERE seq = :seq", unit_no=middle, seq=seq
        )


async def a_code_changes_in_the_cell(day: Day) -> None:
    record = day.one[0]
    other = ClaimRecord(record.seq, 1, record.unit_no, 1, record.granted_at_ms, "ANOTHER CODE", "")
    await day.backend.redis.hset(day.key("one", "claims"), day.names[0], other.encode())


async def a_code_changes_in_postgres(day: Day) -> None:
    await day.backend.sql("UPDATE claims SET code = 'ANOTHER CODE' WHERE seq = :seq", seq=day.one[0].seq)


async def a_claim_has_another_source(day: Day) -> None:
    await day.backend.sql("UPDATE claims SET source = 'make_good' WHERE seq = :seq", seq=day.one[0].seq)


async def a_claim_of_the_cell_cannot_be_read(day: Day) -> None:
    await day.backend.redis.hset(day.key("one", "claims"), day.names[0], "4\t1\t1\t1\t1795763780003\tCODE\t")


async def a_binding_cannot_be_read(day: Day) -> None:
    await day.backend.redis.hset(day.key("many", "bindings"), f"{day.names[0]}\ta", "2\tseq=4")


async def a_claim_goes_to_another_member_in_the_cell(day: Day) -> None:
    holding = await day.holding("one", day.names[0])
    await day.backend.redis.hdel(day.key("one", "claims"), day.names[0])
    await day.backend.redis.hset(day.key("one", "claims"), day.names[15], holding)


async def a_binding_points_at_another_claim(day: Day) -> None:
    bindings = day.key("many", "bindings")
    other = await day.backend.redis.hget(bindings, f"{day.names[1]}\ta")
    assert isinstance(other, bytes)
    await day.backend.redis.hset(bindings, f"{day.names[0]}\ta", other)


def drifts(counter: str) -> Corrupt:
    async def corrupt(day: Day) -> None:
        await day.backend.redis.hincrby(day.key("one", "campaign"), counter, 1)

    corrupt.__name__ = f"{counter}_drifts"
    return corrupt


async def units_are_issued_that_nobody_has(day: Day) -> None:
    await day.backend.redis.hincrby(day.key("one", "campaign"), "issued", 2)


async def a_free_unit_is_lost(day: Day) -> None:
    await day.backend.redis.delete(day.key("one", "free"))


async def a_held_unit_is_free(day: Day) -> None:
    """In the place of the one that is: the counters cannot tell."""
    free = day.key("one", "free")
    await day.backend.redis.delete(free)
    await day.backend.redis.zadd(free, {str(day.one[0].unit_no): day.one[0].unit_no})


async def a_return_is_forgotten(day: Day) -> None:
    await day.backend.redis.delete(day.key("one", "returns"))


async def a_returned_claim_comes_back_to_life(day: Day) -> None:
    """And the counters with it."""
    record = day.one[3]
    await day.backend.redis.hset(day.key("one", "claims"), day.names[3], record.encode())


async def the_cell_releases_more_than_there_is(day: Day) -> None:
    releases = await day.backend.redis.hget(day.key("one", "campaign"), "releases")
    assert isinstance(releases, bytes)
    await day.backend.redis.hset(day.key("one", "campaign"), "releases", releases.replace(b":20", b":30"))


async def postgres_has_another_total(day: Day) -> None:
    await day.backend.sql("UPDATE campaigns SET total = 25 WHERE campaign_id = 'one'")


async def a_paused_campaign_is_open_in_the_cell(day: Day) -> None:
    await day.backend.sql("UPDATE campaigns SET state = 'paused' WHERE campaign_id = 'one'")


async def a_campaign_is_missing_in_the_cell(day: Day) -> None:
    await day.backend.redis.srem(day.backend.keys.campaigns, "many")


async def more_is_granted_than_released(day: Day) -> None:
    """The release is set into the future after units of it were granted."""
    await day.backend.sql("UPDATE campaigns SET releases = '[[4102444800000, 20]]' WHERE campaign_id = 'one'")
    await day.backend.redis.hset(day.key("one", "campaign"), "releases", "4102444800000:20")


async def a_code_is_lost_from_the_pool(day: Day) -> None:
    await day.backend.redis.rpop(day.key("pool", "codes"))


async def a_code_that_somebody_has_is_in_the_pool_again(day: Day) -> None:
    """In the place of another: the counters cannot tell."""
    await day.backend.redis.lset(day.key("pool", "codes"), 0, day.pool[0].code)


async def a_code_that_went_back_stays_with_its_claim(day: Day) -> None:
    await day.backend.sql("UPDATE claims SET code = :code WHERE seq = :seq", code=day.pool[2].code, seq=day.pool[2].seq)


async def a_code_nobody_imported_is_in_the_pool(day: Day) -> None:
    await day.backend.redis.lset(day.key("pool", "codes"), 0, "FORGED")


async def the_pool_is_empty_and_units_are_left(day: Day) -> None:
    """Codes and claims agree, but six units can never be granted."""
    await day.backend.redis.delete(day.key("pool", "codes"))
    await day.backend.redis.hset(day.key("pool", "campaign"), "codes_loaded", 4)


async def a_member_holds_more_than_the_limit(day: Day) -> None:
    await day.backend.sql("UPDATE campaigns SET limit_per_member = 5 WHERE campaign_id = 'many'")
    await day.backend.sql("UPDATE claims SET ordinal = 4 WHERE seq = :seq", seq=day.many[0].seq)
    await day.backend.sql("ALTER TABLE campaigns DISABLE TRIGGER USER")
    await day.backend.sql("UPDATE campaigns SET limit_per_member = 3 WHERE campaign_id = 'many'")


I1, I2, I3, I4, I5, I6 = Invariant
CORRUPTIONS: list[tuple[Corrupt, set[Invariant]]] = [
    (a_claim_is_dropped_from_postgres, {I3, I4, I5}),
    (a_claim_is_dropped_from_the_cell, {I4}),
    (a_claim_is_added_to_postgres, {I3, I4, I5, I6}),
    (a_claim_is_added_to_the_cell, {I3, I4}),
    (two_claims_swap_their_units_in_the_cell, {I3, I4}),
    (two_claims_swap_their_units_in_postgres, {I3, I4}),
    (two_members_hold_one_unit_in_the_cell, {I3, I4, I5}),
    (two_claims_hold_one_unit_in_postgres, {I3, I4, I5}),
    (three_claims_hold_one_unit_in_postgres, {I3, I4, I5}),
    (a_code_changes_in_the_cell, {I3, I4}),
    (a_code_changes_in_postgres, {I3, I4}),
    (a_claim_has_another_source, {I3, I4}),
    (a_claim_goes_to_another_member_in_the_cell, {I3, I4}),
    (a_claim_of_the_cell_cannot_be_read, {I3, I4}),
    (a_binding_cannot_be_read, {I3, I4}),
    (a_binding_points_at_another_claim, {I3, I4}),
    *((drifts(name), {invariant, *([I6] if name == "active" else [])}) for name, invariant in COMPARED.items()),
    (units_are_issued_that_nobody_has, {I6}),
    (a_free_unit_is_lost, {I6}),
    (a_held_unit_is_free, {I6}),
    (a_return_is_forgotten, {I3}),
    (a_returned_claim_comes_back_to_life, {I4, I6}),
    (the_cell_releases_more_than_there_is, {I6}),
    (postgres_has_another_total, {I6}),
    (a_paused_campaign_is_open_in_the_cell, {I6}),
    (a_campaign_is_missing_in_the_cell, {I3}),
    (more_is_granted_than_released, {I1}),
    (a_code_is_lost_from_the_pool, {I6}),
    (a_code_that_somebody_has_is_in_the_pool_again, {I5}),
    (a_code_that_went_back_stays_with_its_claim, {I5, I6}),
    (a_code_nobody_imported_is_in_the_pool, {I6}),
    (the_pool_is_empty_and_units_are_left, {I2}),
    (a_member_holds_more_than_the_limit, {I3, I4}),
]


@pytest.mark.parametrize(("corrupt", "expected"), CORRUPTIONS, ids=lambda value: getattr(value, "__name__", ""))
async def test_what_is_corrupted_turns_its_invariant_red(day: Day, corrupt: Corrupt, expected: set[Invariant]) -> None:
    await corrupt(day)
    report = await day.audit()
    assert red(report) == expected, report.faults
    for name in expected:
        check = report.invariants[name]
        assert check.checked
        assert check.detail
        assert check.counterexamples
        assert all("what" in example for example in check.counterexamples)
    agreed = {more_is_granted_than_released, the_pool_is_empty_and_units_are_left}
    assert report.redis_equals_postgres is (corrupt in agreed)


async def test_every_invariant_has_been_seen_to_turn_red() -> None:
    assert set().union(*(expected for _, expected in CORRUPTIONS)) == set(Invariant)


COUNTED: dict[Corrupt, set[Invariant]] = {
    a_claim_is_dropped_from_the_cell: {I4},
    two_claims_swap_their_units_in_the_cell: set(),
    a_held_unit_is_free: set(),
}


@pytest.mark.parametrize("corrupt", COUNTED, ids=lambda value: getattr(value, "__name__", ""))
async def test_the_closed_cell_is_audited_by_the_same_counters(day: Day, corrupt: Corrupt) -> None:
    backend = day.backend
    async with backend.link() as link:
        assert (await audit_closed(link, backend.engine, backend.settings.cell)).holds
        await corrupt(day)
        assert red(await audit_closed(link, backend.engine, backend.settings.cell)) == COUNTED[corrupt]


async def test_the_closed_and_the_open_cell_are_read_alike(day: Day) -> None:
    backend = day.backend
    opened = await audit_cell(backend.cell, backend.engine, None)
    async with backend.link() as link:
        closed = await audit_closed(link, backend.engine, backend.settings.cell)
    assert closed.campaigns == opened.campaigns
    assert closed.invariants == opened.invariants


async def test_what_was_not_compared_is_said(day: Day) -> None:
    report = await day.audit(records_max=9)
    assert report.holds
    assert 9 <= report.records_compared < 25
    assert report.records_left > 0
    assert "left out" in report.invariants[I3].detail


async def test_counterexamples_are_bounded_and_show_no_code(day: Day) -> None:
    for name, record in zip(day.names, day.one, strict=False):
        other = ClaimRecord(record.seq, 1, record.unit_no, 1, record.granted_at_ms, f"SECRET-{name}", "")
        await day.backend.redis.hset(day.key("one", "claims"), name, other.encode())
    report = await day.audit()
    assert len(report.invariants[I3].counterexamples) <= 20
    written = orjson.dumps(report.as_json()).decode()
    assert "SECRET" not in written
    assert day.one[0].code not in written
