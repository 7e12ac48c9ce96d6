"""What do more workers bring on this machine?

All stands are there at once and take turns, so that they meet the same machine. Nothing is pinned: generator, Redis, PostgreSQL
and ledger share the processors with the workers, as on one machine of a district.
"""

import tempfile
from collections import defaultdict
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from loadtest.bench.figures import Figure, Results, ratios
from loadtest.bench.growth.command import run
from loadtest.bench.growth.crowds import settle, some
from loadtest.bench.growth.laps import Picture, Say, refusals, wins
from loadtest.bench.machine import describe
from loadtest.bench.stand import Stand, standing

NUMBERS: Final = (1, 2, 4)
QUICK_NUMBERS: Final = (2,)
ROUNDS: Final = 5
CROWD: Final = 20_000
QUICK_CROWD: Final = 1_000
CONNECTIONS: Final = 256
_RATE: Final = Picture("growth_workers", "Grabs a second by the number of workers", "workers", "grabs/s")


async def measure(*, quick: bool = False, say: Say = print) -> Results:
    """One, two and four workers; about a minute, a few seconds if `quick`.

    Raises:
        InexactError, StandError: something is not as it should be; there are no figures.
    """
    numbers, rounds, size = (QUICK_NUMBERS, 1, QUICK_CROWD) if quick else (NUMBERS, ROUNDS, CROWD)
    won, refused = defaultdict[float, list[float]](list), defaultdict[float, list[float]](list)
    machine = describe()
    async with AsyncExitStack() as stack:
        stands: dict[int, Stand] = {}
        for number in numbers:
            home = stack.enter_context(tempfile.TemporaryDirectory(prefix="grab-bench-", ignore_cleanup_errors=True))
            stands[number] = await stack.enter_async_context(standing(Path(home), workers=number))
            await stands[number].persist(None)
            await settle(stands[number], size, say)
        for turn in range(0 if quick else -1, rounds):
            for number, stand in stands.items():
                crowd = some(stand, size, size, seed=turn)
                one, other = await wins(stand, crowd, CONNECTIONS), await refusals(stand, crowd, CONNECTIONS)
                if turn < 0:
                    continue  # to warm up
                won[number].append(one.per_second)
                refused[number].append(other.per_second)
                say(f"{number} workers: {one.per_second:,.0f} won/s, {other.per_second:,.0f} refused/s")
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


if __name__ == "__main__":
    run(measure, __doc__)
