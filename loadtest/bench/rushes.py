"""What do 110,000 members hear, and how soon, when they all tap for 3,000 units?

Twice: all at once, as a closed loop, where generator, contender and Redis share the machine's cores; and at a steady 27,500 a
second for four seconds, as an open loop, where the contender has one core and the others share the rest. After each rush
exactly the stock was won.
"""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from loadtest.bench import machine
from loadtest.bench.closed_loop import Lap, closed_loop, quantile
from loadtest.bench.contenders import NGINX, NODE, OURS, PLAIN, TITLES, Contender, contending
from loadtest.bench.figures import Figure, Results, ratios
from loadtest.bench.growth.crowds import settle, with_passes
from loadtest.bench.growth.laps import InexactError, Say
from loadtest.bench.open_loop import open_loop
from loadtest.bench.speed import awake, ledger_at_rest, pinned
from loadtest.bench.stand import Stand, pin
from loadtest.crowd import Member, Target, build_requests

MEMBERS: Final = 110_000
STOCK: Final = 3_000
PER_SECOND: Final = 27_500
OPEN_CONNECTIONS: Final = 2_000
RUSH_CONNECTIONS: Final = 256
P99_MAX: Final = 0.05
FEWER: Final = {PLAIN: 0.2}
"""Whose rush would last for minutes gets this share of the members: its winners are among the first all the same."""


async def measure(stand: Stand, rounds: int, folder: Path, say: Say, members: int = MEMBERS) -> Results:
    """Both rushes, contender by contender, round by round.

    Raises:
        InexactError: not exactly the stock was won.
    """
    await stand.persist(None)
    await settle(stand, members, say)
    crowd = with_passes(stand, range(members))
    stock = min(STOCK, members // 10)
    open_p99_s: dict[str, list[float]] = {}
    rush: dict[str, list[Lap]] = {}
    async with contending(stand, (OURS, NGINX, NODE, PLAIN), folder) as (contenders, missing):
        for number in range(rounds):
            for name, contender in contenders.items():
                await stand.drained()
                async with awake(contenders[OURS]):
                    steady, at_once = await asyncio.gather(stand.campaign(stock), stand.campaign(stock))
                async with awake(contender):
                    some = crowd[: round(len(crowd) * FEWER.get(name, 1))]
                    lap = await _rush(stand, contender, at_once, some, stock)
                    rush.setdefault(name, []).append(lap)
                    said = f"all answered after {lap.seconds:.2f} s, sold out after {lap.last_win_s:.2f} s"
                    if name in {OURS, NGINX}:
                        open_p99_s.setdefault(name, []).append(await _steady(stand, contender, steady, crowd, stock))
                        said += f"; at {PER_SECOND:,}/s, p99 {open_p99_s[name][-1] * 1000:,.1f} ms"
                say(f"round {number + 1} of {rounds}, {TITLES[name]}: {said}")
    rows = {
        name: {
            "title": TITLES[name] + (f" ({len(crowd) * FEWER[name]:,.0f} members)" if name in FEWER else ""),
            "answered_s": [lap.seconds for lap in laps],
            "sold_out_s": [lap.last_win_s for lap in laps],
            "winners_p99_s": [quantile(lap.won_latencies_s, 0.99) for lap in laps],
            "p99_s": [quantile(lap.latencies_s, 0.99) for lap in laps],
            "open_p99_s": open_p99_s.get(name, []),
        }
        for name, laps in rush.items()
    }
    return Results("rushes", machine.describe(), tuple(_figures(rush, open_p99_s)), details={"rows": rows, "missing": missing})


async def _rush(stand: Stand, contender: Contender, campaign_id: str, crowd: Sequence[Member], stock: int) -> Lap:
    requests = _requests(contender, campaign_id, crowd)
    lap = await asyncio.to_thread(closed_loop, contender.port, requests, RUSH_CONNECTIONS)
    await _see(stand, campaign_id, lap.by_status, stock, len(crowd))
    return lap


async def _steady(stand: Stand, contender: Contender, campaign_id: str, crowd: Sequence[Member], stock: int) -> float:
    requests = _requests(contender, campaign_id, crowd)
    async with pinned(stand) as cpus, ledger_at_rest(stand):
        pin(contender.pids, cpus)
        flow = await asyncio.to_thread(open_loop, contender.port, requests, OPEN_CONNECTIONS, PER_SECOND)
    pin(contender.pids, sorted(os.sched_getaffinity(0)))
    await _see(stand, campaign_id, flow.by_status, stock, len(crowd))
    return quantile(flow.latencies_s, 0.99)


def _requests(contender: Contender, campaign_id: str, crowd: Sequence[Member]) -> list[bytes]:
    return build_requests(crowd, Target("127.0.0.1", contender.port, f"/v1/campaigns/{campaign_id}/claims"))


async def _see(stand: Stand, campaign_id: str, by_status: dict[int, int], stock: int, members: int) -> None:
    held = await stand.claims(campaign_id)
    if by_status != {201: stock, 409: members - stock} or held != stock:
        raise InexactError(f"answers {by_status} and {held} claims, where {stock} of {members} were to win")


def _figures(rush: dict[str, list[Lap]], open_p99_s: dict[str, list[float]]) -> list[Figure]:
    figures = []
    ours = rush[OURS]
    if NGINX in rush:
        figures += [
            Figure(
                "open_p99_per_nginx",
                f"open loop, {PER_SECOND:,}/s over {OPEN_CONNECTIONS:,} connections: p99 ÷ nginx + Lua",
                "",
                ratios(open_p99_s[OURS], open_p99_s[NGINX]),
                at_most=P99_MAX,
            ),
            Figure(
                "rush_per_nginx",
                "the rush of 110,000: opening to last answer ÷ nginx + Lua",
                "",
                ratios([lap.seconds for lap in ours], [lap.seconds for lap in rush[NGINX]]),
                at_most=0.5,
            ),
        ]
    if PLAIN in rush:
        p99_s = [[quantile(lap.won_latencies_s, 0.99) for lap in rush[name]] for name in (OURS, PLAIN)]
        figures.append(
            Figure("winners_p99_per_plain", "p99 of winners in the rush ÷ plain FastAPI", "", ratios(*p99_s), at_most=0.1)
        )
    return figures
