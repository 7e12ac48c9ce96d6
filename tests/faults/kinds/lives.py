"""Another life of Redis in the place of the one that was: emptied, older, promoted too early, promoted again."""

import asyncio
import random
import shutil
import signal
from collections.abc import AsyncIterator
from functools import partial

from tests.faults.kinds.processes import pause, signal_all
from tests.harness.district import District
from tests.harness.recipes import is_replica
from tests.harness.valkeys import FaultyValkey


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
    await replica.follow(primary)
    await replica.ask("REPLICAOF", "NO", "ONE")  # it hears nothing more, and the sale goes on
    await pause(dice, 0.3, 1.0)
    await primary.kill()
    yield
    await district.use(replica)


async def failover(district: District, dice: random.Random) -> AsyncIterator[None]:
    """The primary dies while the ledger lags, so that acknowledged claims stand on the replica alone, if anywhere."""
    primary, replica = district.valkey, district.other_valkey
    signal_all([district.ledger.pid], signal.SIGSTOP)
    before = district.wins
    # The replica hears of everything, a little late, and then of nothing more.
    district.replica_way.weather.delay_s = dice.uniform(0.0, 0.05)
    await pause(dice, 0.3, 0.8)
    district.replica_way.weather.silent = True
    await pause(dice, 0.1, 0.4)
    await primary.kill()
    district.add("won while the ledger lagged", district.wins - before)
    await replica.ask("REPLICAOF", "NO", "ONE")
    signal_all([district.ledger.pid], signal.SIGCONT)
    yield
    await district.use(replica)
    # The one that died follows from now on; as long as it does not, nobody is told of anything.
    district.replica_way.target_port = replica.port
    district.replica_way.fine()
    await primary.follow(replica, district.replica_way.port)


async def failover_by_sentinel(district: District, dice: random.Random) -> AsyncIterator[None]:
    """The primary dies, Sentinel promotes the replica; the one that died comes back as a primary, until Sentinel sees it."""
    primary, replica = district.valkey, district.other_valkey
    await pause(dice, 0.0, 0.5)
    await primary.kill()
    yield
    before = district.wins

    async def is_promoted() -> bool:
        return bool((await replica.ask("ROLE"))[0] == b"master")

    async def sells() -> bool:
        return district.wins > before + 20 or (district.crowd is not None and district.crowd.sold_out)

    await district.until(is_promoted)
    district.valkeys.reverse()
    await district.until(sells)
    await primary.start()
    await district.until(partial(_are_primary_and_replica, district.valkeys))


async def _are_primary_and_replica(valkeys: list[FaultyValkey]) -> bool:
    """Whether one follows the other; the primary is put first: Sentinel may have changed its mind on a busy machine."""
    follow = [await is_replica(valkey) for valkey in valkeys]
    if follow == [True, False]:
        valkeys.reverse()
    return sum(follow) == 1


async def promoted_again(district: District, dice: random.Random) -> AsyncIterator[None]:
    first, second = district.valkey, district.other_valkey
    await second.follow(first)
    await second.ask("REPLICAOF", "NO", "ONE")
    await district.use(second)
    await first.follow(second)
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
