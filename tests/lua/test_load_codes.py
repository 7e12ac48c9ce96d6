"""Codes of a third party come into the pool each once and in order, however often a load is repeated."""

import random
from typing import Any

import pytest
from redis.asyncio import Redis

from grab_service.cell.store import Cell, CellClosedError
from grab_service.vocabulary import events
from tests.harness.cells import Published as Campaign
from tests.harness.cells import everything, log_of, publish

CODES = [f"code-{number}" for number in range(1, 31)]


async def pool(raw: Redis, cell: Cell) -> list[str]:
    codes: Any = await raw.lrange(cell.keys.of_campaign("c").codes, 0, -1)
    return [code.decode() for code in codes]


async def test_codes_are_appended_and_logged(armed_cell: Cell, raw: Redis) -> None:
    assert await armed_cell.load_codes("c", 1, CODES[:10]) == ("codes_loaded", 1, 10)
    assert await armed_cell.load_codes("c", 11, CODES[10:15]) == ("codes_loaded", 2, 15)
    assert await pool(raw, armed_cell) == CODES[:15]
    entry = (await log_of(raw, armed_cell))[-1]
    assert entry == events.CodesLoaded(2, 2, 1, entry.at_ms, "c", 15)


@pytest.mark.parametrize(("first", "count"), [(1, 10), (1, 3), (4, 7), (10, 1), (1, 0), (11, 0)])
async def test_codes_that_are_there_are_not_loaded_again(first: int, count: int, armed_cell: Cell, raw: Redis) -> None:
    await armed_cell.load_codes("c", 1, CODES[:10])
    before = await everything(raw, armed_cell)
    assert await armed_cell.load_codes("c", first, CODES[first - 1 : first - 1 + count]) == ("already", 1, 10)
    assert await everything(raw, armed_cell) == before


@pytest.mark.parametrize("first", [1, 5, 10, 11])
async def test_of_a_load_that_overlaps_only_what_is_new_is_appended(first: int, armed_cell: Cell, raw: Redis) -> None:
    await armed_cell.load_codes("c", 1, CODES[:10])
    assert await armed_cell.load_codes("c", first, CODES[first - 1 : 20]) == ("codes_loaded", 2, 20)
    assert await pool(raw, armed_cell) == CODES[:20]


@pytest.mark.parametrize("count", [0, 1, 5])
async def test_a_gap_is_refused(count: int, armed_cell: Cell, raw: Redis) -> None:
    await armed_cell.load_codes("c", 1, CODES[:10])
    before = await everything(raw, armed_cell)
    assert await armed_cell.load_codes("c", 12, CODES[11 : 11 + count]) == ("gap", 1, 10)
    assert await everything(raw, armed_cell) == before


async def test_loads_repeated_in_any_order_end_in_each_code_once(armed_cell: Cell, raw: Redis) -> None:
    dice = random.Random(7)
    loaded = 0
    while loaded < len(CODES):
        first = dice.randint(1, len(CODES))
        outcome, _, now_loaded = await armed_cell.load_codes("c", first, CODES[first - 1 : first + dice.randint(0, 9)])
        assert (outcome == "gap") == (first > loaded + 1)
        loaded = now_loaded
        assert await pool(raw, armed_cell) == CODES[:loaded]


async def test_codes_for_a_campaign_that_is_sold_already_are_counted_there(armed_cell: Cell) -> None:
    await publish(armed_cell, Campaign(stock=1))
    await armed_cell.load_codes("c", 1, CODES[:2])
    assert (await armed_cell.read_campaigns(["c"])).campaigns["c"].codes_loaded == 2


async def test_a_thousand_codes_go_in_one_call(armed_cell: Cell, raw: Redis) -> None:
    codes = [f"{number:032}" for number in range(1000)]
    assert await armed_cell.load_codes("c", 1, codes) == ("codes_loaded", 1, 1000)
    assert await pool(raw, armed_cell) == codes


@pytest.mark.parametrize("code", ["a\tb", "a\nb", "\t", "x\tstate=returned"])
async def test_a_code_that_would_break_a_claim_record_is_refused_whole(code: str, armed_cell: Cell, raw: Redis) -> None:
    before = await everything(raw, armed_cell)
    with pytest.raises(CellClosedError):
        await armed_cell.load_codes("c", 1, ["fine", code])
    assert await everything(raw, armed_cell) == before
