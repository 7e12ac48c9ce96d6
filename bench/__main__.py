"""The benchmark's command line: it runs experiments, keeps their results, and writes the page from them.

python -m bench                     the whole table: about half an hour
python -m bench speed ladder        these two
python -m bench --quick             all of them, small and once: a try and no figures
python -m bench --report            write the report anew from the results that are there
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final, Protocol

from bench import claims_indexes, costs, drain, durability, ladder, machine, performance_page, profiles, rushes, speed
from bench.backlog import BacklogError
from bench.figures import Results
from bench.growth import campaigns, connections, members, stock, workers
from bench.runs import InexactError, Log, MeasureOnTestbed, write_down
from bench.sampler import SamplerError
from bench.testbed import Testbed, TestbedError, passing_testbed
from grab_service.embedded.errors import ServerError

DOCS: Final = Path("docs")
QUICK_DOCS: Final = Path("var/bench")
DEPENDENCIES: Final = Path("var/bench/dependencies")
ROUNDS: Final = 5
QUICK_GRABS: Final = 1_000
QUIET_SHARE: Final = 0.1
QUIET_WAIT_S: Final = 20.0

Experiment = Callable[[int, bool], Coroutine[Any, Any, Results]]


class OnTestbed(Protocol):
    """An experiment beside peers, on a testbed that is there."""

    async def __call__(self, testbed: Testbed, rounds: int, folder: Path, log: Log, size: int = ..., /) -> Results: ...


def _beside(measure: OnTestbed, size: int, quick_size: int = QUICK_GRABS) -> Experiment:
    async def run(rounds: int, quick: bool) -> Results:
        async with passing_testbed() as testbed:
            return await measure(testbed, 1 if quick else rounds, DEPENDENCIES.absolute(), print, quick_size if quick else size)

    return run


def _alone(measure: MeasureOnTestbed) -> Experiment:
    """On a testbed of its own, with one worker and a Redis that keeps no log of writes."""

    async def run(_: int, quick: bool) -> Results:
        async with passing_testbed() as testbed:
            await testbed.persist(None)
            return await measure(testbed, quick=quick)

    return run


async def _connections(rounds: int, quick: bool) -> Results:
    connections.raise_limit_of_open_files()
    return await _alone(connections.measure)(rounds, quick)


async def _workers(_: int, quick: bool) -> Results:
    return await workers.measure(quick=quick)


async def _drain(rounds: int, quick: bool) -> Results:
    described = machine.describe()
    figures = await (drain.measure(1, 20 * QUICK_GRABS) if quick else drain.measure(rounds))
    return Results("drain", described, figures)


async def _claims_indexes(rounds: int, quick: bool) -> Results:
    described = machine.describe()
    sizes = (1, 4 * QUICK_GRABS, 2 * QUICK_GRABS) if quick else (rounds,)
    return Results("claims_indexes", described, await claims_indexes.measure(*sizes))


async def _profile(_: int, quick: bool) -> Results:
    described = machine.describe()
    count, seconds = (QUICK_GRABS * 5, 1.0) if quick else (profiles.MEMBERS, profiles.SECONDS)
    return Results("profile", described, details=await profiles.measure(count, seconds, profiles.PICTURES))


EXPERIMENTS: Final[dict[str, Experiment]] = {
    "speed": _beside(speed.measure, speed.GRABS),
    "rushes": _beside(rushes.measure, rushes.MEMBERS, 3_000),
    "durability": _beside(durability.measure, durability.GRABS),
    "drain": _drain,
    "claims_indexes": _claims_indexes,
    "ladder": _beside(ladder.measure, ladder.GRABS),
    "profile": _profile,
    "costs": _alone(costs.measure),
    "members": _alone(members.measure),
    "stock": _alone(stock.measure),
    "workers": _workers,
    "connections": _connections,
    "campaigns": _alone(campaigns.measure),
}


def _wait_for_quiet() -> float:
    """The share of the processors that others use just now; waits a while for it to become small."""
    give_up_s = time.monotonic() + QUIET_WAIT_S
    while (share := machine.busy_share()) > QUIET_SHARE and time.monotonic() < give_up_s:
        print(f"bench: others use {share:.0%} of the processors; waiting for them")
    return share


def main() -> int:
    """Run what is asked for, write the results and the report; exit status 1 if an experiment had no result."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiments", nargs="*", help=f"of {', '.join(EXPERIMENTS)}; all if none is named")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of each comparison (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="small sizes, one round, into var/bench: a try and no figures")
    parser.add_argument("--report", action="store_true", help="measure nothing, write the report anew")
    parser.add_argument("--docs", type=Path, help="folder of the page, its results and pictures (docs; with --quick var/bench)")
    asked = parser.parse_args()
    unknown = [name for name in asked.experiments if name not in EXPERIMENTS]
    if unknown:
        parser.error(f"there is no experiment {unknown[0]}; there are {', '.join(EXPERIMENTS)}")
    docs = asked.docs or (QUICK_DOCS if asked.quick else DOCS)
    failed = []
    for name in () if asked.report else asked.experiments or EXPERIMENTS:
        share = 0.0 if asked.quick else _wait_for_quiet()
        print(f"bench: {name}" + (f", while others use {share:.0%} of the processors" if share > QUIET_SHARE else ""))
        began_s = time.monotonic()
        try:
            found = asyncio.run(EXPERIMENTS[name](asked.rounds, asked.quick))
        except (BacklogError, InexactError, OSError, SamplerError, ServerError, TestbedError, TimeoutError) as error:
            print(f"bench: {name} has no result: {error}", file=sys.stderr)
            failed.append(name)
            continue
        found.machine["others_share"] = round(share, 3)
        write_down(found, docs / performance_page.RESULTS, print)
        print(f"bench: {name} took {time.monotonic() - began_s:.0f} s")
    print(f"bench: {performance_page.write(docs)}")
    if failed:
        print(f"bench: no result for {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
