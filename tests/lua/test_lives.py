"""A cell that is not the one the caller knows refuses every command, and changes nothing."""

from collections.abc import Awaitable
from typing import Any

import pytest
from redis.asyncio import Redis

from grab_service.cell.scripts import ScriptSources
from grab_service.cell.store import Cell, CellClosedError
from tests.harness.cells import arm, everything, grab, words
from tests.harness.every_command import CALLS, furnish


async def assert_went_back(raw: Redis, cell: Cell, call: Awaitable[Any]) -> None:
    before = await everything(raw, cell)
    with pytest.raises(CellClosedError) as caught:
        await call
    # The store may read its table of scripts again before it gives up; the first reason is the script's own word.
    reasons: list[str] = []
    error: BaseException | None = caught.value
    while error is not None:
        reasons.append(str(error))
        error = error.__context__
    assert any("went back" in reason for reason in reasons), reasons
    assert await everything(raw, cell) == before


def test_every_command_is_called_here(sources: ScriptSources) -> None:
    assert CALLS.keys() == sources.by_name.keys()


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(
    "fields",
    [{"epoch": "2"}, {"epoch": ""}, {"nonce": "0" * 16}, {"nonce": ""}, {"nonce": None}, {"epoch": None}, {"seq": None}],
)
async def test_a_cell_of_another_epoch_or_armed_by_somebody_else_is_refused(
    name: str, fields: dict[str, str | None], armed_cell: Cell, raw: Redis
) -> None:
    claim_seq = await furnish(armed_cell)
    for field, value in fields.items():
        if value is None:
            await raw.hdel(armed_cell.keys.cell, field)
        else:
            await raw.hset(armed_cell.keys.cell, field, value)
    await assert_went_back(raw, armed_cell, CALLS[name](armed_cell, claim_seq))


@pytest.mark.parametrize("name", CALLS)
async def test_an_empty_cell_is_refused(name: str, armed_cell: Cell, raw: Redis) -> None:
    claim_seq = await furnish(armed_cell)
    await raw.delete(armed_cell.keys.cell)
    await assert_went_back(raw, armed_cell, CALLS[name](armed_cell, claim_seq))


@pytest.mark.parametrize("name", CALLS)
async def test_scripts_that_a_later_arming_replaced_are_refused(
    name: str, armed_cell: Cell, raw: Redis, sources: ScriptSources
) -> None:
    claim_seq = await furnish(armed_cell)
    await CALLS["tail"](armed_cell, claim_seq)
    await arm(raw, armed_cell.name, sources, seq=armed_cell.seen_seq)
    await raw.hset(armed_cell.keys.scripts, mapping=dict.fromkeys(map(sources.table_field, CALLS), "0" * 40))
    await assert_went_back(raw, armed_cell, CALLS[name](armed_cell, claim_seq))


@pytest.mark.parametrize("name", ["explain", "grab", "tail"])
async def test_a_cell_that_lies_behind_what_the_caller_has_seen_is_refused(name: str, armed_cell: Cell, raw: Redis) -> None:
    claim_seq = await furnish(armed_cell)
    call = armed_cell.tail(armed_cell.seen_seq + 1, 10) if name == "tail" else CALLS[name](armed_cell, claim_seq)
    armed_cell.seen_seq += 1
    await assert_went_back(raw, armed_cell, call)
    armed_cell.seen_seq -= 1
    assert "won" in words(await CALLS["grab"](armed_cell, claim_seq))


async def test_after_an_arming_the_caller_finds_the_new_scripts_by_itself(
    armed_cell: Cell, raw: Redis, sources: ScriptSources
) -> None:
    await furnish(armed_cell)
    armed_cell._reload_not_before = 0
    await arm(raw, armed_cell.name, sources, epoch=2, seq=armed_cell.seen_seq)
    assert words(await grab(armed_cell, [("m5", "k")])) == ["won"]
    assert armed_cell.epoch == 2
