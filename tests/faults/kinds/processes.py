"""Processes that are killed, or stand still for a while."""

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator
from typing import Final

from grab_service.embedded.programs import Program
from grab_service.embedded.server import EmbeddedServer as Server
from reconcile.leader import LOCK
from tests.harness.district import District

STORM_S: Final = 60.0
END_LEADER: Final = "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory' AND objid = $1"


async def pause(dice: random.Random, at_least_s: float, at_most_s: float) -> None:
    await asyncio.sleep(dice.uniform(at_least_s, at_most_s))


def signal_all(pids: list[int], sign: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, sign)
        except ProcessLookupError:
            continue


async def kill_redis(district: District, dice: random.Random) -> AsyncIterator[None]:
    await district.valkey.kill()
    await pause(dice, 0.0, 0.3)
    yield
    await district.valkey.start()


async def kill_redis_until_it_answers(district: District, dice: random.Random) -> AsyncIterator[None]:
    """Redis' time to read its log is its own affair; the time afterwards is ours."""
    await district.valkey.kill()
    await pause(dice, 0.0, 0.3)
    await district.valkey.start()
    yield


async def _kill(victim: Server | Program, dice: random.Random, away_max_s: float = 1.0) -> AsyncIterator[None]:
    await victim.kill()
    await pause(dice, 0.1, away_max_s)
    yield
    await victim.start()


def kill_postgres(district: District, dice: random.Random) -> AsyncIterator[None]:
    return _kill(district.postgres, dice)


async def kill_worker(district: District, dice: random.Random) -> AsyncIterator[None]:
    # The service's own supervisor starts another one.
    signal_all([dice.choice(district.worker_pids())], signal.SIGKILL)
    yield

    async def is_replaced() -> bool:
        return len(district.worker_pids()) == 2

    await district.until(is_replaced)


def kill_api(district: District, dice: random.Random) -> AsyncIterator[None]:
    return _kill(district.api, dice, away_max_s=0.5)


def kill_ledger(district: District, dice: random.Random) -> AsyncIterator[None]:
    return _kill(district.ledger, dice)


async def _stand_still(pids: list[int], dice: random.Random) -> AsyncIterator[None]:
    signal_all(pids, signal.SIGSTOP)
    await pause(dice, 0.5, 3.0)
    yield
    signal_all(pids, signal.SIGCONT)


def stop_redis(district: District, dice: random.Random) -> AsyncIterator[None]:
    return _stand_still([district.valkey.pid], dice)


def stop_postgres(district: District, dice: random.Random) -> AsyncIterator[None]:
    return _stand_still(district.postgres_pids(), dice)


def stop_worker(district: District, dice: random.Random) -> AsyncIterator[None]:
    return _stand_still([dice.choice(district.worker_pids())], dice)


def stop_ledger(district: District, dice: random.Random) -> AsyncIterator[None]:
    return _stand_still([district.ledger.pid], dice)


async def kill_bouncer(district: District, dice: random.Random) -> AsyncIterator[None]:
    bouncer = district.bouncer
    assert bouncer is not None, "this fault needs PgBouncer"
    await bouncer.kill()
    await pause(dice, 0.1, 3.0)
    yield
    bouncer.start()


async def storm(district: District, dice: random.Random) -> AsyncIterator[None]:
    async def strike(victim: Server | Program | None) -> None:
        if victim is None:
            pids = district.worker_pids()
            signal_all([dice.choice(pids)] if pids else [], signal.SIGKILL)
        else:
            await victim.kill()
            await pause(dice, 0.0, 0.5)
            await victim.start()

    ends_s = time.monotonic() + STORM_S
    redis, postgres, ledger, worker = district.valkey, district.postgres, district.ledger, None
    everything = (redis, postgres, ledger, worker)
    while time.monotonic() < ends_s:
        victims = dice.choice([*((one,) for one in (redis, redis, postgres, ledger, worker, worker)), everything])
        await asyncio.gather(*(strike(victim) for victim in victims))
        district.add("kills", 1)
        await pause(dice, 0.2, 1.5)
    yield


async def two_ledgers(district: District, dice: random.Random) -> AsyncIterator[None]:
    await district.other_ledger.start()
    await pause(dice, 1.0, 2.0)
    await district.ledger.kill()
    yield
    await _until_drained(district)
    await district.ledger.start()
    await pause(dice, 0.8, 1.2)
    await district.other_ledger.kill()


async def zombie_ledger(district: District, dice: random.Random) -> AsyncIterator[None]:
    signal_all([district.ledger.pid], signal.SIGSTOP)
    await district.other_ledger.start()
    # Postgres gives up the session of the one that stands still, as it does when a machine is gone.
    await district.ask_postgres(END_LEADER, LOCK)
    await _until_drained(district)
    await pause(dice, 0.1, 0.5)
    yield
    signal_all([district.ledger.pid], signal.SIGCONT)
    await pause(dice, 0.5, 1.0)
    await district.other_ledger.kill()
    await _until_drained(district)


async def suspended_recovery(district: District, dice: random.Random) -> AsyncIterator[None]:
    hold, cell = district.keys.hold, district.keys.cell
    await district.valkey.ask("FLUSHALL")
    async with asyncio.timeout(10):
        while not await district.valkey.ask("EXISTS", hold):
            await asyncio.sleep(0.002)
    await pause(dice, 0.0, 0.15)
    signal_all([district.ledger.pid], signal.SIGSTOP)
    district.add("stopped before the cell was armed", await district.valkey.ask("HGET", cell, "nonce") is None)
    await district.other_ledger.start()
    await district.ask_postgres(END_LEADER, LOCK)
    yield
    before = district.wins

    async def sells() -> bool:
        return district.wins > before + 50 or (district.crowd is not None and district.crowd.sold_out)

    await district.until(sells)
    signal_all([district.ledger.pid], signal.SIGCONT)
    await pause(dice, 0.5, 1.0)
    await _until_drained(district)
    await district.other_ledger.kill()
    await _until_drained(district)


async def postgres_away_for_the_sale(district: District, dice: random.Random) -> AsyncIterator[None]:
    await district.postgres.kill()
    before = district.wins
    await pause(dice, 5.0, 6.0)
    assert district.wins > before + 100, "grabs go on without Postgres"
    district.add("won while Postgres was away", district.wins - before)
    yield
    await district.postgres.start()
    await _until_drained(district)


async def redis_back_before_postgres(district: District, dice: random.Random) -> AsyncIterator[None]:
    await district.postgres.kill()
    await district.valkey.kill()
    await asyncio.sleep(0.2)  # what was on its way is heard by then
    before = district.wins
    await district.valkey.start()
    await pause(dice, 1.5, 2.5)
    assert district.wins == before, "nobody wins anything while nothing can be audited"
    yield
    await district.postgres.start()


async def _until_drained(district: District) -> None:
    """Wait until Postgres has what Redis has logged up to now."""
    seq = int(await district.valkey.ask("HGET", district.keys.cell, "seq"))

    async def is_there() -> bool:
        return int(await district.ask_postgres("SELECT last_seq FROM log_cursor")) >= seq

    await district.until(is_there)
