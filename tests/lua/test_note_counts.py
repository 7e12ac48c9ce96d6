"""What a worker writes down is bounded."""

from collections.abc import Mapping
from typing import Any

import pytest
from redis.asyncio import Redis

from grab_service.cell.store import Cell, CellClosedError
from tests.harness.cells import everything

ENTRIES_MAX = 20_000
NODE = 100
"""Redis trims whole nodes of a stream."""


async def test_the_newest_counts_stay(armed_cell: Cell, raw: Redis) -> None:
    entry: Mapping[Any, Any] = {"worker": "w", "counts": "{}"}
    async with raw.pipeline(transaction=False) as pipe:
        for number in range(1, ENTRIES_MAX + 5 * NODE):
            pipe.xadd(armed_cell.keys.counts, dict(entry), id=f"{number}-0")
        await pipe.execute()
    await armed_cell.note_counts("w", b"{}")
    assert ENTRIES_MAX <= await raw.xlen(armed_cell.keys.counts) <= ENTRIES_MAX + NODE


@pytest.mark.parametrize(
    ("worker", "counts", "head"), [("w" * 101, b"{}", ""), ("w", b"x" * (2 * 1024 * 1024 + 1), ""), ("w", b"{}", "h" * 1001)]
)
async def test_what_is_too_long_is_refused_whole(worker: str, counts: bytes, head: str, armed_cell: Cell, raw: Redis) -> None:
    before = await everything(raw, armed_cell)
    with pytest.raises(CellClosedError):
        await armed_cell.note_counts(worker, counts, head)
    assert await everything(raw, armed_cell) == before
