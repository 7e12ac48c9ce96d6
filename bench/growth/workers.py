"""Speed by the number of workers on this machine.

All testbeds run at once and take turns, so that they meet the same machine. Nothing is pinned: generator, Redis, PostgreSQL and
ledger share the processors with the workers, as on one machine of a district.
"""

from collections import defaultdict
from contextlib import AsyncExitStack
from typing import Final

from bench.figures import Figure, Results, ratios
from bench.machine import describe
from bench.registered_members import settle, some
from bench.runs import Log, Picture, refusals, wins
from bench.testbed import Testbed, passing_testbed

NUMBERS: Final = (1, 2, 4)
QUICK_NUMBERS: Final = (2,)
ROUNDS: Final = 5
CROWD: Final = 20_000
QUICK_CROWD: Final = 1_000
CONNECTIONS: Final = 256
_RATE: Final = Picture("growth_workers", "Grabs a second by the number of workers", "workers", "grabs/s")


async def measure(*, quick: bool = False, log: Log = print) -> Results:
    """One, two and four workers; about a minute, a few seconds if `quick`.

    Raises:
        InexactError, TestbedError: something is not as it should be; there are no figures.
    """
    numbers, rounds, size = (QUICK_NUMBERS, 1, QUICK_CROWD) if quick else (NUMBERS, ROUNDS, CROWD)
    won, refused = defaultdict[float, list[float]](list), defaultdict[float, list[float]](list)
    machine = describe()
    async with AsyncExitStack() as stack:
        testbeds: dict[int, Testbed] = {}
        for number in numbers:
            testbeds[number] = await stack.enter_async_context(passing_testbed(workers=number))
            await testbeds[number].persist(None)
            await settle(testbeds[number], size, log)
        for turn in range(0 if quick else -1, rounds):
            for number, testbed in testbeds.items():
                crowd = some(testbed, size, size, seed=turn)
                one, other = await wins(testbed, crowd, CONNECTIONS), await refusals(testbed, crowd, CONNECTIONS)
                if turn < 0:
                    continue  # to warm up
                won[number].append(one.per_second)
                refused[number].append(other.per_second)
                log(f"{number} workers: {one.per_second:,.0f} won/s, {other.per_second:,.0f} refused/s")
    few, many = numbers[0], numbers[-1]
    return Results(
        "growth_workers",
        machine,
        (
            Figure("won_by_workers", f"Grabs won a second with {many} workers ÷ with {few}", "", ratios(won[many], won[few])),
            Figure(
                "refused_by_workers",
                f"Refusals a second with {many} workers ÷ with {few}",
                "",
                ratios(refused[many], refused[few]),
            ),
        ),
        (_RATE.curve("won", won), _RATE.curve("refused", refused)),
    )
