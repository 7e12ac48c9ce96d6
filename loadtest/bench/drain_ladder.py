"""What does each way of writing claims into PostgreSQL bring?

One log, drained again and again into the same tables with all their constraints, each time by another way of writing, on one
core. The ways differ in nothing but that: pages, transactions and the compared cursor are the ledger's own.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
from sqlalchemy import text, update
from sqlalchemy.ext.asyncio import AsyncEngine

from grab_service.cell.rights import Login
from grab_service.settings import Settings
from grab_service.sql.engine import connect
from grab_service.sql.tables import log_cursor
from grab_service.vocabulary.events import Granted
from grab_service.vocabulary.keys import CellKeys
from loadtest.bench import backlog
from loadtest.bench.figures import Figure, Results
from loadtest.bench.machine import describe
from loadtest.bench.stand import Stand, pin, standing
from loadtest.bench.ways_to_write import RUNGS, Write
from loadtest.crowd import Member
from reconcile.counters import Counters
from reconcile.cursor import Cursor, read_cursor
from reconcile.drain import Drain
from reconcile.pages import Pages
from reconcile.wire import Wire

ROUNDS: Final = 5
CLAIMS: Final = 20_000
WIRE_TIMEOUT_S: Final = 5.0
RESULTS: Final = Path("var/bench")
READ_AHEAD: Final = ("read_ahead", "the same, the next page read meanwhile: the drain as it is")


@dataclass(frozen=True, slots=True)
class Climb:
    """What one way took: claims a second, and µs of processor time a claim, of Python and of PostgreSQL."""

    per_second: float
    python_us: float
    postgres_us: float


async def measure(rounds: int = ROUNDS, claims_count: int = CLAIMS, say: Callable[[str], None] = print) -> tuple[Figure, ...]:
    """Climb all rungs, in turn, so many times.

    Raises:
        backlog.BacklogError, StandError: something is not as it should be; there are no figures.
    """
    with tempfile.TemporaryDirectory(prefix="grab-bench-", ignore_cleanup_errors=True) as home:
        async with standing(Path(home)) as stand:
            return await measure_on(stand, await stand.enrol(claims_count), rounds, say)


async def measure_on(
    stand: Stand, members: Sequence[Member], rounds: int, say: Callable[[str], None] = print
) -> tuple[Figure, ...]:
    """The same on a stand that is there, whose ledger is ended, and whose claims are thrown away."""
    found: dict[str, list[Climb]] = {name: [] for name in (*(rung.name for rung in RUNGS), READ_AHEAD[0])}
    campaign_id = await stand.campaign(len(members))
    await stand.drained()
    await stand.programs.ledger.stop()
    start = await read_cursor(stand.engine, stand.settings.cell)
    assert start is not None, "the ledger has begun the cell"
    await backlog.grow(stand, campaign_id, members)
    cores = sorted(psutil.Process().cpu_affinity() or [0])
    try:
        for number in range(1, rounds + 1):
            for name, climbs in found.items():
                climb = await _climb(stand, start, name, len(members), cores[0])
                await backlog.check(stand, campaign_id, len(members))
                climbs.append(climb)
                say(f"ladder {number}/{rounds}, {name}: {climb.per_second:,.0f} claims/s")
    finally:
        pin([os.getpid()], cores)
    return tuple(_figures(found))


def _figures(found: dict[str, list[Climb]]) -> list[Figure]:
    titles = {rung.name: rung.title for rung in RUNGS} | dict([READ_AHEAD])
    figures = []
    for name, climbs in found.items():
        title = titles[name]
        figures += [
            Figure(f"drain_by_{name}", title, "claims/s", tuple(one.per_second for one in climbs)),
            Figure(f"drain_by_{name}_python", f"{title}: Python", "µs", tuple(one.python_us for one in climbs)),
            Figure(f"drain_by_{name}_postgres", f"{title}: PostgreSQL", "µs", tuple(one.postgres_us for one in climbs)),
        ]
    return figures


async def _climb(stand: Stand, start: Cursor, name: str, claims_count: int, core: int) -> Climb:
    await _start_over(stand, start)
    engine = connect(stand.stack.addresses_of(Login.LEDGER).database_url, connections_max=1)
    wire = await Wire.open(stand.stack.redis_url, WIRE_TIMEOUT_S)
    try:
        async with engine.connect() as connection:
            backend = (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()
        pin([os.getpid(), backend], [core])
        began_s, python_s, postgres_s = time.perf_counter(), time.process_time(), backlog.cpu_s([backend])
        if name == READ_AHEAD[0]:
            await _drain(stand, engine, wire)
        else:
            await _write(stand, engine, wire, start, next(rung.write for rung in RUNGS if rung.name == name))
        took_s = time.perf_counter() - began_s
        return Climb(
            claims_count / took_s,
            (time.process_time() - python_s) / claims_count * 1e6,
            (backlog.cpu_s([backend]) - postgres_s) / claims_count * 1e6,
        )
    finally:
        await wire.close()
        await engine.dispose()


async def _start_over(stand: Stand, start: Cursor) -> None:
    async with stand.engine.begin() as connection:
        await connection.execute(text("TRUNCATE claims"))
        values = {"last_seq": start.last_seq, "last_id": start.last_id, "at_ms": start.at_ms}
        await connection.execute(update(log_cursor).values(values))


async def _write(stand: Stand, engine: AsyncEngine, wire: Wire, start: Cursor, write: Write) -> None:
    chosen = Settings()
    pages = Pages(CellKeys.of(stand.settings.cell), chosen.drain_entries_max, chosen.drain_rows_max)
    page = await pages.read(wire, start)
    while page.events:
        granted = [event for event in page.events if isinstance(event, Granted)]
        until = page.until
        async with engine.begin() as connection:
            moved = (
                update(log_cursor)
                .where(log_cursor.c.epoch == page.after.epoch, log_cursor.c.last_seq == page.after.last_seq)
                .values(last_seq=until.last_seq, last_id=until.last_id, at_ms=until.at_ms)
            )
            if (await connection.execute(moved)).rowcount != 1:
                raise backlog.BacklogError("somebody else has drained")
            await write(connection, granted)
        page = await pages.read(wire, until)


async def _drain(stand: Stand, engine: AsyncEngine, wire: Wire) -> None:
    async def nobody_pauses(_campaign_id: str) -> None:
        raise backlog.BacklogError("a claim was impossible")

    async def opened() -> Wire:
        return wire

    chosen = Settings()
    bounds = {"entries_max": chosen.drain_entries_max, "rows_max": chosen.drain_rows_max}
    drain = Drain(engine, stand.settings.cell, opened, Counters(), pause=nobody_pauses, **bounds)
    while await drain.step(wire):
        pass


def main() -> int:
    """Measure, keep the results, and say what came out."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.bench.drain_ladder", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="%(default)s")
    parser.add_argument("--claims", type=int, default=CLAIMS, help="in the log (%(default)s)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the JSON goes (%(default)s)")
    asked = parser.parse_args()
    machine = describe()
    figures = asyncio.run(measure(asked.rounds, asked.claims))
    for figure in figures:
        sys.stdout.write(f"{figure.title}: {figure.median:,.1f} {figure.unit} (± {figure.spread:.0%})\n")
    sys.stdout.write(f"in {Results('drain_ladder', machine, figures).write(asked.results)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
