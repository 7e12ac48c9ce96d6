"""A call to the cell brings its own answer, once, or none: Redis stands still, answers late, or is another one."""

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from grab_service.cell.connect import connect
from grab_service.cell.nodes import Nodes
from grab_service.cell.scripts import ScriptSources
from grab_service.cell.store import Cell, CellClosedError, CellSilentError
from grab_service.embedded.valkey import ValkeyServer
from tests.harness.cells import Published, arm, enrol, grab, publish, words

PATIENCE_S = 0.3
STILL_S = 0.45


@pytest.fixture(params=[0, 1], ids=["of_the_pool", "kept"])
async def cell(valkey_url: str, cell_name: str, redis_client: Redis, request: pytest.FixtureRequest) -> AsyncIterator[Cell]:
    """A cell with members and units, asked on one connection, with little patience."""
    await arm(redis_client, cell_name, ScriptSources.read())
    kept_max = request.param
    client = connect(valkey_url, connections_max=1 + kept_max, timeout_s=PATIENCE_S, nodes=Nodes(cell_name))
    cell = Cell(client, cell_name, ScriptSources.read(), kept_max=kept_max)
    await enrol(cell, ["m-1", "m-2", "m-3"])
    await publish(cell, Published(stock=5))
    yield cell
    await client.aclose()


@asynccontextmanager
async def standing_still(server: ValkeyServer) -> AsyncIterator[None]:
    """Redis takes calls, and answers them in a moment."""
    server.send(signal.SIGSTOP)
    goes_on = asyncio.get_running_loop().call_later(STILL_S, server.send, signal.SIGCONT)
    try:
        yield
    finally:
        goes_on.cancel()
        server.send(signal.SIGCONT)


async def test_a_late_reply_reaches_nobody(cell: Cell, valkey_server: ValkeyServer) -> None:
    async with standing_still(valkey_server):
        with pytest.raises(CellSilentError):
            await grab(cell, ["m-1"])
        # The reply to the first is still to come, and this one's after it.
        assert words(await grab(cell, ["m-2", "m-3"])) == ["won", "won"]
    assert words(await grab(cell, ["m-1"])) == ["held"], "it was carried out, though nobody heard of it"


async def test_a_connection_that_redis_has_closed_is_not_used_again(cell: Cell, redis_client: Redis) -> None:
    """Between two calls; else the second one would be told that nobody knows."""
    assert words(await grab(cell, ["m-1"])) == ["won"]
    mine = [one for one in cell._pool._in_use_connections | set(cell._pool._available_connections) if one.is_connected]
    assert mine
    for connection in mine:
        assert connection._writer is not None
        host, port = connection._writer.get_extra_info("sockname")[:2]
        assert await redis_client.client_kill(f"{host}:{port}")
    await asyncio.sleep(PATIENCE_S / 3)
    assert words(await grab(cell, ["m-2"])) == ["won"]


async def test_what_is_kept_is_bounded_and_the_rest_goes_back_to_the_pool(cell: Cell) -> None:
    for _ in range(3):
        await asyncio.gather(*(grab(cell, [member_id]) for member_id in ("m-1", "m-2")))
        assert len(cell._kept) == cell._kept_max
        async with asyncio.timeout(PATIENCE_S):
            assert await cell._client.ping()


async def test_a_reply_that_belongs_to_another_call_is_none(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    call = cell._call_and_epoch

    async def of_another(name: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        (first, _, *rest), epoch = await call(name, keys, arguments)
        return [first, b"another batch", *rest], epoch

    monkeypatch.setattr(cell, "_call_and_epoch", of_another)
    with pytest.raises(CellSilentError):
        await grab(cell, ["m-1"])


async def test_an_older_epoch_is_not_believed(cell: Cell, redis_client: Redis) -> None:
    """A Redis of the life before answers in the place of the right one: its scripts are loaded, and its table names them."""
    await arm(redis_client, cell.name, ScriptSources.read(), epoch=3, seq=cell.seen_seq)
    cell._reload_not_before = 0
    assert words(await grab(cell, ["m-1"])) == ["won"]
    await arm(redis_client, cell.name, ScriptSources.read(), epoch=2, seq=cell.seen_seq)
    for _ in range(2):
        cell._reload_not_before = 0
        with pytest.raises(CellClosedError):
            await grab(cell, ["m-2"])
    assert cell.epoch == 3


async def test_a_call_that_is_not_answered_is_sent_once(
    valkey_server: ValkeyServer, cell_name: str, redis_client: Redis
) -> None:
    client = connect(valkey_server.url, connections_max=2, timeout_s=PATIENCE_S)
    await client.ping()
    async with standing_still(valkey_server):
        with pytest.raises(RedisError):
            await client.incr(f"x-{cell_name}")
    assert await redis_client.getdel(f"x-{cell_name}") == b"1", "redis-py would repeat it ten times"
    await client.aclose()
