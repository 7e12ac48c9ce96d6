"""What does it cost that every win is on disk before its answer?"""

import asyncio
from pathlib import Path
from typing import Final

from grab_service.servers.valkey import AppendFsync
from loadtest.bench import machine
from loadtest.bench.closed_loop import Lap, closed_loop
from loadtest.bench.figures import Figure, Results, ratios
from loadtest.bench.growth.crowds import settle, with_passes
from loadtest.bench.growth.laps import Say
from loadtest.bench.speed import exactly, pinned
from loadtest.bench.stand import Stand, pin
from loadtest.crowd import Target, build_requests

CONNECTIONS: Final = 256
GRABS: Final = 40_000
WAYS: Final[tuple[AppendFsync | None, ...]] = (None, AppendFsync.EVERYSEC, AppendFsync.ALWAYS)


async def measure(stand: Stand, rounds: int, folder: Path, say: Say, grabs: int = GRABS) -> Results:  # noqa: ARG001 -- as all
    """Every grab a win: without a log of writes, with one that is synced every second, and with one synced always."""
    await settle(stand, grabs, say)
    members = with_passes(stand, range(grabs))
    won: dict[AppendFsync | None, list[float]] = {way: [] for way in WAYS}
    async with pinned(stand) as cpus:
        pin(stand.service_pids(), cpus)
        for number in range(rounds + 1):
            for way in WAYS:
                await stand.drained()
                await stand.persist(way)
                campaign_id = await stand.campaign(grabs)
                target = Target("127.0.0.1", stand.settings.port, f"/v1/campaigns/{campaign_id}/claims")
                lap: Lap = await asyncio.to_thread(closed_loop, target.port, build_requests(members, target), CONNECTIONS)
                await exactly(stand, campaign_id, lap, {201: grabs}, grabs)
                if number:  # the first one warms up
                    won[way].append(lap.per_second)
                    say(f"round {number} of {rounds}, {way or 'no log'}: {lap.per_second:,.0f} won/s")
    figures = tuple(
        Figure(
            f"won_{way}_per_none", f"won with AOF `{way}` ÷ won without AOF", "", ratios(won[way], won[None]), at_least=least
        )
        for way, least in ((AppendFsync.ALWAYS, 0.75), (AppendFsync.EVERYSEC, None))
    )
    return Results("durability", machine.describe(), figures, details={str(way or "none"): found for way, found in won.items()})
