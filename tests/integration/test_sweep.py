"""Work that was begun is finished, whichever process died in between, and done once however often it is sent."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import select

from grab_service.publishing.publish import publish_campaign, publish_codes, publish_members
from grab_service.sql.tables import commands
from reconcile.alarms import AlarmKind
from reconcile.maintenance.sweep import BACKOFF_FIRST_S, BACKOFF_MAX_S, Sweep
from reconcile.process import end
from tests.harness.backend import Backend, until


@asynccontextmanager
async def without_sweep(backend: Backend) -> AsyncIterator[Sweep]:
    """The ledger but for its sweep, which the test makes sweep; it does not wait for others."""
    async with backend.working() as parts:
        guards = asyncio.create_task(parts.guard.run())
        try:
            await backend.open_for_business()
            yield Sweep(parts.engine, parts.cell, parts.leader, parts.counters, interval_s=0.05, grace_s=0)
        finally:
            await end([guards])


async def pending(backend: Backend) -> list[str | None]:
    """Lua's last answer to each command that is still to be done."""
    async with backend.engine.connect() as connection:
        query = select(commands.c.last_outcome).where(commands.c.done_seq.is_(None)).order_by(commands.c.command_id)
        return list((await connection.execute(query)).scalars())


async def free_units(backend: Backend, campaign_id: str = "c") -> list[bytes]:
    units: Any = await backend.redis.zrange(backend.keys.of_campaign(campaign_id).free, 0, -1)
    return list(units)


async def test_a_unit_decided_to_be_free_comes_back_once(backend: Backend) -> None:
    async with without_sweep(backend) as sweep:
        names = await backend.sale(12, stock=10)
        claims = await backend.win_on_record("c", names[:10])
        assert [answer.split(b"\t")[0] for answer in await backend.grab("c", [names[10]])] == [b"sold_out"]
        await backend.decide_return(claims[4], "c", names[4])
        await backend.decide_return(claims[6], "c", names[6], reason="lapsed")
        for _ in range(3):
            await sweep.round()
        assert await free_units(backend) == [b"5", b"7"]
        await backend.drained()
        assert await pending(backend) == []
        again = await backend.win_on_record("c", names[10:])
        rows = {row.seq: row for row in await backend.claims()}
    assert [claim.unit_no for claim in again] == [5, 7]
    assert [rows[claims[at].seq].state for at in (4, 6)] == ["returned", "lapsed"]
    assert len({row.unit_no for row in rows.values() if row.state == "fulfilled"}) == 10


async def test_a_command_is_repeated_until_its_entry_is_drained(backend: Backend) -> None:
    """Lua has done it, and the caller died before it heard the answer."""
    async with without_sweep(backend) as sweep:
        (name,) = await backend.sale(1)
        (claim,) = await backend.win_on_record("c", [name])
        assert (await backend.cell.return_unit("c", name, claim.seq, "returned"))[0] == "returned"
        seq = await backend.drained()
        # The command is written after the fact: no entry will ever tell of it again.
        await backend.command_return(claim, "c", name)
        await sweep.round()
        assert await pending(backend) == []
        (row,) = await backend.sql("SELECT done_seq FROM commands")
        assert row.done_seq == seq
        assert await free_units(backend) == [b"1"]


async def test_the_code_of_a_pool_goes_back_with_its_unit_and_is_granted_again(backend: Backend) -> None:
    async with without_sweep(backend) as sweep:
        names = await backend.sale(4, stock=3, kind="code_pool", codes=3)
        claims = await backend.win_on_record("c", names[:3], key="k")
        await backend.decide_return(claims[0], "c", names[0])
        await sweep.round()
        (again,) = await backend.win_on_record("c", names[3:])
        assert await pending(backend) == []
        assert await backend.open_alarms() == {}
        rows = {row.seq: row for row in await backend.claims()}
    assert (again.unit_no, again.code) == (claims[0].unit_no, claims[0].code)
    assert (rows[claims[0].seq].state, rows[claims[0].seq].code) == ("returned", None)
    assert rows[again.seq].code == claims[0].code


