"""How is one experiment run by itself: on a testbed of its own, from the command line?"""

import argparse
import asyncio
import tempfile
from pathlib import Path
from typing import Final, Protocol

from bench.figures import Results
from bench.runs import Say, leave
from bench.testbed import Testbed, running_testbed

FOLDER: Final = Path("var/bench")


class Measure(Protocol):
    """An experiment."""

    async def __call__(self, *, quick: bool = False, say: Say = print) -> Results: ...


class On(Protocol):
    """An experiment on a testbed that is there."""

    async def __call__(self, testbed: Testbed, *, quick: bool = False, say: Say = print) -> Results: ...


async def alone(on: On, *, quick: bool, say: Say) -> Results:
    """Run it on a testbed with one worker, and a Redis that keeps no log of writes."""
    with tempfile.TemporaryDirectory(prefix="grab-bench-", ignore_cleanup_errors=True) as home:
        async with running_testbed(Path(home)) as testbed:
            await testbed.persist(None)
            return await on(testbed, quick=quick, say=say)


def run(measure: Measure, about: str | None) -> None:
    """Run it, and leave its results in a folder."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--quick", action="store_true", help="small sizes, one round: a try and no figures")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder for the JSON (default: %(default)s)")
    asked = parser.parse_args()
    leave(asyncio.run(measure(quick=asked.quick)), asked.out, print)
