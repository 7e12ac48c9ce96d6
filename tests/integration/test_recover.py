"""A cell rebuilt from PostgreSQL is the cell that was lost."""

from typing import Any

import pytest
from sqlalchemy import event, select

from grab_service.audit import audit_cell
from grab_service.audit.pools import check_pools
from grab_service.publishing.publish import publish_codes, record_of
from grab_service.sql.tables import members
from grab_service.vocabulary.claims import ClaimRecord, ClaimState
from grab_service.vocabulary.keys import CellKeys
from reconcile.fence import Fence
from reconcile.process import Ledger
from reconcile.rebuild.progress import ProgressLog
from reconcile.rebuild.rebuild import empty_cell
from reconcile.rebuild.recover import NothingToRecoverError, recover
from reconcile.redis_link import LinkBrokenError, RedisLink
from tests.harness.backend import Backend, until
from tests.harness.long_sale import Sale, write_long_sale


async def a_busy_day(backend: Backend) -> None:
    """Something of everything that the rules read: limits, keys, returns, pools, states, a stock that was changed."""
    names = await backend.enrol(40)
    await backend.sql(
        "UPDATE members SET blocked_until_ms = 4102444800000, version = nextval('members_version'), birthday_month = 3,"
        " joined_on = '2020-02-29', tags = ARRAY['driver', '司机'] WHERE member_id = :name",
        name=names[39],
    )
    await backend.schedule("one", stock=20, valid_days=3)
    await backend.schedule("many", stock=30, limit=3, kind="none")
    await backend.schedule("pool", stock=10, kind="code_pool", codes=14)
    await backend.schedule("quiet", stock=5)
    await backend.schedule("over", stock=5)
    won = await backend.win("one", names[:12])
    for key in ("a", "b", "c"):
        await backend.win("many", names[:5], key=key)
    many = await backend.win("many", names[5:8], key="a")
    pool = await backend.win_on_record("pool", names[:6], key="k")
    for campaign_id, claims in (("one", [(won[2], names[2]), (won[11], names[11])]), ("many", [(many[0], names[5])])):
        for claim, name in claims:
            await backend.decide_return(claim, campaign_id, name)
    await backend.decide_return(pool[1], "pool", names[1])
    await until(lambda: _all_done(backend))
    await backend.win("one", [names[20]])  # takes a unit that came back
    await backend.win("one", [names[2]])  # a member who gave back may win again
    await backend.cell.set_stock("one", 20, 25)
    await backend.cell.set_state("quiet", "pause")
    await backend.cell.set_state("over", "close")
    await backend.import_codes("pool", 3)
    await publish_codes(backend.engine, backend.cell, "pool")
    await backend.enrol(3)
    # Decided here, and the cell was not told yet.
    await backend.drained()
    await backend.sql(
        "UPDATE claims SET state = 'returned', decided_at_ms = 1 WHERE member_id = :name AND campaign_id = 'pool'",
        name=names[3],
    )


async def after_a_busy_day(backend: Backend) -> dict[str, Any]:
    """All that is in Redis when all of it is on record."""
    async with backend.open_ledger():
        await a_busy_day(backend)
        await backend.drained()
        return await backend.everything_in_redis()


async def _all_done(backend: Backend) -> bool:
    return not await backend.sql("SELECT 1 FROM commands WHERE done_seq IS NULL")


def comparable(everything: dict[str, Any]) -> dict[str, Any]:
    """Without what is new in every life."""
    kept = {key: value for key, value in everything.items() if key not in {"log", "scripts", "hold"}}
    # Codes that came back stand last in the cell; a rebuilt pool has the order of the import.
    kept |= {name: sorted(value) for name, value in kept.items() if name.endswith(":codes")}
    kept["cell"] = {
        name: value for name, value in kept["cell"].items() if name not in {b"nonce", b"epoch", b"seq", b"recorded"}
    }
    return kept


