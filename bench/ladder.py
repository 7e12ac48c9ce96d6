"""The gain of each technique of the grab path: the service measured with it and without it, one at a time."""

from pathlib import Path
from typing import Final

from bench import machine
from bench.figures import Figure, Results, ratios
from bench.peers.processes import OURS
from bench.runs import Log
from bench.speed import Found, compare
from bench.testbed import Testbed

GRABS: Final = 30_000
RUNGS: Final = {
    "batches": "one script call for all who wait",
    "calls_at_once": "several calls under way at once",
    "gate": "refusals from the worker's own view of the log",
    "lane": "plain grabs below ASGI, by one lean parser",
    "scheduler": "grabs are processed in slices, and responses written together",
    "templates": "winners' answers filled into a response template that their call shares",
    "freezing": "long-lived objects are exempt from garbage collection, which runs seldom",
}
"""Titles of the parts that are taken out, by name."""
OF_MANY: Final = ("scheduler", "freezing")
"""Parts that were made for many connections, and are measured with these too."""
MANY: Final = 2_000


async def measure(testbed: Testbed, rounds: int, folder: Path, log: Log, grabs: int = GRABS) -> Results:
    """For each technique: the whole service ÷ the service without it, for grabs won and refused."""
    await testbed.persist(None)
    found, _, _ = await compare(testbed, (OURS, *RUNGS), rounds, grabs, folder, log, direct=False)
    figures = []
    for name, title in RUNGS.items():
        for kind in ("won", "refused"):
            samples = ratios(getattr(found[OURS], kind), getattr(found[name], kind))
            figures.append(Figure(f"{kind}_with_{name}", title, "", samples))
    rows = {name: {key: getattr(one, key) for key in Found.__slots__} for name, one in found.items()}
    many, _, _ = await compare(testbed, (OURS, *OF_MANY), rounds, grabs, folder, log, connections=MANY, direct=False)
    for name in OF_MANY:
        title = f"{RUNGS[name]}; {MANY:,} connections"
        for kind in ("won", "refused"):
            samples = ratios(getattr(many[OURS], kind), getattr(many[name], kind))
            figures.append(Figure(f"{kind}_with_{name}_of_many", f"{title}: {kind}/s", "", samples))
            tails = ratios(getattr(many[OURS], f"{kind}_p99_s"), getattr(many[name], f"{kind}_p99_s"))
            figures.append(Figure(f"{kind}_p99_with_{name}_of_many", f"{title}: p99 of {kind}", "", tails))
    return Results("ladder", machine.describe(), tuple(figures), details={"rows": rows})
