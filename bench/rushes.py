"""The rush of 110,000 members for 3,000 units: their answers, and how soon they come.

Twice: all at once, as a closed loop, where generator, peer and Redis share the machine's cores; and at a steady 27,500 a
second for four seconds, as an open loop, where the peer has one core and the others share the rest. After each rush
exactly the stock was won.
"""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench import machine
from bench.closed_loop import LoopResult, closed_loop, quantile
from bench.figures import Figure, Results, ratios
from bench.open_loop import open_loop
from bench.peers.processes import NGINX, NODE, OURS, PLAIN, TITLES, Peer, running_peers
from bench.registered_members import settle, with_passes
from bench.runs import InexactError, Log
from bench.speed import awake, ledger_at_rest, pinned
from bench.testbed import Testbed, pin
from loadtest.generator.requests import Target, build_requests
from loadtest.passes import Member

MEMBERS: Final = 110_000
STOCK: Final = 3_000
PER_SECOND: Final = 27_500
OPEN_CONNECTIONS: Final = 2_000
RUSH_CONNECTIONS: Final = 256
P99_MAX: Final = 0.05
FEWER: Final = {PLAIN: 0.2}
"""A peer whose rush would last for minutes gets this share of the members: its winners are among the first all the same."""


async def measure(testbed: Testbed, rounds: int, folder: Path, log: Log, members: int = MEMBERS) -> Results:
    """Both rushes, peer by peer, round by round.

    Raises:
        InexactError: not exactly the stock was won.
    """
    await testbed.persist(None)
    await settle(testbed, members, log)
    crowd = with_passes(testbed, range(members))
    stock = min(STOCK, members // 10)
    open_p99_s: dict[str, list[float]] = {}
    rush: dict[str, list[LoopResult]] = {}
    async with running_peers(testbed, (OURS, NGINX, NODE, PLAIN), folder) as (peers, missing):
        for number in range(rounds):
            for name, peer in peers.items():
                await testbed.drained()
                async with awake(peers[OURS]):
                    steady, at_once = await asyncio.gather(testbed.campaign(stock), testbed.campaign(stock))
                async with awake(peer):
                    some = crowd[: round(len(crowd) * FEWER.get(name, 1))]
                    result = await _rush(testbed, peer, at_once, some, stock)
                    rush.setdefault(name, []).append(result)
                    said = f"all answered after {result.seconds:.2f} s, sold out after {result.last_win_s:.2f} s"
                    if name in {OURS, NGINX}:
                        open_p99_s.setdefault(name, []).append(await _steady(testbed, peer, steady, crowd, stock))
                        said += f"; at {PER_SECOND:,}/s, p99 {open_p99_s[name][-1] * 1000:,.1f} ms"
                log(f"round {number + 1} of {rounds}, {TITLES[name]}: {said}")
    rows = {
        name: {
            "title": TITLES[name] + (f" ({len(crowd) * FEWER[name]:,.0f} members)" if name in FEWER else ""),
            "answered_s": [result.seconds for result in results],
            "sold_out_s": [result.last_win_s for result in results],
            "winners_p99_s": [quantile(result.won_latencies_s, 0.99) for result in results],
            "p99_s": [quantile(result.latencies_s, 0.99) for result in results],
            "open_p99_s": open_p99_s.get(name, []),
        }
        for name, results in rush.items()
    }
    return Results("rushes", machine.describe(), tuple(_figures(rush, open_p99_s)), details={"rows": rows, "missing": missing})


async def _rush(testbed: Testbed, peer: Peer, campaign_id: str, crowd: Sequence[Member], stock: int) -> LoopResult:
    requests = _requests(peer, campaign_id, crowd)
    result = await asyncio.to_thread(closed_loop, peer.port, requests, RUSH_CONNECTIONS)
    await _see(testbed, campaign_id, result.by_status, stock, len(crowd))
    return result


async def _steady(testbed: Testbed, peer: Peer, campaign_id: str, crowd: Sequence[Member], stock: int) -> float:
    requests = _requests(peer, campaign_id, crowd)
    async with pinned(testbed) as cpus, ledger_at_rest(testbed):
        pin(peer.pids, cpus)
        flow = await asyncio.to_thread(open_loop, peer.port, requests, OPEN_CONNECTIONS, PER_SECOND)
    pin(peer.pids, sorted(os.sched_getaffinity(0)))
    await _see(testbed, campaign_id, flow.by_status, stock, len(crowd))
    return quantile(flow.latencies_s, 0.99)


def _requests(peer: Peer, campaign_id: str, crowd: Sequence[Member]) -> list[bytes]:
    return build_requests(crowd, Target("127.0.0.1", peer.port, f"/v1/campaigns/{campaign_id}/claims"))


async def _see(testbed: Testbed, campaign_id: str, by_status: dict[int, int], stock: int, members: int) -> None:
    held = await testbed.claims(campaign_id)
    if by_status != {201: stock, 409: members - stock} or held != stock:
        raise InexactError(f"answers {by_status} and {held} claims, where {stock} of {members} were to win")


def _figures(rush: dict[str, list[LoopResult]], open_p99_s: dict[str, list[float]]) -> list[Figure]:
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
                ratios([result.seconds for result in ours], [result.seconds for result in rush[NGINX]]),
                at_most=0.5,
            ),
        ]
    if PLAIN in rush:
        p99_s = [[quantile(result.won_latencies_s, 0.99) for result in rush[name]] for name in (OURS, PLAIN)]
        figures.append(
            Figure("winners_p99_per_plain", "p99 of winners in the rush ÷ plain FastAPI", "", ratios(*p99_s), at_most=0.1)
        )
    return figures