async def _recover(parts: Ledger, link: RedisLink) -> None:
    fence = await Fence.take(link, CellKeys.of(parts.settings.cell), parts.leader.confirm)
    await recover(fence, parts.engine, parts.leader, parts.settings.cell, "by_hand", parts.new_drain, ProgressLog())


async def _recovered(backend: Backend) -> None:
    async with backend.leading() as parts, backend.link() as link:
        await _recover(parts, link)


async def test_the_rebuilt_cell_is_the_cell_that_was(backend: Backend) -> None:
    before = await after_a_busy_day(backend)
    async with backend.leading() as parts, backend.link() as link:
        await _recover(parts, link)
        once = await backend.everything_in_redis()
        await _recover(parts, link)
        twice = await backend.everything_in_redis()
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
    lives = await backend.lives()
    assert [lives[int(cell["cell"][b"epoch"])] for cell in (before, once, twice)] == [1, 2, 3]
    assert b"nonce" not in once["cell"], "it is closed until it is armed"
    assert "scripts" not in once
    seq = int(before["cell"][b"seq"])
    ((entry_id, entry),) = once["log"]
    assert entry_id == b"%d-0" % (seq + 1)
    assert (entry[b"type"], entry[b"epoch"], entry[b"predecessor"]) == (b"epoch_began", once["cell"][b"epoch"], b"1")


async def test_units_that_were_cut_off_the_stock_are_not_offered_by_the_rebuilt_cell(backend: Backend) -> None:
    async with backend.open_ledger():
        names = await backend.sale(5, stock=8)
        claims = await backend.win_on_record("c", names)
        await backend.decide_return(claims[4], "c", names[4])
        await until(lambda: _all_done(backend))
        await backend.cell.set_stock("c", 8, 4)
        await backend.drained()
        before = await backend.everything_in_redis()
    await _recovered(backend)
    assert comparable(await backend.everything_in_redis()) == comparable(before)


@pytest.mark.parametrize("reason", ["returned", "lapsed"])
async def test_a_return_that_the_cell_was_not_told_of_is_held_in_the_rebuilt_cell_as_before(
    reason: str, backend: Backend
) -> None:
    async with backend.open_ledger():
        names = await backend.sale(3, stock=5)
        claims = await backend.win_on_record("c", names, key="k")
        before = await backend.everything_in_redis()
    await backend.decide_return(claims[1], "c", names[1], reason)
    await _recovered(backend)
    assert comparable(await backend.everything_in_redis()) == comparable(before)


async def test_the_sale_goes_on_in_the_rebuilt_cell_as_if_nothing_had_been(backend: Backend) -> None:
    async with backend.open_ledger():
        await a_busy_day(backend)
        await backend.drained()
    await _recovered(backend)
    async with backend.open_ledger():
        names = [f"m{at:05d}" for at in range(1, 40)]
        answers = await backend.grab("one", names)
        await backend.drained()
        report = await audit_cell(backend.cell, backend.engine, backend.redis)
        rows = [row for row in await backend.claims() if row.campaign_id == "one" and row.state == "fulfilled"]
    assert report.holds, report.faults
    assert report.redis_equals_postgres
    assert sorted(row.unit_no for row in rows) == list(range(1, 26))
    assert sum(answer.startswith(b"won") for answer in answers) == 25 - 12


async def test_what_the_lost_life_still_had_is_drained_first(backend: Backend) -> None:
    async with backend.open_ledger():
        names = await backend.sale(5)
        await backend.drained()
    won = await backend.win("c", names)  # nobody drains
    await _recovered(backend)
    assert [row.seq for row in await backend.claims()] == [claim.seq for claim in won]
    assert await backend.redis.hlen(backend.keys.of_campaign("c").claims) == 5


async def test_what_cannot_be_drained_is_left_behind_and_said(backend: Backend, capsys: pytest.CaptureFixture[str]) -> None:
    async with backend.open_ledger():
        names = await backend.sale(2)
        await backend.win("c", names[:1])
        seq = await backend.drained()
    await backend.log(seq + 2, "members_published", {"members_version": 0, "changed": 0})
    await _recovered(backend)
    assert "log_gap" in capsys.readouterr().out
    assert (await backend.cursor()).last_seq == seq
    assert await backend.redis.hget(backend.keys.cell, "seq") == b"%d" % (seq + 1)


