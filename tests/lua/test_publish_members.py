"""A member's newest record stays, in any order of arrival."""

import itertools
from typing import Any

import pytest
from redis.asyncio import Redis

from grab_service.cell.store import Cell
from grab_service.vocabulary import events
from tests.harness.cells import Member, everything, log_of


def record(version: int, org_id: str = "org-1") -> str:
    return Member(version=version, org_id=org_id).record()


async def kept(raw: Redis, cell: Cell) -> dict[str, str]:
    records: Any = await raw.hgetall(cell.keys.members)
    return {name.decode(): text.decode() for name, text in records.items()}


async def version_of(raw: Redis, cell: Cell) -> int:
    return int(await raw.hget(cell.keys.cell, "members_version") or 0)


async def test_records_are_kept_and_logged_without_a_word_about_the_person(armed_cell: Cell, raw: Redis) -> None:
    assert await armed_cell.publish_members(7, ["m1", record(6), "m2", record(7)]) == ("members_published", 1, 2)
    assert await kept(raw, armed_cell) == {"m1": record(6), "m2": record(7)}
    assert await version_of(raw, armed_cell) == 7
    entry = (await log_of(raw, armed_cell))[-1]
    assert entry == events.MembersPublished(1, 1, 1, entry.at_ms, 7, 2, ())
    entries: Any = await raw.xrange(armed_cell.keys.log)
    assert not any(b"m1" in value for _, fields in entries for value in fields.values())


async def test_the_same_again_changes_nothing(armed_cell: Cell, raw: Redis) -> None:
    await armed_cell.publish_members(7, ["m1", record(6), "m2", record(7)])
    before = await everything(raw, armed_cell)
    assert await armed_cell.publish_members(7, ["m1", record(6), "m2", record(7)]) == ("already", 1, 0)
    assert await armed_cell.publish_members(6, ["m1", record(5), "m2", record(6)]) == ("already", 1, 0)
    assert await armed_cell.publish_members(3, []) == ("already", 1, 0)
    assert await everything(raw, armed_cell) == before


@pytest.mark.parametrize("order", list(itertools.permutations([1, 2, 3])))
async def test_the_newest_record_stays_whatever_the_order(order: tuple[int, ...], armed_cell: Cell, raw: Redis) -> None:
    for version in order:
        await armed_cell.publish_members(version, ["m1", record(version, f"org-{version}")])
    assert await kept(raw, armed_cell) == {"m1": record(3, "org-3")}
    assert await version_of(raw, armed_cell) == 3


@pytest.mark.parametrize("order", list(itertools.permutations([1, 2, 10])))
async def test_the_newest_record_of_one_call_stays_whatever_the_order(
    order: tuple[int, ...], armed_cell: Cell, raw: Redis
) -> None:
    pairs = [text for version in order for text in ("m1", record(version, f"org-{version}"))]
    await armed_cell.publish_members(10, pairs)
    assert await kept(raw, armed_cell) == {"m1": record(10, "org-10")}


async def test_versions_are_compared_as_numbers(armed_cell: Cell, raw: Redis) -> None:
    await armed_cell.publish_members(9, ["m1", record(9)])
    await armed_cell.publish_members(10, ["m1", record(10)])
    await armed_cell.publish_members(100, ["m1", record(100)])
    assert await kept(raw, armed_cell) == {"m1": record(100)}


async def test_of_a_mixed_call_only_what_is_newer_counts(armed_cell: Cell, raw: Redis) -> None:
    await armed_cell.publish_members(5, ["m1", record(5), "m2", record(2)])
    pairs = ["m1", record(4), "m2", record(3), "m3", record(1)]
    assert await armed_cell.publish_members(4, pairs) == ("members_published", 2, 2)
    assert await kept(raw, armed_cell) == {"m1": record(5), "m2": record(3), "m3": record(1)}
    assert await version_of(raw, armed_cell) == 5


async def test_a_version_without_a_record_moves_the_cell_on(armed_cell: Cell, raw: Redis) -> None:
    assert await armed_cell.publish_members(4, []) == ("members_published", 1, 0)
    assert await version_of(raw, armed_cell) == 4


async def named(raw: Redis, cell: Cell) -> tuple[str, ...] | None:
    """Whom the newest entry of the log names."""
    entry = (await log_of(raw, cell))[-1]
    assert isinstance(entry, events.MembersPublished)
    return entry.org_changed


async def test_the_log_names_those_whose_union_changed_and_nobody_else(armed_cell: Cell, raw: Redis) -> None:
    pairs = ["m:1", record(1), "m-2", record(1), "m_3", record(1)]
    assert await armed_cell.publish_members(1, pairs) == ("members_published", 1, 3)
    assert await named(raw, armed_cell) == ()
    otherwise = Member(version=2, status="suspended", blocked_until_ms=5, birthday_month=None, joined_on="", tags=("t",))
    pairs = ["m:1", record(2, "org-2"), "m-2", otherwise.record(), "m_3", record(1, "org-3"), "m4", record(2, "org-4")]
    assert await armed_cell.publish_members(2, pairs) == ("members_published", 2, 3)
    assert await named(raw, armed_cell) == ("m:1",)
    pairs = ["m:1", record(3, "org-1"), "m-2", record(3, "org-22"), "m4", record(3, "org-4")]
    assert await armed_cell.publish_members(3, pairs) == ("members_published", 3, 3)
    assert await named(raw, armed_cell) == ("m:1", "m-2")


async def test_a_thousand_changes_of_union_go_in_one_call(armed_cell: Cell, raw: Redis) -> None:
    names = [f"m{number}".ljust(64, "-") for number in range(1000)]
    for version, org_id in enumerate(("org-1", "org-2"), 1):
        await armed_cell.publish_members(version, [text for name in names for text in (name, record(version, org_id))])
    assert await named(raw, armed_cell) == tuple(names)


async def test_a_thousand_records_go_in_one_call(armed_cell: Cell, raw: Redis) -> None:
    names = [f"m{number}" for number in range(1000)]
    pairs = [text for name in names for text in (name, record(1))]
    assert await armed_cell.publish_members(1, pairs) == ("members_published", 1, 1000)
    assert (await kept(raw, armed_cell)).keys() == set(names)
