"""New workers are admitted only if they can do the work of the old ones, where there are old ones.

The causes of refusal are made on real servers: a password that was changed, a cell that is closed, a right that is gone.
"""

import asyncio
import itertools
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import orjson
import pytest
from redis.asyncio import Redis

from grab_service.cell.rights import Login, user_of
from grab_service.sql.grants import role_of
from grab_service.vocabulary.keys import CellKeys
from tests.acceptance.test_restart import all_workers_are_new, my_claims
from tests.harness.databases import session_in
from tests.harness.district import District, Districts
from tests.harness.keep_alive_clients import KeepAliveClient, Notes, keeping_on

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240), pytest.mark.asyncio(loop_scope="module")]

WITH_TWO = pytest.mark.xdist_group("successors of two workers")
"""Tests that share a district."""


GIVEN_UP_S = 20.0
"""A new process takes a second or two to come up, and more on a busy machine. Without a reason it would wait for a minute."""


@asynccontextmanager
async def another_password_in_redis(district: District) -> AsyncIterator[None]:
    """Connections that are there live on; new ones are refused."""
    async with Redis.from_url(district.valkey.url) as admin:
        user = user_of(district.settings.cell, Login.API)
        known: Any = await admin.acl_getuser(user)
        ask: Any = admin.execute_command
        await ask("ACL", "SETUSER", user, "resetpass", ">another")
        yield
        await ask("ACL", "SETUSER", user, "resetpass", *(f"#{one}" for one in known["passwords"]))


@asynccontextmanager
async def another_password_in_postgres(district: District) -> AsyncIterator[None]:
    async with session_in(district.postgres.url) as session:
        role = role_of(district.settings.cell, Login.API)
        known = await session.fetchval("SELECT rolpassword FROM pg_authid WHERE rolname = $1", role)
        await session.execute(f"ALTER ROLE \"{role}\" PASSWORD 'another'")
        yield
        await session.execute(f"ALTER ROLE \"{role}\" PASSWORD '{known}'")


@asynccontextmanager
async def a_closed_cell(district: District) -> AsyncIterator[None]:
    keys = CellKeys.of(district.settings.cell)
    os.kill(district.ledger.pid, signal.SIGSTOP)
    try:
        async with Redis.from_url(district.valkey.url) as admin:
            await admin.delete(keys.scripts)
            await admin.hdel(keys.cell, "nonce")
        yield
    finally:
        os.kill(district.ledger.pid, signal.SIGCONT)


Hindrance = Callable[[District], Any]


class Log:
    """The log of the district's service, from now on."""

    def __init__(self, district: District) -> None:
        self._path = district.api.log_path
        self._begin = self._path.stat().st_size

    def said(self, event: str) -> list[dict[str, Any]]:
        """The lines with this event."""
        lines = self._path.read_bytes()[self._begin :].splitlines()
        return [line for line in (orjson.loads(line) for line in lines if line.startswith(b"{")) if line["event"] == event]

    async def until_said(self, event: str, count: int) -> dict[str, Any]:
        async with asyncio.timeout(GIVEN_UP_S):
            while len(lines := self.said(event)) < count:
                await asyncio.sleep(0.05)
        return lines[-1]


@WITH_TWO
async def test_a_restart_that_would_serve_worse_is_given_up_at_once_and_says_why(districts: Districts) -> None:
    hindrances: list[tuple[Hindrance, str, bool]] = [
        (another_password_in_redis, "Redis refuses the password", True),
        (another_password_in_postgres, "Postgres refuses this worker", True),
        (a_closed_cell, "the cell is closed: no scripts are loaded", False),
    ]
    district = await districts(2)
    await district.enrol(400)
    log = Log(district)
    campaign_id = await district.open_campaign(400)
    pids = set(district.worker_pids())
    crowd = iter(district.grabs(campaign_id, range(1, 401)))
    for count, (hindrance, why, sells) in enumerate(hindrances, start=1):
        async with AsyncExitStack() as stack:
            requests = [crowd, itertools.repeat(my_claims(district, 1))]
            notes = await stack.enter_async_context(keeping_on(district.settings.port, requests, think_s=0.05))
            async with hindrance(district):
                asked_s = time.monotonic()
                os.kill(district.api.pid, signal.SIGHUP)
                line = await log.until_said("restart_abandoned", count)
                assert time.monotonic() - asked_s < GIVEN_UP_S
                assert why in line["why"], line
                assert set(district.worker_pids()) >= pids
        if sells:
            assert notes.errors == []
            assert notes.statuses[201] > 0, notes.statuses
    assert log.said("worker_replaced") == []
    await district.programs.wait_ready()
    os.kill(district.api.pid, signal.SIGHUP)
    await all_workers_are_new(district, pids)


@WITH_TWO
async def test_in_the_place_of_a_dead_worker_a_new_one_waits_while_another_serves(districts: Districts) -> None:
    district = await districts(2)
    await district.enrol(400)
    log = Log(district)
    campaign_id = await district.open_campaign(400)
    first, other = district.worker_pids()
    async with another_password_in_redis(district):
        os.kill(first, signal.SIGKILL)
        line = await log.until_said("worker_waits", 1)
        assert "Redis refuses the password" in line["why"], line
        notes, crowd = Notes(), iter(district.grabs(campaign_id, range(1, 41)))
        for grab in crowd:  # each on a connection of its own: every listening worker may take it
            client = KeepAliveClient(district.settings.port, notes)
            await client.ask(grab)
            await client.hang_up()
        assert notes.statuses == {201: 40}, (notes.statuses, notes.errors)
    os.kill(other, signal.SIGKILL)  # the one that waited opens, now that it can, and it alone is there
    await all_workers_are_new(district, {first, other})
    await district.programs.wait_ready()


async def test_the_only_worker_is_replaced_while_redis_is_away_and_says_that_it_waits_for_it(districts: Districts) -> None:
    district = await districts(1)
    await district.enrol(10)
    campaign_id = await district.open_campaign(10)
    (pid,) = district.worker_pids()
    await district.valkey.kill()
    os.kill(pid, signal.SIGKILL)
    client = KeepAliveClient(district.settings.port, notes := Notes(), keeps_bodies=True)
    grab, *_ = district.grabs(campaign_id, range(1, 2))
    assert await client.ask(grab) == 503, notes
    assert notes.broken == []
    await district.valkey.start()
    async with asyncio.timeout(30):
        while await client.ask(grab) != 201:
            await asyncio.sleep(0.1)
    await client.hang_up()
