"""Is what was begun finished, whoever died in between, and done once however often it is sent?"""

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
from tests.harness.town import Town, until


@asynccontextmanager
async def without_sweep(town: Town) -> AsyncIterator[Sweep]:
    """The ledger but for its sweep, which the test makes sweep; it does not wait for others."""
    async with town.working() as parts:
        guards = asyncio.create_task(parts.guard.run())
        try:
            await town.open_for_business()
            yield Sweep(parts.engine, parts.cell, parts.leader, parts.counters, interval_s=0.05, grace_s=0)
        finally:
            await end([guards])


async def pending(town: Town) -> list[str | None]:
    """What Lua said last to each command that is still to be done."""
    async with town.engine.connect() as connection:
        query = select(commands.c.last_outcome).where(commands.c.done_seq.is_(None)).order_by(commands.c.command_id)
        return list((await connection.execute(query)).scalars())


async def free_units(town: Town, campaign_id: str = "c") -> list[bytes]:
    units: Any = await town.redis.zrange(town.keys.of_campaign(campaign_id).free, 0, -1)
    return list(units)


async def test_a_unit_decided_to_be_free_comes_back_once(town: Town) -> None:
    async with without_sweep(town) as sweep:
        names = await town.sale(12, stock=10)
        claims = await town.win_on_record("c", names[:10])
        assert [answer.split(b"\t")[0] for answer in await town.grab("c", [names[10]])] == [b"sold_out"]
        await town.decide_return(claims[4], "c", names[4])
        await town.decide_return(claims[6], "c", names[6], reason="lapsed")
        for _ in range(3):
            await sweep.round()
        assert await free_units(town) == [b"5", b"7"]
        await town.drained()
        assert await pending(town) == []
        again = await town.win_on_record("c", names[10:])
        rows = {row.seq: row for row in await town.claims()}
    assert [claim.unit_no for claim in again] == [5, 7]
    assert [rows[claims[at].seq].state for at in (4, 6)] == ["returned", "lapsed"]
    assert len({row.unit_no for row in rows.values() if row.state == "fulfilled"}) == 10


async def test_a_command_is_repeated_until_its_entry_is_drained(town: Town) -> None:
    """Lua has done it, and whoever asked died before it heard the answer."""
    async with without_sweep(town) as sweep:
        (name,) = await town.sale(1)
        (claim,) = await town.win_on_record("c", [name])
        assert (await town.cell.return_unit("c", name, claim.seq, "returned"))[0] == "returned"
        seq = await town.drained()
        # The command is written after the fact: no entry will ever tell of it again.
        await town.command_return(claim, "c", name)
        await sweep.round()
        assert await pending(town) == []
        (row,) = await town.sql("SELECT done_seq FROM commands")
        assert row.done_seq == seq
        assert await free_units(town) == [b"1"]


async def test_the_code_of_a_pool_goes_back_with_its_unit_and_is_granted_again(town: Town) -> None:
    async with without_sweep(town) as sweep:
        names = await town.sale(4, stock=3, kind="code_pool", codes=3)
        claims = await town.win_on_record("c", names[:3], key="k")
        await town.decide_return(claims[0], "c", names[0])
        await sweep.round()
        (again,) = await town.win_on_record("c", names[3:])
        assert await pending(town) == []
        assert await town.open_alarms() == {}
        rows = {row.seq: row for row in await town.claims()}
    assert (again.unit_no, again.code) == (claims[0].unit_no, claims[0].code)
    assert (rows[claims[0].seq].state, rows[claims[0].seq].code) == ("returned", None)
    assert rows[again.seq].code == claims[0].code


async def test_a_command_that_cannot_be_is_said_and_does_not_hold_up_the_others(town: Town) -> None:
    async with without_sweep(town) as sweep:
        names = await town.sale(2)
        claims = await town.win_on_record("c", names)
        await town.command_return(claims[0], "c", names[1])  # not hers
        await town.decide_return(claims[1], "c", names[1])
        await sweep.round()
        await town.drained()
        assert await pending(town) == ["unknown_claim"]
        alarm = await town.alarm(AlarmKind.RETURN_REFUSED)
        assert alarm["refused"] == {str(claims[0].seq): "unknown_claim"}
        await sweep.round()
        assert await town.alarm(AlarmKind.RETURN_REFUSED)
        await town.sql("DELETE FROM commands WHERE done_seq IS NULL")
        await sweep.round()
        assert await town.open_alarms() == {}


async def test_a_command_that_was_not_carried_out_is_sent_less_and_less_often(town: Town) -> None:
    async with without_sweep(town) as sweep:
        names = await town.sale(1, stock=1)
        (claim,) = await town.win_on_record("c", names)
        await town.command_return(claim, "c", "somebody-else")
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


async def test_the_wait_before_a_command_is_sent_again_doubles_up_to_its_bound(town: Town) -> None:
    async with without_sweep(town) as sweep:
        names = await town.sale(1, stock=1)
        (claim,) = await town.win_on_record("c", names)
        await town.command_return(claim, "c", "somebody-else")
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