class Mortal(RedisLink):
    """A link that breaks after so many calls."""

    calls_left = 1_000_000

    async def calls(self, commands: Any, timeout_s: float | None = None) -> list[Any]:
        self.calls_left -= 1
        if self.calls_left < 0:
            await self.close()
            raise LinkBrokenError("cut short")
        return await super().calls(commands, timeout_s)


async def test_a_recovery_cut_short_anywhere_is_finished_by_the_guard(backend: Backend) -> None:
    """By hand or by itself, before every single call to Redis: the cell is untouched, or closed until it is whole again."""
    before = await after_a_busy_day(backend)
    async with backend.working() as parts:
        cut, done, closed = 0, False, 0
        while not done:
            nonce, epoch = await backend.redis.hget(backend.keys.cell, "nonce"), (await backend.cursor()).epoch
            link = await Mortal.open(backend.settings.redis_url_of_guard, 2)
            link.calls_left = cut
            try:
                await parts.guard.recover(link, "by_hand")
                await parts.guard.arm(link)
                done = True
            except LinkBrokenError:
                cut += 1
            finally:
                await link.close()
            now = await backend.redis.hget(backend.keys.cell, "nonce")
            if now is None:
                closed += 1
            elif not done:
                assert now == nonce, "what was cut short has armed nothing"
            begun = (await backend.cursor()).epoch
            if begun > epoch and not done:
                assert now is None, "it is closed before its epoch ends: what it would grant could not be drained"
            if begun > epoch and await backend.redis.hget(backend.keys.cell, "epoch") == b"%d" % begun:
                assert comparable(await backend.everything_in_redis()) == comparable(before), "what says that it is whole, is"
            async with backend.link() as whole:
                await parts.guard.look(whole)
            await backend.open_for_business()
            assert comparable(await backend.everything_in_redis()) == comparable(before), f"cut after {cut} calls"
    assert cut > 15
    assert closed > cut // 2, "it was cut in its midst, too"


async def test_there_is_nothing_to_recover_where_no_cell_ever_was(backend: Backend) -> None:
    async with backend.leading() as parts, backend.link() as link:
        with pytest.raises(NothingToRecoverError):
            await _recover(parts, link)


async def test_only_the_keys_of_the_cell_are_deleted(backend: Backend, cell_name: str) -> None:
    """Others live in the same Redis."""
    neighbours = [f"grab:{{{cell_name}x}}:cell", f"x-grab:{{{cell_name}}}:cell", f"grab:{cell_name}:cell"]
    for key in (*neighbours, backend.keys.cell, backend.keys.prefix + "anything"):
        await backend.redis.set(key, "1")
    async with backend.leading() as parts, backend.link() as link:
        await empty_cell(await backend.fence(link, parts))
    assert await backend.redis.exists(*neighbours) == 3
    assert await backend.redis.exists(backend.keys.cell, backend.keys.prefix + "anything") == 0
    await backend.redis.delete(*neighbours)


async def test_neither_a_rebuild_nor_an_audit_reads_all_claims_for_each_campaign(backend: Backend) -> None:
    """A query for each campaign would read the whole table of claims each time: a year has hundreds of campaigns."""
    sales = [Sale(f"sale-{number:02d}", 210, 210, left=number) for number in range(12)]
    sales += [Sale("pool-1", 30, 30, kind="code_pool"), Sale("pool-2", 30, 15, kind="code_pool")]
    seq = await write_long_sale(backend.admin_url, backend.settings.cell, 300, sales)
    async with backend.leading() as parts, backend.link() as link:
        asked: list[str] = []
        event.listen(parts.engine.sync_engine, "before_cursor_execute", lambda *about: asked.append(about[2]))
        await _recover(parts, link)
        cell = await backend.everything_in_redis()
        rebuilt = len(asked)
        assert await check_pools(backend.redis, parts.engine, backend.settings.cell, [sale.campaign_id for sale in sales]) == []
    assert sum("unit_no" in query for query in asked[rebuilt:]) == 1
    of_claims = [query for query in asked[:rebuilt] if "claims" in query]
    assert len(of_claims) > 4
    assert sorted(of_claims) == sorted(set(of_claims))
    for sale in sales:
        assert {
            name: cell.get(f"campaign:{sale.campaign_id}:{name}", {})
            for name in ("claims", "bindings", "returns", "free", "codes")
        } == await _as_the_encoders_say(backend, sale.campaign_id, seq), sale


