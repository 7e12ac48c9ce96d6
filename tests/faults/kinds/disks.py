"""Disks that lose power, are slow, fail or fill up; and a memory that is full."""

import asyncio
import random
import signal
from collections.abc import AsyncIterator

from tests.faults.kinds.processes import pause, signal_all
from tests.harness.district import District
from tests.harness.powercut import Disk


def disk_of(district: District) -> Disk:
    disk = district.valkey.disk
    assert disk is not None, "this fault needs a watched disk"
    return disk


async def _valkey_ended(district: District) -> None:
    async def has_ended() -> bool:
        return not district.valkey.running

    await district.until(has_ended)


async def power_cut(district: District, dice: random.Random) -> AsyncIterator[None]:
    # The ledger lags, so that acknowledged claims stand in Valkey's log alone.
    signal_all([district.ledger.pid], signal.SIGSTOP)
    before = district.wins
    await pause(dice, 0.2, 1.2)
    await district.valkey.kill()
    await asyncio.sleep(0.05)
    district.add("won while the ledger lagged", district.wins - before)
    district.add("bytes cut off", disk_of(district).cut(district.valkey.data_dir))
    signal_all([district.ledger.pid], signal.SIGCONT)
    yield
    await district.valkey.start()


async def power_cut_at_any_lag(district: District, dice: random.Random) -> AsyncIterator[None]:
    """In about half of the rounds the ledger keeps up; in the others it lags, and claims stand in Valkey alone."""
    if dice.random() < 0.5:
        async for moment in power_cut(district, dice):
            yield moment
        return
    await pause(dice, 0.2, 1.2)
    await district.valkey.kill()
    district.add("bytes cut off", disk_of(district).cut(district.valkey.data_dir))
    yield
    await district.valkey.start()


async def slow_fsync(district: District, dice: random.Random) -> AsyncIterator[None]:
    disk_of(district).behave(delay_ms=dice.choice([50, 200, 500]))
    await pause(dice, 1.0, 3.0)
    yield
    disk_of(district).behave()


async def failing_fsync(district: District, dice: random.Random) -> AsyncIterator[None]:
    disk_of(district).behave(fail=True)
    await _valkey_ended(district)
    # Writes that were not confirmed are gone.
    disk_of(district).cut(district.valkey.data_dir)
    await pause(dice, 0.0, 0.3)
    disk_of(district).behave()
    yield
    await district.valkey.start()


async def full_disk(district: District, dice: random.Random) -> AsyncIterator[None]:
    filler = district.valkey.home / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    await _valkey_ended(district)
    await pause(dice, 0.0, 0.5)
    filler.unlink()
    yield
    await district.valkey.start()


async def torn_tail(district: District, dice: random.Random) -> AsyncIterator[None]:
    await district.valkey.kill()
    # A write that was cut short: it was never acknowledged, for its sync did not come.
    command = b"*4\r\n$4\r\nHSET\r\n$%d\r\n%b\r\n$3\r\nseq\r\n$2\r\n99\r\n" % (
        len(district.keys.cell),
        district.keys.cell.encode(),
    )
    with district.valkey.newest_log().open("ab") as log:
        log.write(dice.choice([b"", b"*1\r\n$5\r\nMULTI\r\n"]) + command[: dice.randrange(1, len(command) - 1)])
    yield
    await district.valkey.start()


async def out_of_memory(district: District, dice: random.Random) -> AsyncIterator[None]:
    await district.valkey.ask("CONFIG", "SET", "maxmemory", "1mb")
    await pause(dice, 0.3, 1.0)
    yield
    await district.valkey.ask("CONFIG", "SET", "maxmemory", "0")
