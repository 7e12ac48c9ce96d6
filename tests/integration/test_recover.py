"""Is a cell that was rebuilt from Postgres the cell that was lost?"""

import asyncio
import time
from typing import Any

import pytest

from grab_service.ops.audit import audit_cell
from grab_service.ops.publish import publish_codes
from reconcile.process import Ledger
from reconcile.rebuild import empty_cell
from reconcile.recover import NothingToRecoverError, recover
from reconcile.wire import Wire
from tests.integration.ledgers import Town, until


async def a_busy_day(town: Town) -> None:
    """Something of everything that the rules read: limits, keys, returns, pools, states, a stock that was changed."""
    names = await town.enrol(40)
    await town.sql(
        "UPDATE members SET blocked_until_ms = 4102444800000, version = nextval('members_version'), birthday_month = 3,"
        " joined_on = '2020-02-29', tags = ARRAY['driver', '司机'] WHERE member_id = :name",
        name=names[39],
    )
    await town.schedule("one", stock=20, valid_days=3)
    await town.schedule("many", stock=30, limit=3, kind="none")
    await town.schedule("pool", stock=10, kind="code_pool", codes=14)
    await town.schedule("quiet", stock=5)
    await town.schedule("over", stock=5)
    won = await town.win("one", names[:12])
    for key in ("a", "b", "c"):
        await town.win("many", names[:5], key=key)
    many = await town.win("many", names[5:8], key="a")
    pool = await town.win("pool", names[:6])
    await town.drained()
    for campaign_id, claims in (("one", [(won[2], names[2]), (won[11], names[11])]), ("many", [(many[0], names[5])])):
        for claim, name in claims:
            await town.decide_return(claim, campaign_id, name)
    await town.decide_return(pool[1], "pool", names[1])
    await until(lambda: _all_done(town))
    await town.win("one", [names[20]])  # takes a unit that came back
    await town.win("one", [names[2]])  # whoever gave back may win again
    await town.cell.set_stock("one", 20, 25)
    await town.cell.set_state("quiet", "pause")
    await town.cell.set_state("over", "close")
    await town.import_codes("pool", 3)
    await publish_codes(town.engine, town.cell, "pool")
    await town.enrol(3)
    # Decided here, and the cell was not told yet.
    await town.drained()
    await town.sql(
        "UPDATE claims SET state = 'returned', decided_at_ms = 1 WHERE member_id = :name AND campaign_id = 'pool'",
        name=names[3],
    )


async def _all_done(town: Town) -> bool:
    return not await town.sql("SELECT 1 FROM commands WHERE done_seq IS NULL")


def comparable(everything: dict[str, Any]) -> dict[str, Any]:
    """Without what is new in every life."""
    kept = {key: value for key, value in everything.items() if key not in {"log", "scripts"}}
    kept["cell"] = {name: value for name, value in kept["cell"].items() if name not in {b"nonce", b"epoch", b"seq"}}
    return kept


async def _recover(parts: Ledger, wire: Wire) -> None:
    await recover(wire, parts.engine, parts.settings.cell, "by_hand", parts.new_drain)


async def test_the_rebuilt_cell_is_the_cell_that_was(town: Town) -> None:
    async with town.ledger():
        await town.open_for_business()
        await a_busy_day(town)
        await town.drained()
        before = await town.everything_in_redis()
    async with town.parts() as parts, town.wire() as wire:
        await _recover(parts, wire)
        once = await town.everything_in_redis()
        await _recover(parts, wire)
        twice = await town.everything_in_redis()
    assert comparable(before).keys() >= {
        "members",
        "campaigns",
        "campaign:one:returns",
        "campaign:many:bindings",
        "campaign:pool:codes",
        "campaign:pool:free",
    }, "the day was not busy enough to show much"
    assert comparable(once) == comparable(before)
    assert comparable(twice) == comparable(before)
    assert (once["cell"][b"epoch"], twice["cell"][b"epoch"]) == (b"2", b"3")
    assert b"nonce" not in once["cell"], "it is closed until it is armed"
    assert "scripts" not in once
    seq = int(before["cell"][b"seq"])
    ((entry_id, entry),) = once["log"]
    assert entry_id == b"%d-0" % (seq + 1)
    assert (entry[b"type"], entry[b"epoch"], entry[b"predecessor"]) == (b"epoch_began", b"2", b"1")


async def test_units_that_were_cut_off_the_stock_are_not_offered_by_the_rebuilt_cell(town: Town) -> None:
    async with town.ledger():
        await town.open_for_business()
        names = await town.enrol(5)
        await town.schedule(stock=8)
        claims = await town.win("c", names)
        await town.drained()
        await town.decide_return(claims[4], "c", names[4])
        await until(lambda: _all_done(town))
        await town.cell.set_stock("c", 8, 4)
        await town.drained()
        before = await town.everything_in_redis()
    async with town.parts() as parts, town.wire() as wire:
        await _recover(parts, wire)
        assert comparable(await town.everything_in_redis()) == comparable(before)


