"""Another life of Redis in the place of the one that was: emptied, older, promoted too early, promoted again."""

import asyncio
import random
import shutil
from collections.abc import AsyncIterator

from tests.faults.district import District
from tests.faults.kinds.processes import pause
from tests.faults.tools.valkeys import FaultyValkey


async def script_flush(district: District, dice: random.Random) -> AsyncIterator[None]:
    await district.valkey.ask("SCRIPT", "FLUSH")
    yield


async def flushed(district: District, dice: random.Random) -> AsyncIterator[None]:
    # The scripts survive this; only what they find in the cell tells them.
    await district.valkey.ask("FLUSHALL")
    yield


async def wiped(district: District, dice: random.Random) -> AsyncIterator[None]:
    await district.valkey.kill()
    shutil.rmtree(district.valkey.data_dir)
    yield
    await district.valkey.start()


async def older_copy(district: District, dice: random.Random) -> AsyncIterator[None]:
    copy = district.home / "older-copy"
    await asyncio.to_thread(district.valkey.keep_copy, copy)
    await pause(dice, 0.3, 1.5)
    await district.valkey.kill()
    await asyncio.to_thread(district.valkey.bring_back, copy)
    yield
    await district.valkey.start()


async def lagging_replica(district: District, dice: random.Random) -> AsyncIterator[None]:
    primary, replica = district.valkey, district.other_valkey
    await _follow(replica, primary)
    await replica.ask("REPLICAOF", "NO", "ONE")  # it hears nothing more, and the sale goes on
    await pause(dice, 0.3, 1.0)
    await primary.kill()
    yield
    await district.use(replica)


async def promoted_again(district: District, dice: random.Random) -> AsyncIterator[None]:
    first, second = district.valkey, district.other_valkey
    await _follow(second, first)
    await second.ask("REPLICAOF", "NO", "ONE")
    await district.use(second)
    await _follow(first, second)
    # The second one sells for a while; the first follows, with the scripts of its earlier days still in its cache.
    before = district.wins

    async def sells() -> bool:
        return district.wins > before + 20 or (district.crowd is not None and district.crowd.sold_out)

    await district.until(sells)
    if dice.random() < 0.5:
        await first.ask("REPLICAOF", "NO", "ONE")
        await pause(dice, 0.1, 0.5)
    await second.kill()
    await first.ask("REPLICAOF", "NO", "ONE")
    yield
    await district.use(first)


async def _follow(replica: FaultyValkey, primary: FaultyValkey) -> None:
    """Let one follow the other, until it has all that the other had a moment ago."""
    if not replica.running:
        await replica.start()
    await replica.ask("REPLICAOF", "127.0.0.1", primary.port)
    async with asyncio.timeout(20):
        while (await replica.ask("ROLE"))[3] != b"connected":
            await asyncio.sleep(0.03)
        goal = int((await primary.ask("ROLE"))[1])
        while int((await replica.ask("ROLE"))[4]) < goal:
            await asyncio.sleep(0.03)
