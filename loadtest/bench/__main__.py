"""Which experiments are run, in which order, and where do their results go?

python -m loadtest.bench                     the whole table: about half an hour
python -m loadtest.bench speed ladder        these two
python -m loadtest.bench --quick             all of them, small and once: a try and no figures
python -m loadtest.bench --report            write the report anew from the results that are there
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final, Protocol

from grab_service.servers.errors import ServerError
from loadtest.bench import (
    claims_indexes,
    costs,
    drain,
    drain_ladder,
    durability,
    ladder,
    machine,
    profiles,
    report,
    rushes,
    speed,
)
from loadtest.bench.backlog import BacklogError
from loadtest.bench.figures import Results
from loadtest.bench.growth import campaigns, connections, members, stock, workers
from loadtest.bench.growth.laps import InexactError, Say, leave
from loadtest.bench.sampler import SamplerError
from loadtest.bench.stand import Stand, StandError, standing

DOCS: Final = Path("docs")
OUTFIT: Final = Path("var/bench/outfit")
ROUNDS: Final = 5
QUICK_GRABS: Final = 1_000
QUIET_SHARE: Final = 0.1
QUIET_WAIT_S: Final = 20.0

Experiment = Callable[[int, bool], Coroutine[Any, Any, Results]]


class OnStand(Protocol):
    """An experiment beside contenders, on a stand that is there."""

    async def __call__(self, stand: Stand, rounds: int, folder: Path, say: Say, size: int = ..., /) -> Results: ...


def _beside(measure: OnStand, size: int, quick_size: int = QUICK_GRABS) -> Experiment:
    async def run(rounds: int, quick: bool) -> Results:
        with tempfile.TemporaryDirectory(prefix="grab-bench-", ignore_cleanup_errors=True) as home:
            async with standing(Path(home)) as stand:
                return await measure(stand, 1 if quick else rounds, OUTFIT.absolute(), print, quick_size if quick else size)

    return run


def _alone(measure: Any) -> Experiment:
    async def run(_: int, quick: bool) -> Results:
        found: Results = await measure(quick=quick, say=print)
        return found

    return run


async def _drain(rounds: int, quick: bool) -> Results:
    described = machine.describe()
    figures = await (drain.measure(1, 20 * QUICK_GRABS) if quick else drain.measure(rounds))
    return Results("drain", described, figures)


async def _drain_ladder(rounds: int, quick: bool) -> Results:
    described = machine.describe()
    figures = await (drain_ladder.measure(1, 4 * QUICK_GRABS) if quick else drain_ladder.measure(rounds))
    return Results("drain_ladder", described, figures)


async def _claims_indexes(rounds: int, quick: bool) -> Results:
    described = machine.describe()
    sizes = (1, 4 * QUICK_GRABS, 2 * QUICK_GRABS) if quick else (rounds,)
    return Results("claims_indexes", described, await claims_indexes.measure(*sizes))


async def _profile(_: int, quick: bool) -> Results:
    described = machine.describe()
    count, seconds = (QUICK_GRABS * 5, 1.0) if quick else (profiles.MEMBERS, profiles.SECONDS)
    pictures = profiles.PICTURES if quick else DOCS / report.PICTURES
    return Results("profile", described, details=await profiles.measure(count, seconds, pictures))


EXPERIMENTS: Final[dict[str, Experiment]] = {
    "speed": _beside(speed.measure, speed.GRABS),
    "rushes": _beside(rushes.measure, rushes.MEMBERS, 3_000),
    "durability": _beside(durability.measure, durability.GRABS),
    "drain": _drain,
    "drain_ladder": _drain_ladder,
    "claims_indexes": _claims_indexes,
    "ladder": _beside(ladder.measure, ladder.GRABS),
    "profile": _profile,
    "costs": _alone(costs.measure),
    "members": _alone(members.measure),
    "stock": _alone(stock.measure),
    "workers": _alone(workers.measure),
    "connections": _alone(connections.measure),
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
        prog="python -m loadtest.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiments", nargs="*", help=f"of {', '.join(EXPERIMENTS)}; all if none is named")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of each comparison (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="small sizes, one round, into var/bench: a try and no figures")
    parser.add_argument("--report", action="store_true", help="measure nothing, write the report anew")
    asked = parser.parse_args()
    unknown = [name for name in asked.experiments if name not in EXPERIMENTS]
    if unknown:
        parser.error(f"there is no experiment {unknown[0]}; there are {', '.join(EXPERIMENTS)}")
    docs = Path("var/bench") if asked.quick else DOCS
    failed = []
    for name in () if asked.report else asked.experiments or EXPERIMENTS:
        share = 0.0 if asked.quick else _wait_for_quiet()
        print(f"bench: {name}" + (f", while others use {share:.0%} of the processors" if share > QUIET_SHARE else ""))
        began_s = time.monotonic()
        try:
            found = asyncio.run(EXPERIMENTS[name](asked.rounds, asked.quick))
        except (BacklogError, InexactError, OSError, SamplerError, ServerError, StandError, TimeoutError) as error:
            print(f"bench: {name} has no result: {error}", file=sys.stderr)
            failed.append(name)
            continue
        found.machine["others_share"] = round(share, 3)
        leave(found, docs / report.RESULTS, print)
        print(f"bench: {name} took {time.monotonic() - began_s:.0f} s")
    print(f"bench: {report.write(docs)}")
    if failed:
        print(f"bench: no result for {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