@pytest.mark.slow
async def test_a_long_sale_is_rebuilt_record_by_record(backend: Backend) -> None:
    """Postgres writes records as the rules' own encoders do. A million claims are for `make faults`."""
    sales = [Sale("big", 20_000, 2_000), Sale("single", 3_000, 3_000, kind="none"), Sale("pool", 1_000, 500, kind="code_pool")]
    seq = await write_long_sale(backend.admin_url, backend.settings.cell, 3_000, sales)
    async with backend.ledger():
        await backend.open_for_business(60)
        assert await backend.sql("SELECT 1 FROM alarms WHERE kind LIKE 'log_%'") == [], "the drain was not confused"
        cell = await backend.everything_in_redis()
        report = await audit_cell(backend.cell, backend.engine, backend.redis)
        assert report.holds, report.faults
        answers = await backend.grab("big", [f"m{at:07d}" for at in range(1, 3_000)][2_000:2_300], key="new")
        await backend.drained()
    lives = await backend.lives()
    assert (lives[int(cell["cell"][b"epoch"])], cell["cell"][b"seq"]) == (2, b"%d" % (seq + 1))
    assert sum(answer.startswith(b"won\t") for answer in answers) == 300 - max(0, 300 - sales[0].left - 100)
    async with backend.engine.connect() as connection:
        rows = (await connection.execute(select(members))).mappings().all()
        assert cell["members"] == {row["member_id"].encode(): record_of(row).encode() for row in rows}
    for sale in sales:
        assert {
            name: cell.get(f"campaign:{sale.campaign_id}:{name}", {})
            for name in ("claims", "bindings", "returns", "free", "codes")
        } == await _as_the_encoders_say(backend, sale.campaign_id, seq), sale


async def _as_the_encoders_say(backend: Backend, campaign_id: str, until_seq: int) -> dict[str, Any]:
    holdings: dict[bytes, bytes] = {}
    bindings, returns, held, issued = {}, {}, set(), 0
    for row in await backend.claims():
        if row.campaign_id != campaign_id or row.seq > until_seq:
            continue
        state = ClaimState.FULFILLED if row.returned_seq is None else ClaimState(row.state)
        record = ClaimRecord(
            row.seq, row.epoch, row.unit_no, row.ordinal, row.granted_at_ms, row.code or "", row.idempotency_key or "", state
        ).encode()
        member_id = row.member_id.encode()
        if row.idempotency_key:
            bindings[member_id + b"\t" + row.idempotency_key.encode()] = record.encode()
        if row.returned_seq is None:
            holdings[member_id] = holdings[member_id] + b"\n" + record.encode() if member_id in holdings else record.encode()
            held.add(row.unit_no)
        else:
            returns[b"%d" % row.seq] = b"%d" % row.returned_seq
        issued = max(issued, row.unit_no)
    free = [(b"%d" % unit, float(unit)) for unit in range(1, issued + 1) if unit not in held]
    codes = await backend.sql(
        "SELECT code FROM pool_codes WHERE campaign_id = :id AND code NOT IN (SELECT code FROM claims WHERE code IS NOT NULL)"
        " ORDER BY position",
        id=campaign_id,
    )
    pool: Any = [row.code.encode() for row in codes] or {}
    return {
        "claims": holdings,
        "bindings": bindings,
        "returns": returns,
        "free": sorted(free, key=lambda one: one[1]) or {},
        "codes": pool,
    }
