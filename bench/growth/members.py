"""Speed of a grab and memory of Redis by the number of registered members."""

from collections import defaultdict
from typing import Final

from bench.figures import Figure, Results
from bench.machine import describe
from bench.registered_members import settle, some
from bench.runs import Log, Picture, arranged, redis_bytes, refusals, wins
from bench.testbed import Testbed

SIZES: Final = (1_000, 10_000, 100_000, 1_000_000)
QUICK_SIZES: Final = (1_000, 2_000)
ROUNDS: Final = 5
CROWD: Final = 20_000
_RATE: Final = Picture("growth_members", "Grabs a second by the number of members", "members in Redis", "grabs/s")
_MEMORY: Final = Picture(
    "growth_members_memory", "Memory of Redis by the number of members", "members in Redis", "MB", y_is_log=True
)


async def measure(testbed: Testbed, *, quick: bool = False, log: Log = print) -> Results:
    """From a thousand members to a million; about two minutes, a few seconds if `quick`. The testbed has no members yet.

    Raises:
        InexactError, TestbedError: something is not as it should be; there are no figures.
    """
    sizes, rounds = (QUICK_SIZES, 1) if quick else (SIZES, ROUNDS)
    won, refused = defaultdict[float, list[float]](list), defaultdict[float, list[float]](list)
    redis_mb: dict[float, list[float]] = {}
    members_mb, machine = 0.0, describe()
    async with arranged(testbed):
        for size in sizes:
            before = await redis_bytes(testbed)
            await settle(testbed, size, log)
            members_mb += (await redis_bytes(testbed) - before) / 1e6
            redis_mb[size] = [members_mb]
            for number in range(-1 if size == sizes[0] and not quick else 0, rounds):
                crowd = some(testbed, size, min(size, CROWD), seed=number)
                # A thousand grabs are over before they can be timed.
                times = min(10, CROWD // len(crowd))
                one, other = await wins(testbed, crowd, times=times), await refusals(testbed, crowd, times=times)
                if number < 0:
                    continue  # to warm up
                won[size].append(one.per_second)
                refused[size].append(other.per_second)
                log(f"{size:,} members: {one.per_second:,.0f} won/s, {other.per_second:,.0f} refused/s")
    smallest, largest = sizes[0], sizes[-1]
    each = (redis_mb[largest][0] - redis_mb[smallest][0]) * 1e6 / (largest - smallest)
    ratios = tuple(one / other for one, other in zip(won[largest], won[sizes[1]], strict=True))
    return Results(
        "growth_members",
        machine,
        (
            Figure("redis_bytes_per_member", "Memory of Redis for each registered member", "bytes", (each,)),
            Figure(
                "won_by_members",
                f"Grabs won a second with {largest:,} members ÷ with {sizes[1]:,}",
                "",
                ratios,
                note="measured one after the other: members only become more",
            ),
        ),
        (_RATE.curve("won", won), _RATE.curve("refused", refused), _MEMORY.curve("Redis", redis_mb)),
    )
