"""Flame graphs of the service and the ledger in a rush.

Three flame graphs: the service when nearly everybody comes too late, the service when everybody wins, and the ledger that
drains these wins. Beside them, in numbers, what share each module has.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

from bench.closed_loop import LoopResult, closed_loop
from bench.figures import Results
from bench.flames import Flames, FlamesError
from bench.machine import describe
from bench.sampler import SamplerError, flame_graph
from bench.testbed import Testbed, passing_testbed, pin
from loadtest.generator.requests import Target, build_requests
from loadtest.passes import Member

MEMBERS: Final = 110_000
STOCK: Final = 3_000
SECONDS: Final = 8.0
CONNECTIONS: Final = 256
PICTURES: Final = Path("var/profile")
RESULTS: Final = Path("var/bench")
TITLES: Final = {
    "service-rush": "The service, when nearly everybody comes too late",
    "service-wins": "The service, when everybody wins",
    "ledger-wins": "The ledger, while everybody wins",
}


async def measure(members: int, seconds: float, pictures: Path) -> dict[str, Any]:
    """Draw the three pictures, and return their figures; each takes at least so many seconds.

    Raises:
        SamplerError: processes cannot be looked into here.
        TestbedError: the service cannot be brought up.
    """
    await asyncio.to_thread(pictures.mkdir, parents=True, exist_ok=True)
    async with passing_testbed() as testbed:
        print(f"profile: {members:,} members are enrolled")
        crowd = await testbed.enrol(members)
        service, ledger = testbed.service_pids()[0], testbed.programs.ledger.pid
        pin([service], [0])
        await _rush(testbed, crowd, STOCK)  # warm
        rush = {"service-rush": service}
        wins = {"service-wins": service, "ledger-wins": ledger}
        return {
            **await _scene(testbed, crowd, STOCK, rush, seconds, pictures),
            **await _scene(testbed, crowd, members, wins, seconds, pictures),
        }


async def _scene(
    testbed: Testbed, crowd: Sequence[Member], stock: int, sampled: dict[str, int], seconds: float, pictures: Path
) -> dict[str, Any]:
    """Rush after rush, sampled."""
    await testbed.drained()
    results: list[LoopResult] = []
    async with AsyncExitStack() as samplers:
        for name, pid in sampled.items():
            await samplers.enter_async_context(flame_graph(pid, pictures / f"{name}.svg", TITLES[name]))
        until_s = time.monotonic() + seconds
        while not results or time.monotonic() < until_s:
            results.append(await _rush(testbed, crowd, stock))
            result = results[-1]
            print(f"profile: {result.by_status.get(201, 0):,} of {result.answers:,} won, {result.per_second:,.0f} answers/s")
        await testbed.drained()
    return {
        name: {
            "title": TITLES[name],
            "won": sum(result.by_status.get(201, 0) for result in results),
            "answers": sum(result.answers for result in results),
            **(await asyncio.to_thread(Flames.read, pictures / f"{name}.svg")).summary(),
        }
        for name in sampled
    }


async def _rush(testbed: Testbed, crowd: Sequence[Member], stock: int) -> LoopResult:
    campaign_id = await testbed.campaign(stock)
    target = Target("127.0.0.1", testbed.settings.port, f"/v1/campaigns/{campaign_id}/claims")
    requests = build_requests(crowd, target)
    return await asyncio.to_thread(closed_loop, testbed.settings.port, requests, CONNECTIONS)


def main() -> int:
    """Draw, and print where; exit status 1 if it cannot be done here."""
    parser = argparse.ArgumentParser(prog="python -m bench.profiles", description=__doc__)
    parser.add_argument("--members", type=int, default=MEMBERS, help="in the crowd (%(default)s)")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each scene, at least (%(default)s)")
    parser.add_argument("--pictures", type=Path, default=PICTURES, help="where the SVGs go (%(default)s)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the numbers go (%(default)s)")
    asked = parser.parse_args()
    machine = describe()
    try:
        found = asyncio.run(measure(asked.members, asked.seconds, asked.pictures))
    except (SamplerError, FlamesError) as error:
        print(f"profile: {error}", file=sys.stderr)
        return 1
    path = Results("profile", machine, details=found).write(asked.results)
    for name, picture in found.items():
        shares = ", ".join(f"{owner} {share:.0%}" for owner, share in picture["modules"][:6])
        print(f"{asked.pictures / name}.svg: {shares}")
    print(f"in numbers: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
