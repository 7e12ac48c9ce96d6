"""Of two concurrent changes in a forced order, the second sees the result of the first.

Each test holds the lock for which the call under test must wait, sees it waiting, changes what it read before, and lets it go.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import httpx
import pytest

from grab_service.campaigns import codes
from grab_service.members import versions as member_versions
from tests.harness.service import Service
from tests.integration.test_api_members import WAITING
from tests.integration.test_ops_campaigns import post, problem, read
from tests.integration.test_ops_imports import HEADER, pool, upload

ROW = "SELECT 1 FROM campaigns WHERE campaign_id = $1 FOR UPDATE"


class Holder:
    """A transaction that holds locks, as somebody who may do anything."""

    def __init__(self, session: asyncpg.Connection) -> None:
        self._session = session

    async def run(self, statement: str, *values: object) -> None:
        await self._session.execute(statement, *values)

    async def makes_wait(self, call: Coroutine[Any, Any, httpx.Response]) -> "asyncio.Task[httpx.Response]":
        """Begin the call, and return when it waits for a lock; a call that does not wait is over, and has failed."""
        begun = asyncio.create_task(call)
        async with asyncio.timeout(10):
            while await self._session.fetchval(str(WAITING)) < 1:
                assert not begun.done(), f"it waited for nothing: {begun.result().text}"
                await asyncio.sleep(0.005)
        return begun


@pytest.fixture
async def session(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    session = await asyncpg.connect(database_url)
    yield session
    await session.close()


@asynccontextmanager
async def holding(session: asyncpg.Connection, statement: str, *values: object) -> AsyncIterator[Holder]:
    """Fence what the statement locks; on the way out, everything is committed."""
    async with session.transaction():
        await session.execute(statement, *values)
        yield Holder(session)


CHANGED_MEANWHILE = [
    ("version = 2", (412, "precondition-failed"), None),
    ("state = 'scheduled'", (409, "wrong-state"), "scheduled"),
    ("state = 'cancelled'", (409, "wrong-state"), "cancelled"),
]


@pytest.mark.parametrize(("change", "answer", "state"), CHANGED_MEANWHILE)
@pytest.mark.parametrize("what", ["change", "schedule"])
async def test_a_draft_that_changed_since_it_was_read_is_left_alone(
    what: str, change: str, answer: tuple[int, str], state: str | None, service: Service, session: Any
) -> None:
    campaign_id = await service.create()
    headers = {**service.ops(), "If-Match": '"1"'}
    url = f"/v1/ops/campaigns/{campaign_id}"
    call = (
        service.http.patch(url, json={"title": "another"}, headers=headers)
        if what == "change"
        else post(service, f"{campaign_id}/schedule")
    )
    async with holding(session, ROW, campaign_id) as holder:
        begun = await holder.makes_wait(call)
        await holder.run(f"UPDATE campaigns SET {change} WHERE campaign_id = $1", campaign_id)
    refused = await begun
    assert problem(refused) == answer
    assert refused.json().get("state") == state
    now = await read(service, campaign_id)
    assert (now["title"], now["published"]) == ("中秋月饼", False)


async def test_a_draft_that_is_scheduled_while_somebody_cancels_it_is_cancelled_as_what_it_is(
    service: Service, session: Any
) -> None:
    campaign_id = await service.create()
    async with holding(session, ROW, campaign_id) as holder:
        begun = await holder.makes_wait(post(service, f"{campaign_id}/cancel"))
        await holder.run("UPDATE campaigns SET state = 'scheduled' WHERE campaign_id = $1", campaign_id)
    cancelled = await begun
    assert cancelled.status_code == 200, cancelled.text
    await service.drained()
    assert (await read(service, campaign_id))["state"] == "cancelled"
    await service.enrol("m-1")
    assert problem(await service.grab("m-1", campaign_id)) == (410, "cancelled")


@pytest.mark.parametrize("what", ["block", "import"])
async def test_a_member_who_changes_while_others_are_imported_waits_and_all_reach_the_cell(
    what: str, service: Service, session: Any
) -> None:
    campaign_id = await service.sale("m-1", "m-2")
    async with holding(session, "SELECT pg_advisory_xact_lock($1)", member_versions.LOCK) as importing:
        # An import that has its versions, and has not committed.
        change = "UPDATE members SET status = 'suspended', version = nextval('members_version') WHERE member_id = 'm-1'"
        await importing.run(change)
        call = (
            service.http.put("/v1/ops/blocklist/m-2", json={"reason": "代抢"}, headers=service.ops())
            if what == "block"
            else upload(service, "members/import", HEADER + "m-2,org-1,,李四,,,,suspended\n")
        )
        begun = await importing.makes_wait(call)
    assert (await begun).status_code == 200
    for member_id in ("m-1", "m-2"):
        assert problem(await service.grab(member_id, campaign_id)) == (403, "member-blocked"), member_id


async def test_codes_that_come_in_at_once_stand_one_after_the_other(service: Service, session: Any) -> None:
    campaign_id = await pool(service)
    async with holding(session, "SELECT pg_advisory_xact_lock($1)", codes.LOCK) as importing:
        await importing.run("INSERT INTO pool_codes VALUES ($1, 1, 'A1')", campaign_id)
        begun = await importing.makes_wait(upload(service, f"campaigns/{campaign_id}/codes", "code\nA1\nB1\nB2\n"))
    taken = (await begun).json()
    assert (taken["imported"], taken["loaded"], [one["row"] for one in taken["rejected"]]) == (2, 3, [2])
    kept = await session.fetch("SELECT position, code FROM pool_codes ORDER BY position")
    assert [tuple(row) for row in kept] == [(1, "A1"), (2, "B1"), (3, "B2")]
