"""A run restarts its children."""

import asyncio
import os
import signal
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from grab_service.demo.keeping import DEATHS_MAX, KeepsDyingError, kept, manner
from grab_service.demo.stopping import Stopping
from grab_service.embedded.errors import PortTakenError
from grab_service.embedded.valkey import AppendFsync, ValkeyServer


async def killed_and_back(server: ValkeyServer) -> None:
    """Kill it, and wait until another answers in its place."""
    os.kill(server.pid, signal.SIGKILL)
    async with asyncio.timeout(30), Redis.from_url(server.url, retry=Retry(NoBackoff(), 0)) as client:
        while server.running:
            await asyncio.sleep(0.01)
        while not await answers(client):
            await asyncio.sleep(0.05)


async def answers(client: Redis) -> bool:
    try:
        return bool(await client.ping())
    except RedisError:
        return False


async def test_a_child_that_dies_is_named_with_its_log_and_started_again_but_not_for_ever(tmp_path: Path) -> None:
    server, stopping, said = ValkeyServer(tmp_path / "valkey", appendfsync=AppendFsync.NO), Stopping(), list[str]()
    await server.start()

    async def a_run() -> None:
        async with kept([server], stopping, said.append):
            for _ in range(DEATHS_MAX - 1):
                await killed_and_back(server)
            os.kill(server.pid, signal.SIGKILL)
            await asyncio.wait_for(stopping.wait(), 30)

    try:
        with pytest.raises(KeepsDyingError, match=r"Valkey was killed by SIGKILL.* 2 times in 60 s: the run ends") as ended:
            await a_run()
    finally:
        await server.stop()
    assert said == [f"Valkey was killed by SIGKILL; its log is {server.log_path}. It is started again."] * 2
    assert str(server.log_path) in ended.value.hint


async def test_a_child_that_cannot_be_started_again_ends_the_run_with_its_own_words(tmp_path: Path) -> None:
    server, stopping, woken_up = ValkeyServer(tmp_path / "valkey", appendfsync=AppendFsync.NO), Stopping(), asyncio.Event()
    await server.start()

    async def a_run() -> None:
        async with kept([server], stopping, lambda _: None):
            await server.kill()
            taker = await asyncio.start_server(lambda *_: None, "127.0.0.1", server.port)  # faster than the next start
            try:
                await asyncio.wait_for(stopping.wait(), 10)
                woken_up.set()
            finally:
                taker.close()

    with pytest.raises(PortTakenError, match="the port is taken"):
        await a_run()
    assert woken_up.is_set()


async def test_who_is_ended_on_purpose_is_not_started_again(tmp_path: Path) -> None:
    server, said = ValkeyServer(tmp_path / "valkey", appendfsync=AppendFsync.NO), list[str]()
    await server.start()
    async with kept([server], Stopping(), said.append):
        pass
    await server.stop()
    assert not server.running
    assert said == []


def test_an_end_is_told_by_signal_or_status() -> None:
    assert manner(-15) == "was killed by SIGTERM"
    assert manner(3) == "ended with status 3"
