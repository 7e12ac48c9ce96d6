"""Speed, latency and fairness by the number of connections to one worker."""

import asyncio
import resource
from collections import defaultdict
from typing import Final

from bench.arrivals import Arrivals, arrive
from bench.closed_loop import quantile
from bench.figures import Figure, Results
from bench.machine import describe
from bench.registered_members import settle, with_passes
from bench.runs import InexactError, Log, Picture, arranged, refusals, rush, wins
from bench.testbed import Testbed
from loadtest.generator.requests import Target, build_requests

NUMBERS: Final = (64, 256, 1_000, 2_000, 4_000, 8_000)
QUICK_NUMBERS: Final = (64, 300)
ROUNDS: Final = 3
CROWD: Final = 16_000
QUICK_CROWD: Final = 1_200
TURNS: Final = 6
FILES_BESIDES: Final = 600
CALM_S: Final = 1.0
_CONNECTIONS: Final = "connections"
_RATE: Final = Picture("growth_connections", "Grabs a second by connections", _CONNECTIONS, "grabs/s")
_LATENCY: Final = Picture(
    "growth_connections_latency", "Latency in a closed loop, by connections", _CONNECTIONS, "ms", y_is_log=True
)
_ARRIVAL: Final = Picture(
    "growth_connections_arrival", "All connect and ask at once: until so many were answered", _CONNECTIONS, "ms", y_is_log=True
)
_FAIRNESS: Final = Picture(
    "growth_connections_fairness", "Mean latency of a connection, slowest 1 % ÷ median", _CONNECTIONS, "ratio"
)


def raise_limit_of_open_files() -> None:
    """As far as it goes, before a testbed is started: its programs inherit the limit."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def measure(testbed: Testbed, *, quick: bool = False, log: Log = print) -> Results:
    """64 connections to 8,000, as far as the limit of open files goes; about two minutes, a few seconds if `quick`.

    Raises:
        InexactError, TestbedError: something is not as it should be; there are no figures.
    """
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    numbers = [number for number in (QUICK_NUMBERS if quick else NUMBERS) if number <= files - FILES_BESIDES]
    rounds, size = (1, QUICK_CROWD) if quick else (ROUNDS, CROWD)
    found: dict[str, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    machine = {**describe(), "open_files_max": files}
    await settle(testbed, size, log)
    crowd = with_passes(testbed, range(size))
    async with arranged(testbed):
        for turn in range(0 if quick else -1, rounds):
            for number in numbers:
                won, refused = await wins(testbed, crowd, number), await refusals(testbed, crowd, number)
                burst = await _burst(testbed, number)
                if turn < 0:
                    continue  # to warm up
                found["won"][number].append(won.per_second)
                found["refused"][number].append(refused.per_second)
                for share, name in ((0.5, "p50"), (0.99, "p99")):
                    found[f"won, {name}"][number].append(quantile(won.result.latencies_s, share) * 1000)
                    found[f"refused, {name}"][number].append(quantile(refused.result.latencies_s, share) * 1000)
                    found[f"arrival {name}"][number].append(quantile(burst.first_s, share) * 1000)
                found["arrival all"][number].append(max(burst.first_s) * 1000)
                found["fairness"][number].append(quantile(burst.later_s, 0.99) / quantile(burst.later_s, 0.5))
                found["forgotten"][number].append(float(burst.broken + burst.unanswered))
                log(
                    f"{number:,} connections: {won.per_second:,.0f} won/s, {refused.per_second:,.0f} refused/s; "
                    f"arriving at once: {burst.broken} broken, {burst.unanswered} unanswered, all in {max(burst.first_s):.2f} s"
                )
    most = numbers[-1]
    return Results(
        "growth_connections",
        machine,
        (
            Figure(
                "connections_forgotten",
                f"Of {most:,} who connect and ask at once, those without an answer",
                "",
                tuple(found["forgotten"][most]),
                at_most=0,
            ),
            Figure(
                "connections_all_answered",
                f"Until each of {most:,} who connect at once has an answer",
                "ms",
                tuple(found["arrival all"][most]),
            ),
        ),
        (
            *(_RATE.curve(series, found[series]) for series in ("won", "refused")),
            *(_LATENCY.curve(series, found[series]) for series in ("won, p50", "won, p99", "refused, p50", "refused, p99")),
            *(
                _ARRIVAL.curve(share, found[f"arrival {name}"])
                for share, name in (("half", "p50"), ("99 %", "p99"), ("all", "all"))
            ),
            _FAIRNESS.curve("refusals", found["fairness"]),
        ),
    )


async def _burst(testbed: Testbed, number: int) -> Arrivals:
    """So many connect and ask at once for what is gone.

    Raises:
        InexactError: somebody was told anything else.
    """
    campaign_id = await testbed.campaign(1)
    first, *others = with_passes(testbed, range(number + 1))
    await rush(testbed, [campaign_id], [first], 1)
    await asyncio.sleep(CALM_S)
    requests = build_requests(others, Target("127.0.0.1", testbed.settings.port, f"/v1/campaigns/{campaign_id}/claims"))
    burst = await asyncio.to_thread(arrive, testbed.settings.port, requests, TURNS)
    if set(burst.by_status) != {409} or await testbed.claims(campaign_id) != 1:
        raise InexactError(f"the answers were {burst.by_status}")
    return burst