async def test_what_was_scheduled_and_did_not_get_into_the_cell_is_published(town: Town) -> None:
    """Ops' call died after Postgres had it: members, codes and campaign are all still missing."""
    async with without_sweep(town) as sweep:
        names = await town.enrol(3, publish=False)
        await town.schedule(stock=2, kind="code_pool", codes=5, publish=False)
        await sweep.round()
        await town.drained()
        assert (await town.campaign()).published_seq is not None
        assert [answer.split(b"\t")[0] for answer in await town.grab("c", names)] == [b"won", b"won", b"sold_out"]
        before = await town.redis.hget(town.keys.cell, "seq")
        await town.drained()
        await sweep.round()
        assert await town.redis.hget(town.keys.cell, "seq") == before, "there was nothing left to do"


async def test_who_is_still_at_it_is_left_alone(town: Town) -> None:
    async with without_sweep(town) as sweep:
        sweep.grace_s = 0.3
        await town.schedule(publish=False)
        await sweep.round()
        assert (await town.cell.read_campaigns(["c"])).campaigns == {}
        await asyncio.sleep(0.4)
        await sweep.round()
        assert "c" in (await town.cell.read_campaigns(["c"])).campaigns


async def test_a_campaign_the_cell_will_not_take_is_said(town: Town) -> None:
    async with without_sweep(town) as sweep:
        await town.schedule("short", stock=5, kind="code_pool", codes=4, publish=False)
        await town.schedule("fine", publish=False)
        await sweep.round()
        await town.drained()
        assert (await town.campaign("fine")).published_seq is not None
        alarm = await town.alarm(AlarmKind.PUBLISH_REFUSED)
        assert alarm["refused"] == {"short": "too_few_codes\t4\t5"}
        await town.import_codes("short", 1)
        await sweep.round()
        await town.drained()
        assert (await town.campaign("short")).published_seq is not None
        await sweep.round()
        assert await town.open_alarms() == {}


async def test_a_draft_is_not_published(town: Town) -> None:
    async with without_sweep(town) as sweep:
        await town.schedule(publish=False)
        await town.sql("UPDATE campaigns SET state = 'draft'")
        await sweep.round()
        assert (await publish_campaign(town.engine, town.cell, "c")).outcome == "not_scheduled"
        assert (await publish_campaign(town.engine, town.cell, "nowhere")).outcome == "not_scheduled"
        assert (await town.cell.read_campaigns(["c"])).campaign_ids == []


async def test_publishing_twice_changes_nothing(town: Town) -> None:
    async with without_sweep(town):
        await town.enrol(2)
        await town.schedule(stock=3, kind="code_pool", codes=3)
        await town.drained()
        before = await town.everything_in_redis()
        assert (await publish_members(town.engine, town.cell)).changed == 0
        codes = await publish_codes(town.engine, town.cell, "c")
        assert (codes.loaded, codes.codes_loaded) == (0, 3)
        assert (await publish_campaign(town.engine, town.cell, "c")).outcome == "already"
        assert await town.everything_in_redis() == before


async def test_members_come_in_the_order_of_their_versions_and_none_is_left_out(town: Town) -> None:
    """More than one call's worth, and many of one version: as an import writes them."""
    async with without_sweep(town):
        await town.enrol(1500, publish=False)
        await town.sql("UPDATE members SET version = 7 WHERE member_id > 'm00300' AND member_id <= 'm01400'")
        done = await publish_members(town.engine, town.cell)
        assert done.changed == 1500
        (row,) = await town.sql("SELECT max(version) AS newest FROM members")
        assert done.members_version == row.newest
        assert await town.redis.hlen(town.keys.members) == 1500
        await town.sql("UPDATE members SET status = 'left', version = nextval('members_version') WHERE member_id = 'm00007'")
        assert (await publish_members(town.engine, town.cell)).changed == 1
        record = await town.redis.hget(town.keys.members, "m00007")
        assert isinstance(record, bytes)
        assert record.split(b"|")[1] == b"left"


async def test_two_who_load_the_same_codes_load_each_once(town: Town) -> None:
    async with without_sweep(town):
        await town.schedule(stock=10, kind="code_pool", codes=2500, publish=False)
        await asyncio.gather(*(publish_codes(town.engine, town.cell, "c") for _ in range(4)))
        codes: Any = await town.redis.lrange(town.keys.of_campaign("c").codes, 0, -1)
    assert [code.decode() for code in codes] == [f"c-POOL-{at:04d}" for at in range(1, 2501)]


async def test_the_sweep_waits_out_a_closed_cell(town: Town) -> None:
    async with town.open_ledger(sweep_interval_s=0.05):
        (name,) = await town.sale(1)
        (claim,) = await town.win_on_record("c", [name])
        await town.redis.hset(town.keys.cell, "nonce", "closed by hand")
        await town.decide_return(claim, "c", name)
        await asyncio.sleep(0.3)
        assert await free_units(town) == []
        await town.redis.script_flush()  # the guard arms it again
        await town.open_for_business()
        await until(lambda: free_units(town))