async def test_a_command_that_cannot_be_is_said_and_does_not_hold_up_the_others(backend: Backend) -> None:
    async with without_sweep(backend) as sweep:
        names = await backend.sale(2)
        claims = await backend.win_on_record("c", names)
        await backend.command_return(claims[0], "c", names[1])  # not hers
        await backend.decide_return(claims[1], "c", names[1])
        await sweep.round()
        await backend.drained()
        assert await pending(backend) == ["unknown_claim"]
        alarm = await backend.alarm(AlarmKind.RETURN_REFUSED)
        assert alarm["refused"] == {str(claims[0].seq): "unknown_claim"}
        await sweep.round()
        assert await backend.alarm(AlarmKind.RETURN_REFUSED)
        await backend.sql("DELETE FROM commands WHERE done_seq IS NULL")
        await sweep.round()
        assert await backend.open_alarms() == {}


async def test_a_command_that_was_not_carried_out_is_sent_less_and_less_often(backend: Backend) -> None:
    async with without_sweep(backend) as sweep:
        names = await backend.sale(1, stock=1)
        (claim,) = await backend.win_on_record("c", names)
        await backend.command_return(claim, "c", "somebody-else")
        calls = 0

        async def counted(*arguments: object) -> tuple[str, int]:
            nonlocal calls
            calls += 1
            return await real(*arguments)  # type: ignore[arg-type]

        real, sweep.cell.return_unit = sweep.cell.return_unit, counted  # type: ignore[method-assign, assignment]
        for _ in range(20):
            await sweep.round()
            await asyncio.sleep(0.05)
    assert 1 <= calls <= 3


async def test_the_wait_before_a_command_is_sent_again_doubles_up_to_its_bound(backend: Backend) -> None:
    async with without_sweep(backend) as sweep:
        names = await backend.sale(1, stock=1)
        (claim,) = await backend.win_on_record("c", names)
        await backend.command_return(claim, "c", "somebody-else")
        clock, waits_s = asyncio.get_running_loop().time, list[float]()
        for _ in range(9):
            began_s = clock()
            await sweep.round()
            assert sweep.counters.pending_commands == 1
            (backoff,) = sweep._backoffs.values()
            assert backoff.not_before_s > clock(), "it was sent, and waits"
            waits_s.append(backoff.not_before_s - began_s)
            backoff.not_before_s = clock()  # the wait is over
    doubled = [BACKOFF_FIRST_S * 2**number for number in range(9)]
    assert waits_s == pytest.approx([min(wait_s, BACKOFF_MAX_S) for wait_s in doubled], abs=0.4)


async def test_what_was_scheduled_and_did_not_get_into_the_cell_is_published(backend: Backend) -> None:
    """Ops' call died after Postgres had it: members, codes and campaign are all still missing."""
    async with without_sweep(backend) as sweep:
        names = await backend.enrol(3, publish=False)
        await backend.schedule(stock=2, kind="code_pool", codes=5, publish=False)
        await sweep.round()
        await backend.drained()
        assert (await backend.campaign()).published_seq is not None
        assert [answer.split(b"\t")[0] for answer in await backend.grab("c", names)] == [b"won", b"won", b"sold_out"]
        before = await backend.redis.hget(backend.keys.cell, "seq")
        await backend.drained()
        await sweep.round()
        assert await backend.redis.hget(backend.keys.cell, "seq") == before, "there was nothing left to do"


async def test_who_is_still_at_it_is_left_alone(backend: Backend) -> None:
    async with without_sweep(backend) as sweep:
        sweep.grace_s = 0.3
        await backend.schedule(publish=False)
        await sweep.round()
        assert (await backend.cell.read_campaigns(["c"])).campaigns == {}
        await asyncio.sleep(0.4)
        await sweep.round()
        assert "c" in (await backend.cell.read_campaigns(["c"])).campaigns


