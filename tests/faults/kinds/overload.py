"""Crowds that ask for more than there is time for, clients who are slow, deaf or gone, and workers replaced under load.

Promise: grants go on, shed requests are answered 503 with `Retry-After` in time, and afterwards all is as before.
"""

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

import httpx

from grab_service.vocabulary.passes import mint
from tests.harness.district import District
from tests.harness.hostile_clients import Kind, unleash

WINDOW_S: Final = 1.5
"""Grants are counted for so long before, and for so long while the hostile clients are there."""

GATHERS_S: Final = 1.5
"""From its start until all hostile clients are at it; a Python starts in that time, too."""

FRACTION: Final = 0.15
"""Of the undisturbed rate. Service, servers and all clients share one machine here: fairness alone costs more than half."""

ATTEMPTS: Final = 3
"""Other work of the machine spoils one window; a service that starves its grants spoils all of them."""

PAGE: Final = b"GET /v1/campaigns HTTP/1.1\r\nHost: grab\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Told:
    """The answers that the hostile clients got."""

    answers: dict[str, int]
    late: int
    unhinted: int
    slowest_s: float

    def count(self, name: str) -> int:
        return self.answers.get(name, 0)


async def _disturbed(district: District, kind: Kind, clients: int, requests: list[bytes], decided: str = "") -> Told:
    """Start hostile clients while the crowd goes on, and hold what both are told against the promise.

    `decided`: the answer to hostile clients that takes as much of Lua as a grant does, and counts as one.
    """
    for attempts_left in reversed(range(ATTEMPTS)):
        told, before, meanwhile = await _measured(district, kind, clients, requests, decided)
        assert told.late == 0, f"an answer took {told.slowest_s:.1f} s: {told}"
        assert told.unhinted == 0, f"503 without Retry-After: {told}"
        goes_on = district.crowd is None or district.crowd.sold_out or meanwhile >= FRACTION * before
        if goes_on:
            break
        assert attempts_left, f"{meanwhile} grants beside the hostile clients, {before} without: {told}"
    return told


async def _measured(district: District, kind: Kind, clients: int, requests: list[bytes], decided: str) -> tuple[Told, int, int]:
    """(the answers to the hostile clients, grants in a window before it, grants in a window beside it)."""
    before = await _grants_in_window(district)
    lasts_s = GATHERS_S + WINDOW_S + 0.5
    hostile = asyncio.create_task(unleash(district.settings.port, kind, clients, requests, district.home, lasts_s))
    await asyncio.sleep(GATHERS_S)
    meanwhile = await _grants_in_window(district)
    told = Told(**await hostile)
    district.add(f"grants in {WINDOW_S} s undisturbed", before)
    meanwhile += round(told.count(decided) * WINDOW_S / lasts_s)
    district.add(f"grants in {WINDOW_S} s meanwhile", meanwhile)
    for name, count in told.answers.items():
        district.add(f"x {name} to the hostile clients", count)
    return told, before, meanwhile


async def _grants_in_window(district: District) -> int:
    wins = district.wins
    began_s = time.monotonic()
    await asyncio.sleep(WINDOW_S)
    # On a busy machine a sleep takes longer.
    return round((district.wins - wins) * WINDOW_S / (time.monotonic() - began_s))


async def refresh_storm(district: District, dice: random.Random) -> AsyncIterator[None]:
    """Far more members look at the campaigns than there are places for."""
    told = await _disturbed(district, Kind.ASKERS, 400, [PAGE])
    assert told.count("200") > 0
    assert told.count("503 overloaded") > 0, f"nothing was shed: {told}"
    yield


async def flood_of_connections(district: District, dice: random.Random) -> AsyncIterator[None]:
    """More connections than the workers take, and more than they may open files for."""
    told = await _disturbed(district, Kind.CONNECTORS, 2_500, [b"GET /v1/time HTTP/1.1\r\nHost: grab\r\n\r\n"])
    assert told.count("503 overloaded") > 0, f"nobody was turned away: {told}"
    yield


async def slow_senders(district: District, dice: random.Random) -> AsyncIterator[None]:
    """Heads, bodies and chunks come a byte at a time; there are more of them than there are places for ordinary calls."""

    async def page() -> int:
        await asyncio.sleep(WINDOW_S + GATHERS_S + WINDOW_S / 2)  # in the midst of it
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{district.settings.port}", timeout=10) as client:
            return (await client.get("/v1/campaigns")).status_code

    asking = asyncio.create_task(page())
    await _disturbed(district, Kind.SLOW_SENDERS, 400, [PAGE])
    assert await asking == 200, "a slow sender takes nobody's place"
    yield


async def deaf_and_silent_clients(district: District, dice: random.Random) -> AsyncIterator[None]:
    """Those who ask and never read, and those who are connected and say nothing."""
    await _disturbed(district, dice.choice([Kind.DEAF, Kind.SILENT]), 500, [PAGE])
    yield


async def more_taps_than_it_can_take(district: District, dice: random.Random) -> AsyncIterator[None]:
    """Redis is slow, and many times as many ask as can be answered: strangers with a pass, whom only Lua can refuse."""
    for way in district.redis_ways.values():
        way.weather.delay_s = 0.15
    campaign_id = district.crowd.campaign_id if district.crowd else ""
    keys = district.settings.pass_keys()
    taps = [
        b"POST /v1/campaigns/%b/claims HTTP/1.1\r\nHost: grab\r\nAuthorization: Bearer %b\r\n\r\n"
        % (campaign_id.encode(), mint(keys, f"stranger-{number}", int(time.time()) + 600).encode())
        for number in range(3_000)
    ]
    await asyncio.sleep(1.0)
    told = await _disturbed(district, Kind.ASKERS, 600, taps, decided="403")
    assert told.count("503 overloaded") > 0, f"nothing was shed: {told}"
    assert told.count("503 outcome-unknown") < told.count("403"), f"most heard too late what was decided: {told}"
    yield
    for way in district.redis_ways.values():
        way.fine()


async def rolling_restart(district: District, dice: random.Random) -> AsyncIterator[None]:
    """All workers are replaced, and no client sees anything but answers."""
    crowd = district.crowd
    assert crowd is not None
    unanswered, again = crowd.unanswered, crowd.again
    old = set(district.worker_pids())
    os.kill(district.api.pid, signal.SIGHUP)

    async def are_new() -> bool:
        pids = set(district.worker_pids())
        return len(pids) == len(old) and not pids & old

    await district.until(are_new)
    assert (crowd.unanswered, crowd.again) == (unanswered, again), "somebody was reset, or told to come again"
    yield
