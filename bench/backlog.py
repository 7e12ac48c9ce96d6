"""A log that grows while nobody drains it, and the check that all of it is on record afterwards.

The ledger is suspended, and the grab script is called as workers call it, batch after batch. Every grab wins.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

import psutil
from sqlalchemy import func, select

from bench.testbed import Testbed
from grab_service.cell.scripts import ScriptSources
from grab_service.cell.store import Cell
from grab_service.sql.tables import claims, log_cursor
from grab_service.vocabulary.keys import CellKeys
from grab_service.vocabulary.voucher_codes import generate
from loadtest.passes import Member

SETTLED_S: Final = 2.0
BATCH: Final = 64
"""Members in one call of the grab script, as a busy worker gathers them."""


class BacklogError(Exception):
    """The log or the rows are not what was to be measured: the figures are worth nothing."""


async def grow(testbed: Testbed, campaign_id: str, members: Sequence[Member]) -> None:
    """Let each of these members win a unit.

    Raises:
        BacklogError: one of them did not.
    """
    cell = Cell(testbed.redis, testbed.settings.cell, ScriptSources.read())
    codes = generate(len(members))
    for start in range(0, len(members), BATCH):
        batch = slice(start, start + BATCH)
        triples: list[bytes | str] = []
        for member, code in zip(members[batch], codes[batch], strict=True):
            triples += (member.member_id, "", code)
        reply = await cell.grab(campaign_id, b"%d" % start, triples)
        if not all(answer.startswith(b"won\t") for answer in reply.answers):
            raise BacklogError(f"not everybody won: {set(reply.answers)!r:.300}")


async def drained_seq(testbed: Testbed) -> int:
    """Up to where the log is on record."""
    query = select(log_cursor.c.last_seq).where(log_cursor.c.cell == testbed.settings.cell)
    async with testbed.engine.connect() as connection:
        return int((await connection.execute(query)).scalar_one())


async def logged_seq(testbed: Testbed) -> int:
    """Up to where the log goes."""
    return int(await testbed.redis.hget(CellKeys.of(testbed.settings.cell).cell, "seq") or 0)


async def check(testbed: Testbed, campaign_id: str, wins: int) -> None:
    """See that exactly these claims are on record: members, units and codes each once, and the cursor at the end of the log.

    Raises:
        BacklogError: they are not.
    """
    query = select(
        func.count(),
        func.count(claims.c.member_id.distinct()),
        func.count(claims.c.unit_no.distinct()),
        func.count(claims.c.code.distinct()),
        func.max(claims.c.unit_no),
    ).where(claims.c.campaign_id == campaign_id)
    async with testbed.engine.connect() as connection:
        found = tuple((await connection.execute(query)).one())
    if found != (wins,) * 5:
        raise BacklogError(f"of {wins} claims, there are these rows, members, units, codes, and highest unit: {found}")
    until_s = time.monotonic() + SETTLED_S
    while (drained := await drained_seq(testbed)) != (logged := await logged_seq(testbed)):
        if time.monotonic() > until_s:
            raise BacklogError(f"the cursor is at {drained}, the log at {logged}")
        await asyncio.sleep(0.02)  # an entry that is no claim may be on its way


def cpu_s(pids: Sequence[int]) -> float:
    """The processor time that these processes have used so far, as far as they still live."""
    total_s = 0.0
    for pid in pids:
        try:
            times = psutil.Process(pid).cpu_times()
        except psutil.NoSuchProcess:
            continue
        total_s += times.user + times.system
    return total_s
