"""The price of having every win on disk before its answer."""

import asyncio
from pathlib import Path
from typing import Final

from bench import machine
from bench.closed_loop import LoopResult, closed_loop
from bench.figures import Figure, Results, ratios
from bench.registered_members import settle, with_passes
from bench.runs import Log
from bench.speed import exactly, pinned
from bench.testbed import Testbed, pin
from grab_service.embedded.valkey import AppendFsync
from loadtest.generator.requests import Target, build_requests

CONNECTIONS: Final = 256
GRABS: Final = 40_000
WAYS: Final[tuple[AppendFsync | None, ...]] = (None, AppendFsync.EVERYSEC, AppendFsync.ALWAYS)


async def measure(testbed: Testbed, rounds: int, folder: Path, log: Log, grabs: int = GRABS) -> Results:  # noqa: ARG001 -- as all
    """Every grab a win: without a log of writes, with one that is synced every second, and with one synced always."""
    await settle(testbed, grabs, log)
    members = with_passes(testbed, range(grabs))
    won: dict[AppendFsync | None, list[float]] = {way: [] for way in WAYS}
    async with pinned(testbed) as cpus:
        pin(testbed.service_pids(), cpus)
        for number in range(rounds + 1):
            for way in WAYS:
                await testbed.drained()
                await testbed.persist(way)
                campaign_id = await testbed.campaign(grabs)
                target = Target("127.0.0.1", testbed.settings.port, f"/v1/campaigns/{campaign_id}/claims")
                result: LoopResult = await asyncio.to_thread(
                    closed_loop, target.port, build_requests(members, target), CONNECTIONS
                )
                await exactly(testbed, campaign_id, result, {201: grabs}, grabs)
                if number:  # the first one warms up
                    won[way].append(result.per_second)
                    log(f"round {number} of {rounds}, {way or 'no log'}: {result.per_second:,.0f} won/s")
    figures = tuple(
        Figure(
            f"won_{way}_per_none", f"won with AOF `{way}` ÷ won without AOF", "", ratios(won[way], won[None]), at_least=least
        )
        for way, least in ((AppendFsync.ALWAYS, 0.75), (AppendFsync.EVERYSEC, None))
    )
    return Results("durability", machine.describe(), figures, details={str(way or "none"): found for way, found in won.items()})
