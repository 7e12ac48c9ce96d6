"""The same script called directly, without HTTP, one call a grab, by redis-benchmark."""

import asyncio
import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from bench.backlog import cpu_s
from bench.peers import dependencies
from bench.runs import Log
from bench.testbed import Testbed
from grab_service.vocabulary.keys import CellKeys

CONNECTIONS: Final = 64
TIMEOUT_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Direct:
    """Calls a second, and what each cost Redis, in µs of processor time."""

    per_second: float
    redis_us: float


async def direct_calls(testbed: Testbed, campaign_id: str, folder: Path, calls: int, members: int, log: Log) -> Direct | None:
    """So many calls, each for one of the members at random; None if redis-benchmark cannot be had.

    A member who is picked twice holds already, which is less work, and the campaign has no codes, for redis-benchmark cannot
    offer a new one each time: the figure is, if anything, too good.
    """
    try:
        program, libraries = await asyncio.to_thread(dependencies.redis_benchmark, folder)
    except dependencies.UnavailableError as error:
        log(f"redis-benchmark is left out: {error}")
        return None
    keys, campaign = CellKeys.of(testbed.settings.cell), CellKeys.of(testbed.settings.cell).of_campaign(campaign_id)
    table = {bytes(name): bytes(value) for name, value in (await testbed.redis.hgetall(keys.scripts)).items()}  # type: ignore[arg-type]
    sha = next(value for name, value in table.items() if name.endswith(b":grab")).decode()
    names = (keys.cell, campaign.campaign, campaign.claims, campaign.bindings, campaign.free, campaign.codes)
    call = ("EVALSHA", sha, "8", *names, keys.members, keys.log, table[b"epoch"].decode(), "0", "b", campaign_id)
    address = urlsplit(testbed.stack.redis_url)
    options = ("-p", str(address.port), "-a", address.password or "", "-c", str(CONNECTIONS), "-n", str(calls), "--csv")
    before_s = cpu_s([testbed.redis_pid()])
    process = await asyncio.create_subprocess_exec(
        *(str(program), *options, "-r", str(members), *call, "p-__rand_int__", "", ""),
        env=dependencies.environment(libraries),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            said, complained = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    used_s = cpu_s([testbed.redis_pid()]) - before_s
    held = await testbed.claims(campaign_id)
    rows = list(csv.DictReader(io.StringIO(said.decode())))
    if process.returncode or not rows or not calls * 0.8 <= held <= calls:
        log(f"redis-benchmark is left out: {held} of {calls} won; {complained.decode(errors='replace')[-300:]}")
        return None
    return Direct(float(rows[0]["rps"]), used_s / calls * 1e6)
