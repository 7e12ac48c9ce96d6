"""The cost of many campaigns that are rushed at the same time. A batch is one script call for one campaign.

All campaigns are published from the beginning; the number of them over which a crowd of the same size spreads changes.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from bench.figures import Figure, Results, ratios
from bench.machine import describe
from bench.registered_members import settle, with_passes
from bench.runs import InexactError, Log, Picture, Run, arranged, rush
from bench.testbed import Testbed
from loadtest.passes import Member

NUMBERS: Final = (1, 3, 10, 30, 100)
QUICK_NUMBERS: Final = (1, 10)
ROUNDS: Final = 5
CROWD: Final = 12_000
QUICK_CROWD: Final = 500
CONNECTIONS: Final = 256
PUBLISH_AT_ONCE: Final = 20
_AT_ONCE: Final = "campaigns that are rushed at once"
_RATE: Final = Picture("growth_campaigns", "Grabs a second by campaigns at once", _AT_ONCE, "grabs/s")
_COST: Final = Picture("growth_campaigns_cost", "Processor time for each grab won", _AT_ONCE, "µs")


async def measure(testbed: Testbed, *, quick: bool = False, log: Log = print) -> Results:
    """One campaign to a hundred; about two minutes, a few seconds if `quick`.

    Raises:
        InexactError, TestbedError: something is not as it should be; there are no figures.
    """
    numbers, rounds, size = (QUICK_NUMBERS, 1, QUICK_CROWD) if quick else (NUMBERS, ROUNDS, CROWD)
    warm_up = 0 if quick else len(numbers)
    turns = warm_up + rounds * len(numbers)
    machine = describe()
    await settle(testbed, size * turns + numbers[-1], log)
    open_ids = await _publish(testbed, numbers[-1], size * turns)
    gone_ids = await _publish(testbed, numbers[-1], 1)
    log(f"{len(open_ids) + len(gone_ids)} campaigns are published")
    await rush(testbed, gone_ids, with_passes(testbed, range(size * turns, size * turns + len(gone_ids))), 1)
    won, refused = defaultdict[float, list[float]](list), defaultdict[float, list[float]](list)
    service_us, redis_us = defaultdict[float, list[float]](list), defaultdict[float, list[float]](list)
    async with arranged(testbed):
        for turn in range(turns):
            number = numbers[turn % len(numbers)]
            # Each time others: who holds a unit would be told of that one.
            crowd = with_passes(testbed, range(turn * size, (turn + 1) * size))
            one = await _lap(testbed, open_ids[:number], crowd, 201)
            other = await _lap(testbed, gone_ids[:number], crowd, 409)
            if turn < warm_up:
                continue
            won[number].append(one.per_second)
            refused[number].append(other.per_second)
            service_us[number].append(one.service_us)
            redis_us[number].append(one.redis_us)
            log(f"{number} campaigns: {one.per_second:,.0f} won/s, {other.per_second:,.0f} refused/s")
    few, many = numbers[0], numbers[-1]
    return Results(
        "growth_campaigns",
        machine,
        (
            Figure(
                "won_by_campaigns", f"Grabs won a second over {many} campaigns ÷ over {few}", "", ratios(won[many], won[few])
            ),
        ),
        (
            _RATE.curve("won", won, note=f"{2 * many} campaigns are published throughout"),
            _RATE.curve("refused", refused),
            _COST.curve("service", service_us),
            _COST.curve("Redis", redis_us),
        ),
    )


async def _publish(testbed: Testbed, number: int, stock: int) -> list[str]:
    found: list[str] = []
    for start in range(0, number, PUBLISH_AT_ONCE):
        some = range(start, min(start + PUBLISH_AT_ONCE, number))
        found += await asyncio.gather(*(testbed.campaign(stock) for _ in some))
    return found


async def _lap(testbed: Testbed, campaign_ids: Sequence[str], crowd: Sequence[Member], status: int) -> Run:
    """Everybody asks once, and hears that; a win is one claim more.

    Raises:
        InexactError: somebody heard otherwise, or the claims are not as many.
    """
    await testbed.drained()
    before = sum([await testbed.claims(one) for one in campaign_ids])
    done = await rush(testbed, campaign_ids, crowd, CONNECTIONS)
    more = sum([await testbed.claims(one) for one in campaign_ids]) - before
    if done.result.by_status != {status: len(crowd)} or more != (len(crowd) if status == 201 else 0):
        raise InexactError(f"answers {done.result.by_status} and {more} claims more, where all were to hear {status}")
    return done
