"""Time until a stock is sold out, from ten units to a million, and the memory that its claims take.

Afterwards those who hold nothing ask for what is gone: each worker knows the holders of every unit, and refuses nobody of them.
"""

import asyncio
from collections import defaultdict
from typing import Final

from bench import backlog
from bench.figures import Figure, Results
from bench.machine import describe
from bench.registered_members import settle, with_passes
from bench.runs import CONNECTIONS, Log, Picture, arranged, check, redis_bytes, resident_bytes, rush
from bench.testbed import Testbed

SIZES: Final = (10, 100, 1_000, 10_000, 100_000, 1_000_000)
QUICK_SIZES: Final = (10, 500)
CROWD: Final = 20_000
QUICK_CROWD: Final = 1_000
GRABS_MAX: Final = 250_000
"""A size is tried several times over up to so many grabs together; a larger one is tried once."""
ROUNDS: Final = 5
WEIGHED_MIN: Final = 10_000
SELLING_MAX_S: Final = 60.0
KNOWN_AFTER_S: Final = 5.0
_SOLD_OUT: Final = Picture(
    "growth_stock_sold_out", "From the first request to the last unit", "units", "seconds", y_is_log=True
)
_REFUSED: Final = Picture("growth_stock_refused", "Refusals a second when so many claims are held", "claims", "refusals/s")
_MEMORY: Final = Picture("growth_stock_memory", "Memory for the claims of one campaign", "claims", "MB", y_is_log=True)


async def measure(testbed: Testbed, *, quick: bool = False, log: Log = print) -> Results:
    """Ten units to a million; about three minutes, a few seconds if `quick`.

    Raises:
        InexactError, TestbedError: something is not as it should be; there are no figures.
    """
    sizes, crowd_min = (QUICK_SIZES, QUICK_CROWD) if quick else (SIZES, CROWD)
    sold_out, refused = defaultdict[float, list[float]](list), defaultdict[float, list[float]](list)
    redis_mb: dict[float, list[float]] = {}
    worker_mb: dict[float, list[float]] = {}
    machine, each_s = describe(), 0.0
    await settle(testbed, sizes[-1] + crowd_min, log)
    late = with_passes(testbed, range(sizes[-1], sizes[-1] + crowd_min))
    async with arranged(testbed):
        for size in sizes:
            crowd = with_passes(testbed, range(max(size, crowd_min)))
            rounds = max(1, min(1 if quick else ROUNDS, GRABS_MAX // len(crowd)))
            for _ in range(rounds):
                await testbed.drained()
                campaign_id = await testbed.campaign(size)
                before = await redis_bytes(testbed), resident_bytes(testbed)
                if size * each_s > SELLING_MAX_S:
                    # On a machine as slow as this one is now: the same claims, by the same script, but not by way of HTTP.
                    log(f"{size:,} units would take {size * each_s:.0f} s to sell: the script is called directly")
                    await backlog.grow(testbed, campaign_id, crowd)
                    await asyncio.sleep(KNOWN_AFTER_S)
                else:
                    sold = await rush(testbed, [campaign_id], crowd, CONNECTIONS)
                    refused_meanwhile = {409: len(crowd) - size} if len(crowd) > size else {}
                    await check(testbed, campaign_id, sold, {201: size, **refused_meanwhile}, size)
                    sold_out[size].append(sold.result.last_win_s)
                    each_s = sold.result.seconds / len(crowd)
                    log(f"{size:,} units: gone after {sold.result.last_win_s:.3f} s")
                redis_mb[size] = [(await redis_bytes(testbed) - before[0]) / 1e6]
                after = resident_bytes(testbed)
                worker_mb[size] = [max(after - before[1], 0) / 1e6]
                for _ in range(1 if quick or rounds > 1 else ROUNDS):
                    other = await rush(testbed, [campaign_id], late, CONNECTIONS)
                    await check(testbed, campaign_id, other, {409: len(late)}, size)
                    refused[size].append(other.per_second)
                    log(f"{size:,} claims are held: {other.per_second:,.0f} refused/s")
    largest = sizes[-1]
    # Pages that the system gives a process are too coarse a scale for fewer.
    weighed = {size: [max(value, 0.01) for value in found] for size, found in worker_mb.items() if quick or size >= WEIGHED_MIN}
    return Results(
        "growth_stock",
        machine,
        (
            Figure(
                "redis_bytes_per_claim",
                "Memory of Redis for each claim, its entry in the log included",
                "bytes",
                (redis_mb[largest][0] * 1e6 / largest,),
            ),
            Figure(
                "worker_bytes_per_claim",
                f"Memory of a worker for each claim of {largest:,}, whose holders it knows",
                "bytes",
                (worker_mb[largest][0] * 1e6 / largest,),
            ),
        ),
        (
            _SOLD_OUT.curve("sold out", sold_out, note=f"{crowd_min:,} members ask, or as many as there are units"),
            _REFUSED.curve("refused", refused),
            _MEMORY.curve("Redis", redis_mb),
            _MEMORY.curve("one worker", weighed),
        ),
    )