async def test_a_campaign_the_cell_will_not_take_is_said(backend: Backend) -> None:
    async with without_sweep(backend) as sweep:
        await backend.schedule("short", stock=5, kind="code_pool", codes=4, publish=False)
        await backend.schedule("fine", publish=False)
        await sweep.round()
        await backend.drained()
        assert (await backend.campaign("fine")).published_seq is not None
        alarm = await backend.alarm(AlarmKind.PUBLISH_REFUSED)
        assert alarm["refused"] == {"short": "too_few_codes\t4\t5"}
        await backend.import_codes("short", 1)
        await sweep.round()
        await backend.drained()
        assert (await backend.campaign("short")).published_seq is not None
        await sweep.round()
        assert await backend.open_alarms() == {}


async def test_a_draft_is_not_published(backend: Backend) -> None:
    async with without_sweep(backend) as sweep:
        await backend.schedule(publish=False)
        await backend.sql("UPDATE campaigns SET state = 'draft'")
        await sweep.round()
        assert (await publish_campaign(backend.engine, backend.cell, "c")).outcome == "not_scheduled"
        assert (await publish_campaign(backend.engine, backend.cell, "nowhere")).outcome == "not_scheduled"
        assert (await backend.cell.read_campaigns(["c"])).campaign_ids == []


async def test_publishing_twice_changes_nothing(backend: Backend) -> None:
    async with without_sweep(backend):
        await backend.enrol(2)
        await backend.schedule(stock=3, kind="code_pool", codes=3)
        await backend.drained()
        before = await backend.everything_in_redis()
        assert (await publish_members(backend.engine, backend.cell)).changed == 0
        codes = await publish_codes(backend.engine, backend.cell, "c")
        assert (codes.loaded, codes.codes_loaded) == (0, 3)
        assert (await publish_campaign(backend.engine, backend.cell, "c")).outcome == "already"
        assert await backend.everything_in_redis() == before


async def test_members_come_in_the_order_of_their_versions_and_none_is_left_out(backend: Backend) -> None:
    """More than one call's worth, and many of one version: as an import writes them."""
    async with without_sweep(backend):
        await backend.enrol(1500, publish=False)
        await backend.sql("UPDATE members SET version = 7 WHERE member_id > 'm00300' AND member_id <= 'm01400'")
        done = await publish_members(backend.engine, backend.cell)
        assert done.changed == 1500
        (row,) = await backend.sql("SELECT max(version) AS newest FROM members")
        assert done.members_version == row.newest
        assert await backend.redis.hlen(backend.keys.members) == 1500
        await backend.sql("UPDATE members SET status = 'left', version = nextval('members_version') WHERE member_id = 'm00007'")
        assert (await publish_members(backend.engine, backend.cell)).changed == 1
        record = await backend.redis.hget(backend.keys.members, "m00007")
        assert isinstance(record, bytes)
        assert record.split(b"|")[1] == b"left"


async def test_two_who_load_the_same_codes_load_each_once(backend: Backend) -> None:
    async with without_sweep(backend):
        await backend.schedule(stock=10, kind="code_pool", codes=2500, publish=False)
        await asyncio.gather(*(publish_codes(backend.engine, backend.cell, "c") for _ in range(4)))
        codes: Any = await backend.redis.lrange(backend.keys.of_campaign("c").codes, 0, -1)
    assert [code.decode() for code in codes] == [f"c-POOL-{at:04d}" for at in range(1, 2501)]


async def test_the_sweep_waits_out_a_closed_cell(backend: Backend) -> None:
    async with backend.open_ledger(sweep_interval_s=0.05):
        (name,) = await backend.sale(1)
        (claim,) = await backend.win_on_record("c", [name])
        await backend.redis.hset(backend.keys.cell, "nonce", "closed by hand")
        await backend.decide_return(claim, "c", name)
        await asyncio.sleep(0.3)
        assert await free_units(backend) == []
        await backend.redis.script_flush()  # the guard arms it again
        await backend.open_for_business()
        await until(lambda: free_units(backend))
