"""A worker takes the union of a member from the pass exactly while the cell holds the same one."""

import asyncio
import time
from contextlib import AbstractAsyncContextManager

import pytest
from redis.asyncio import Redis

from grab_service.cell.scripts import ScriptSources
from grab_service.cell.store import Cell
from grab_service.grabpath.view import View
from grab_service.vocabulary.passes import CLOCKS_APART_S, PassKeys, mint
from tests.harness.cells import Member, armed_cell
from tests.harness.worker import view_of

KEYS = PassKeys.build("demo", [("k1", b"the secret of this cell .........")])
NAMES = ("m-1", "m-2", "m-3")


def records(version: int, org_id: str, *names: str, status: str = "active") -> list[str]:
    record = Member(version=version, org_id=org_id, status=status).record()
    return [text for name in names for text in (name, record)]


@pytest.fixture
async def cell(cell_name: str, redis_client: Redis) -> Cell:
    """A cell that held its members before any worker began."""
    cell = await armed_cell(redis_client, cell_name)
    await cell.publish_members(1, records(1, "org-1", *NAMES))
    return cell


def view_of_another(cell: Cell, redis_client: Redis, age_max_s: float = 5) -> AbstractAsyncContextManager[View]:
    """The view of a worker of its own, which looks only when it is woken."""
    return view_of(Cell(redis_client, cell.name, ScriptSources.read()), age_max_s=age_max_s)


async def seen(view: View, seq: int) -> None:
    async with asyncio.timeout(5):
        while view.seq < seq or not view.is_fresh:
            view.wake()
            await asyncio.sleep(0.002)


class Holders:
    """Passes that are made in the second after this one, by a clock that is as far ahead as a clock may be."""

    def __init__(self) -> None:
        self._made_at_s = int(time.time()) + 1

    async def until_made(self) -> None:
        await asyncio.sleep(self._made_at_s + 0.01 - time.time())

    def token(self, member_id: str, org_id: str = "org-1") -> bytes:
        made_at_s = self._made_at_s + CLOCKS_APART_S
        return mint(KEYS, member_id, made_at_s + 600, made_at_s=made_at_s, org_id=org_id).encode()

    def orgs(self, view: View) -> list[str | None]:
        return [view.org_of(self.token(name)) for name in NAMES]


async def test_a_member_whose_union_changes_is_certain_no_more_and_nobody_else(cell: Cell, redis_client: Redis) -> None:
    async with view_of_another(cell, redis_client) as view:
        before = Holders()
        await before.until_made()
        assert before.orgs(view) == ["org-1"] * 3
        await cell.publish_members(2, records(2, "org-2", "m-1") + records(2, "org-1", "m-2", status="suspended"))
        await cell.publish_members(3, records(3, "org-9", "m-new"))
        await seen(view, cell.seen_seq)
        assert before.orgs(view) == [None, "org-1", "org-1"]
        assert view.org_of(before.token("m-new", "org-9")) == "org-9"
        assert view.org_of(Holders().token("m-1", "org-2")) == "org-2", "by a pass that was made since"
        assert view.members_version == 3


async def test_a_worker_does_not_believe_passes_from_before_it_began(cell: Cell, redis_client: Redis) -> None:
    holders = Holders()
    async with view_of_another(cell, redis_client) as early:
        await holders.until_made()
        assert holders.orgs(early) == ["org-1"] * 3
        async with view_of_another(cell, redis_client) as late:
            assert holders.orgs(late) == [None] * 3
            assert late.members_version == 1


async def test_a_view_that_is_built_anew_believes_no_older_pass(cell: Cell, redis_client: Redis) -> None:
    async with view_of_another(cell, redis_client) as view:
        holders = Holders()
        await holders.until_made()
        assert holders.orgs(view) == ["org-1"] * 3
        await cell.publish_members(2, records(2, "org-2", "m-1"))
        await redis_client.xdel(cell.keys.log, f"{cell.seen_seq}-0")
        await cell.publish_members(3, records(3, "org-2", "m-2"))
        await seen(view, cell.seen_seq)
        assert holders.orgs(view) == [None] * 3
        assert view.members_version == 3


async def test_a_view_that_is_old_is_certain_of_nobody(cell: Cell, redis_client: Redis) -> None:
    holders = Holders()
    async with view_of_another(cell, redis_client, age_max_s=0.5) as view:
        await holders.until_made()
        await seen(view, cell.seen_seq)
        assert holders.orgs(view) == ["org-1"] * 3
        await asyncio.sleep(0.6)
        assert holders.orgs(view) == [None] * 3
