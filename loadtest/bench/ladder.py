"""What does each technique of the grab path bring? The service is measured with it and without it, one technique at a time."""

from pathlib import Path
from typing import Final

from loadtest.bench import machine
from loadtest.bench.contenders import OURS
from loadtest.bench.figures import Figure, Results, ratios
from loadtest.bench.growth.laps import Say
from loadtest.bench.speed import Found, compare
from loadtest.bench.stand import Stand

GRABS: Final = 30_000
RUNGS: Final = {
    "batches": "one script call for all who wait",
    "calls_at_once": "several calls under way at once",
    "gate": "refusals from the worker's own view of the log",
    "lane": "plain grabs below ASGI, by one lean parser",
    "turnstile": "what was read passes in slices, and answers leave together",
    "forms": "winners' answers filled into a form that their call shares",
    "freezing": "the collector of cycles leaves alone what lives for ever, and looks seldom",
}
"""By the name of what is taken out: what it is."""


async def measure(stand: Stand, rounds: int, folder: Path, say: Say, grabs: int = GRABS) -> Results:
    """For each technique: the whole service ÷ the service without it, for grabs won and refused."""
    await stand.persist(None)
    found, _, _ = await compare(stand, (OURS, *RUNGS), rounds, grabs, folder, say, direct=False)
    figures = []
    for name, title in RUNGS.items():
        for kind in ("won", "refused"):
            samples = ratios(getattr(found[OURS], kind), getattr(found[name], kind))
            figures.append(Figure(f"{kind}_with_{name}", title, "", samples))
    rows = {name: {key: getattr(one, key) for key in Found.__slots__} for name, one in found.items()}
    return Results("ladder", machine.describe(), tuple(figures), details={"rows": rows})