async def test_the_sale_goes_on_in_the_rebuilt_cell_as_if_nothing_had_been(town: Town) -> None:
    async with town.ledger():
        await town.open_for_business()
        await a_busy_day(town)
        await town.drained()
    async with town.parts() as parts, town.wire() as wire:
        await _recover(parts, wire)
    async with town.ledger():
        await town.open_for_business()
        names = [f"m{at:05d}" for at in range(1, 40)]
        answers = await town.grab("one", names)
        await town.drained()
        report = await audit_cell(town.cell, town.engine, town.redis)
        rows = [row for row in await town.claims() if row.campaign_id == "one" and row.state == "fulfilled"]
    assert report.holds, report.faults
    assert report.redis_equals_postgres
    assert sorted(row.unit_no for row in rows) == list(range(1, 26))
    assert sum(answer.startswith(b"won") for answer in answers) == 25 - 12


async def test_what_the_lost_life_still_had_is_drained_first(town: Town) -> None:
    async with town.ledger():
        await town.open_for_business()
        names = await town.enrol(5)
        await town.schedule()
        await town.drained()
    won = await town.win("c", names)  # nobody drains
    async with town.parts() as parts, town.wire() as wire:
        await _recover(parts, wire)
    assert [row.seq for row in await town.claims()] == [claim.seq for claim in won]
    assert await town.redis.hlen(town.keys.of_campaign("c").claims) == 5


async def test_what_cannot_be_drained_is_left_behind_and_said(town: Town, capsys: pytest.CaptureFixture[str]) -> None:
    async with town.ledger():
        await town.open_for_business()
        names = await town.enrol(2)
        await town.schedule()
        await town.win("c", names[:1])
        seq = await town.drained()
    await town.log(seq + 2, "members_published", {"members_version": 0, "changed": 0})
    async with town.parts() as parts, town.wire() as wire:
        await _recover(parts, wire)
    assert "log_gap" in capsys.readouterr().out
    assert (await town.cursor()).last_seq == seq
    assert await town.redis.hget(town.keys.cell, "seq") == b"%d" % (seq + 1)


@pytest.mark.parametrize("after_calls", [2, 4, 6, 8, 10])
async def test_a_recovery_cut_short_anywhere_leaves_the_cell_closed_and_is_taken_again(town: Town, after_calls: int) -> None:
    async with town.ledger():
        await town.open_for_business()
        await a_busy_day(town)
        await town.drained()
        before = await town.everything_in_redis()

    class Mortal(Wire):
        calls_left = after_calls

        async def calls(self, commands: Any) -> list[Any]:
            self.calls_left -= 1
            if self.calls_left < 0:
                raise ConnectionResetError("cut short")
            return await super().calls(commands)

    async with town.parts() as parts:
        wire = await Mortal.open(town.settings.redis_url_of_guard, 2)
        try:
            with pytest.raises(ConnectionResetError):
                await _recover(parts, wire)
        finally:
            await wire.close()
        assert await town.redis.hget(town.keys.cell, "nonce") is None
    async with town.ledger():
        await town.open_for_business()
        await town.drained()
        after = await town.everything_in_redis()
    assert comparable(after) == comparable(before)


async def test_there_is_nothing_to_recover_where_no_cell_ever_was(town: Town) -> None:
    async with town.parts() as parts, town.wire() as wire:
        with pytest.raises(NothingToRecoverError):
            await _recover(parts, wire)


async def test_only_the_keys_of_the_cell_are_deleted(town: Town, cell_name: str) -> None:
    """Others live in the same Redis."""
    neighbours = [f"grab:{{{cell_name}x}}:cell", f"x-grab:{{{cell_name}}}:cell", f"grab:{cell_name}:cell"]
    for key in (*neighbours, town.keys.cell, town.keys.prefix + "anything"):
        await town.redis.set(key, "1")
    async with town.wire() as wire:
        await empty_cell(wire, town.keys)
    assert await town.redis.exists(*neighbours) == 3
    assert await town.redis.exists(town.keys.cell, town.keys.prefix + "anything") == 0
    await town.redis.delete(*neighbours)


@pytest.mark.slow
async def test_a_hundred_thousand_claims_are_back_within_seconds(town: Town) -> None:
    async with town.ledger():
        await town.open_for_business()
        await town.enrol(10)
        await town.schedule(stock=100_000, kind="none")
        await town.drained()
    # Written as the drain would have: it is not what is measured here.
    seq = (await town.cursor()).last_seq
    await town.sql(
        "INSERT INTO claims (seq, epoch, campaign_id, member_id, unit_no, slot, state, granted_at_ms) "
        "SELECT CAST(:seq AS bigint) + n, 1, 'c', 'x' || n, n, 1, 'fulfilled', 1 FROM generate_series(1, 100000) AS n",
        seq=seq,
    )
    await town.sql(
        "UPDATE log_cursor SET last_seq = :last_seq, last_id = :last_id", last_seq=seq + 100_000, last_id=f"{seq + 100_000}-0"
    )
    began = time.monotonic()
    async with town.ledger():
        await until(lambda: _is_rebuilt(town), 30)
        await asyncio.wait_for(town.open_for_business(), 30)
    assert time.monotonic() - began < 15
    assert await town.sql("SELECT 1 FROM alarms WHERE kind <> 'cell_closed'") == [], "the drain was not confused"
    assert await town.redis.hlen(town.keys.of_campaign("c").claims) == 100_000


async def _is_rebuilt(town: Town) -> bool:
    return await town.redis.hget(town.keys.cell, "epoch") == b"2"
