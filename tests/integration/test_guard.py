"""Nobody wins in a life of Redis that was not audited; after an audit the sale resumes by itself."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import NoScriptError

from grab_service.cell.scripts import ScriptSources
from grab_service.cell.store import Cell, CellError
from grab_service.embedded.valkey import ValkeyServer
from grab_service.vocabulary.claims import ClaimRecord
from reconcile.alarms import AlarmKind
from reconcile.epochs import begin_first
from reconcile.guard.guard import NO_POSTGRES, DoubtError
from reconcile.guard.redis_settings import UnfitServerError
from reconcile.leader import NotLeadingError
from reconcile.life import Life
from reconcile.process import end
from reconcile.rebuild.recover import close_cell
from reconcile.redis_link import LinkBrokenError, RedisLink
from tests.harness.backend import Backend, until
from tests.harness.cells import now_ms
from tests.harness.embedded import restart
from tests.harness.pace import slowness


async def armings(backend: Backend) -> bytes | None:
    """The nonce, which differs between armings."""
    nonce = await backend.redis.hget(backend.keys.cell, "nonce")
    assert nonce is None or isinstance(nonce, bytes)
    return nonce


async def test_the_first_start_begins_and_arms_the_cell(backend: Backend) -> None:
    async with backend.open_ledger():
        await backend.sale(1, wins=1)
    assert [tuple(row)[:4] for row in await backend.sql("SELECT epoch, predecessor, first_seq, reason FROM epochs")] == [
        (1, 0, 1, "first_start")
    ]
    assert await backend.open_alarms() == {}


async def test_a_first_start_that_was_cut_short_is_taken_up_again(backend: Backend) -> None:
    """Postgres had it, Redis had not: looks like an emptied cell, and is one."""
    await begin_first(backend.engine, backend.settings.cell)
    async with backend.open_ledger():
        await backend.sale(1, wins=1)
        lives = await backend.lives()
        assert [(row.seq, lives[row.epoch]) for row in await backend.claims()] == [(4, 2)]


async def test_a_ledger_that_is_restarted_leaves_an_armed_cell_alone(backend: Backend) -> None:
    async with backend.open_ledger():
        before = await armings(backend)
    async with backend.leading() as parts, backend.link() as link:
        await parts.guard.look(link)
        assert parts.counters.armings == 0
    assert await armings(backend) == before


async def test_after_a_plain_restart_of_redis_the_sale_resumes_within_two_seconds(
    mortal: Backend, valkey: ValkeyServer
) -> None:
    async with mortal.open_ledger():
        names = await mortal.sale(30, stock=100)
        won = await mortal.win("c", names[:10])
        nonce, shas = await armings(mortal), await mortal.redis.hgetall(mortal.keys.scripts)
        await valkey.kill()
        await asyncio.sleep(0.3)
        await valkey.start()
        back_s = time.monotonic()
        await mortal.open_for_business()
        assert time.monotonic() - back_s < 2 * slowness()
        assert await mortal.win("c", names[10:20])
        held = await mortal.grab("c", names[:10])
        await mortal.drained()
        assert [row.seq for row in await mortal.claims()][:10] == [claim.seq for claim in won], "not one was lost"
        assert all(answer.startswith(b"held\t1\t") for answer in held)
        assert await armings(mortal) != nonce, "every life has a nonce of its own"
        again = await mortal.redis.hgetall(mortal.keys.scripts)
        assert {sha for name, sha in shas.items() if b":" in name}.isdisjoint(again.values())
    assert len(await mortal.sql("SELECT 1 FROM epochs")) == 1, "nothing was lost, so no epoch began"


async def test_while_a_server_is_away_the_ledger_says_that_the_cell_is_closed_and_why(
    mortal: Backend, valkey: ValkeyServer
) -> None:
    async with mortal.working() as ledger:
        guards = asyncio.create_task(ledger.guard.run())

        def says(because: str | None, armed: int) -> Callable[[], Awaitable[bool]]:
            async def said() -> bool:
                return (ledger.guard.closed_because, ledger.counters.armed) == (because, armed)

            return said

        await until(says(None, 1))
        await valkey.kill()
        await until(says("Redis cannot be reached", 0))
        await valkey.start()
        await until(says(None, 1))
        await mortal.empty_redis()
        await until(lambda: _epoch_is(mortal, 2))
        await until(says(None, 1))
        assert ledger.counters.recoveries == 1
        # While Redis runs on, nobody need ask Postgres; when it is back from a restart, everything has to be compared.
        async with mortal.postgres_away():
            await restart(valkey)
            await until(says(NO_POSTGRES, 0))
        await until(says(None, 1))
        await end([guards])


async def test_nobody_wins_while_redis_is_back_and_no_ledger_has_looked(mortal: Backend, valkey: ValkeyServer) -> None:
    async with mortal.open_ledger():
        names = await mortal.sale(1)
        shas: Any = await mortal.redis.hgetall(mortal.keys.scripts)
        await mortal.drained()
    await restart(valkey)
    with pytest.raises(CellError):
        await mortal.grab("c", names)
    for field, sha in shas.items():
        if b":" in field:
            with pytest.raises(NoScriptError):
                await mortal.redis.evalsha(sha.decode(), 0)
    async with mortal.open_ledger():
        await mortal.win("c", names)


async def test_scripts_that_were_flushed_come_back_after_an_audit_with_another_nonce(mortal: Backend) -> None:
    async with mortal.open_ledger():
        before = await armings(mortal)
        await mortal.redis.script_flush()

        await until(lambda: _is_armed_anew(mortal, before))
        await mortal.open_for_business()


async def test_an_emptied_redis_is_rebuilt_and_goes_on_in_a_new_epoch(mortal: Backend) -> None:
    async with mortal.open_ledger():
        names = await mortal.sale(20, stock=15)
        won = await mortal.win("c", names[:10])
        seq = await mortal.drained()
        await mortal.empty_redis()
        await _rebuilt(mortal)
        held = await mortal.grab("c", names[:10])
        assert [ClaimRecord.parse(answer.removeprefix(b"held\t")).seq for answer in held] == [claim.seq for claim in won]
        answers = await mortal.grab("c", names[10:])
        assert [answer.split(b"\t")[0] for answer in answers] == [b"won"] * 5 + [b"sold_out"] * 5
        await mortal.drained()
        rows, lives = await mortal.claims(), await mortal.lives()
    assert [row.unit_no for row in rows] == list(range(1, 16))
    assert [lives[row.epoch] for row in rows] == [1] * 10 + [2] * 5
    assert rows[10].seq == seq + 2, "the numbers go on where the log ended; one is the epoch's own entry"
    assert [row.reason for row in await mortal.sql("SELECT reason FROM epochs ORDER BY epoch")] == ["first_start", "emptied"]
    await mortal.all_clear()
    assert await mortal.sql("SELECT 1 FROM alarms WHERE kind = 'cell_closed'"), "but it was raised"


async def _rebuilt(backend: Backend) -> None:
    """Wait until the cell is open in its second life."""
    await until(lambda: _epoch_is(backend, 2))
    await backend.open_for_business()


async def _epoch_is(backend: Backend, epoch: int) -> bool:
    """Whether the cell is in its life of this number, counted from 1."""
    now = int(await backend.redis.hget(backend.keys.cell, "epoch") or 0)
    return (await backend.lives()).get(now) == epoch


async def test_an_older_copy_of_redis_sells_nothing_and_is_rebuilt(
    mortal: Backend, valkey: ValkeyServer, tmp_path: Path
) -> None:
    async with mortal.open_ledger():
        names = await mortal.sale(20, stock=15)
        first = await mortal.win_on_record("c", names[:5])
        await valkey.stop()
        shutil.copytree(valkey.data_dir, tmp_path / "older")
        await valkey.start()
        await mortal.open_for_business()
        second = await mortal.win_on_record("c", names[5:10])
        await valkey.stop()
        shutil.rmtree(valkey.data_dir)
        shutil.copytree(tmp_path / "older", valkey.data_dir)
        await valkey.start()
        await _rebuilt(mortal)
        answers = await mortal.grab("c", names)
        await mortal.drained()
        rows = await mortal.claims()
    assert [answer.split(b"\t")[0] for answer in answers] == [b"held"] * 10 + [b"won"] * 5 + [b"sold_out"] * 5
    assert [row.seq for row in rows[:10]] == [claim.seq for claim in [*first, *second]]
    assert len({row.unit_no for row in rows}) == len(rows) == 15
    assert [row.reason for row in await mortal.sql("SELECT reason FROM epochs ORDER BY epoch")] == ["first_start", "went_back"]


async def test_a_primary_that_comes_back_with_its_scripts_is_closed_by_its_numbers(backend: Backend) -> None:
    """Demoted, resynced and promoted again it still knows its scripts: only epoch and seq tell."""
    async with backend.open_ledger():
        names = await backend.sale(10, wins=2)
        older = await backend.everything_in_redis()
        await backend.win_on_record("c", names[2:4])
    # The cell's hash as it was, the scripts still loaded.
    await backend.redis.hset(backend.keys.cell, mapping=older["cell"])
    stranger = Cell(backend.service, backend.settings.cell, ScriptSources.read())
    await stranger.reload()
    async with backend.ledger():
        await _rebuilt(backend)
        answers = await backend.grab("c", names)
    assert [answer.split(b"\t")[0] for answer in answers] == [b"held"] * 4 + [b"won"] * 6


async def test_a_red_audit_keeps_the_cell_closed_until_it_is_rebuilt(mortal: Backend, valkey: ValkeyServer) -> None:
    async with mortal.open_ledger():
        await mortal.sale(5, wins=5)
    await mortal.redis.hincrby(mortal.keys.of_campaign("c").campaign, "active", -3)
    await restart(valkey)
    async with mortal.ledger():
        await _rebuilt(mortal)
        assert await mortal.redis.hget(mortal.keys.of_campaign("c").campaign, "active") == b"5"
        await mortal.all_clear()
    assert await mortal.sql("SELECT 1 FROM alarms WHERE kind = 'audit_red' AND cleared_at_ms IS NOT NULL")


async def test_a_redis_that_postgres_never_saw_stays_closed(backend: Backend) -> None:
    """A wrong DATABASE_URL must not throw away a cell that is full of claims."""
    await backend.redis.hset(backend.keys.cell, mapping={"epoch": 1, "seq": 5})
    async with backend.ledger():
        assert (await until(lambda: backend.alarm(AlarmKind.CELL_CLOSED)))["why"] == "unknown_to_postgres"
        await asyncio.sleep(0.3)
        assert await armings(backend) is None
        assert await backend.redis.hget(backend.keys.cell, "seq") == b"5"
        assert len(await backend.sql("SELECT 1 FROM alarms WHERE kind = 'cell_closed'")) == 1, "said once, not at every look"


async def test_a_postgres_that_lies_behind_closes_the_cell_and_destroys_nothing(backend: Backend) -> None:
    """Restored from an older backup: Redis has claims that Postgres never heard of."""
    async with backend.open_ledger():
        await backend.sale(3, wins=3)
    await backend.sql("UPDATE log_cursor SET epoch = 0")
    await backend.sql("UPDATE epochs SET epoch = 0")
    async with backend.ledger():
        assert (await until(lambda: backend.alarm(AlarmKind.CELL_CLOSED)))["why"] == "newer_epoch"
        with pytest.raises(CellError):
            await backend.cell.read_campaigns(())
        await asyncio.sleep(0.5)
        assert await backend.redis.hlen(backend.keys.of_campaign("c").claims) == 3
        assert await backend.redis.xlen(backend.keys.log) > 1, "a cell that was rebuilt has a log of one entry"
        assert await backend.redis.hget(backend.keys.cell, "epoch") == b"1"


async def test_a_doubt_is_one_alarm_and_counted_once_however_often_it_is_seen(backend: Backend) -> None:
    async with backend.parts() as ledger:
        for why, counted in (("newer_epoch", 1), ("newer_epoch", 1), ("unknown_to_postgres", 2), ("newer_epoch", 3)):
            await ledger.guard._alarm(DoubtError(AlarmKind.CELL_CLOSED, why, {"seq": 1}))
            assert (ledger.counters.alarms, ledger.guard.closed_because) == (counted, why)
    assert [row.detail["why"] for row in await backend.sql("SELECT detail FROM alarms WHERE kind = 'cell_closed'")] == [
        "newer_epoch"
    ]


async def test_a_log_that_cannot_be_drained_keeps_the_cell_closed(mortal: Backend, valkey: ValkeyServer) -> None:
    async with mortal.open_ledger():
        seq = await mortal.drained()
    await mortal.log(seq + 2, "members_published", {"members_version": 0, "changed": 0})
    await restart(valkey)
    async with mortal.ledger():
        assert (await until(lambda: mortal.alarm(AlarmKind.CELL_CLOSED)))["fault"] == "log_gap"
        assert await mortal.alarm(AlarmKind.LOG_GAP)
        await asyncio.sleep(0.2)
        with pytest.raises(CellError):
            await mortal.cell.read_campaigns(())
        assert await _epoch_is(mortal, 1), "nothing was rebuilt over what nobody has drained"


async def test_a_redis_that_comes_back_while_postgres_is_away_stays_closed(mortal: Backend, valkey: ValkeyServer) -> None:
    async with mortal.open_ledger():
        names = await mortal.sale(2)
        await mortal.drained()
        async with mortal.postgres_away():
            await mortal.win("c", names[:1])  # Postgres away stops nobody from winning
            await restart(valkey)
            await asyncio.sleep(1)
            with pytest.raises(CellError):
                await mortal.grab("c", names[1:])
        await mortal.open_for_business()
        await mortal.win_on_record("c", names[1:])
        assert [row.member_id for row in await mortal.claims()] == names


async def test_a_second_ledger_stands_by_and_takes_over(mortal: Backend) -> None:
    async with mortal.parts() as standby:
        async with mortal.open_ledger():
            tasks = [asyncio.create_task(part) for part in (standby.leader.run(), standby.guard.run())]
            await asyncio.sleep(0.6)
            assert not standby.leader.leads
            assert standby.guard.closed_because == "not looked at yet"
        # The first has ended.
        await asyncio.wait_for(standby.leader.wait(), 5)
        tasks.append(asyncio.create_task(standby.drain.run()))
        await mortal.redis.script_flush()
        while standby.counters.armings != 1:
            await asyncio.sleep(0.01)
        await end(tasks)


async def test_a_redis_that_may_evict_is_refused(mortal: Backend) -> None:
    await mortal.redis.config_set("maxmemory-policy", "allkeys-lru")
    async with mortal.ledger():
        assert "noeviction" in (await until(lambda: mortal.alarm(AlarmKind.CELL_CLOSED)))["why"]
        assert await armings(mortal) is None
        await mortal.redis.config_set("maxmemory-policy", "noeviction")
        await mortal.open_for_business()
        await mortal.all_clear()


async def _as_an_older_release_left_it(backend: Backend, names: list[str]) -> None:
    """Armed, with records that have no version, and rules that write such records."""
    await backend.redis.hdel(backend.keys.cell, "records")
    claims = backend.keys.of_campaign("c").claims
    for number, name in enumerate(names):
        await backend.redis.hset(claims, name, f"{number}\t1\t{number}\t1\t1795763780003\tCODE\t")
    table: Any = await backend.redis.hgetall(backend.keys.scripts)
    older: dict[Any, Any] = {name.replace(b":", b"0:") if b":" in name else name: value for name, value in table.items()}
    await backend.redis.delete(backend.keys.scripts)
    await backend.redis.hset(backend.keys.scripts, mapping=older)


async def test_a_cell_whose_records_are_of_another_release_is_rebuilt_and_not_shared_with_it(backend: Backend) -> None:
    async with backend.open_ledger():
        names = await backend.sale(3, wins=3)
        before = await backend.redis.hgetall(backend.keys.of_campaign("c").claims)
    await _as_an_older_release_left_it(backend, names)
    nonce = await armings(backend)
    async with backend.ledger():
        await until(lambda: _is_armed_anew(backend, nonce))
        assert await backend.redis.hgetall(backend.keys.of_campaign("c").claims) == before
        assert {word for answer in await backend.grab("c", names) if (word := answer.split(b"\t")[0])} == {b"held"}
        await backend.drained()
        await backend.all_clear()
    assert [row.reason for row in await backend.sql("SELECT reason FROM epochs ORDER BY first_seq")] == [
        "first_start",
        "other_records",
    ]


async def test_what_another_release_has_not_drained_keeps_the_cell_closed_and_is_not_thrown_away(backend: Backend) -> None:
    async with backend.open_ledger():
        names = await backend.sale(2)
        await backend.win("c", names[:1])
        seq = await backend.drained()
    await _as_an_older_release_left_it(backend, names[:1])
    claims = f'[["{names[1]}",2,1,"CODE",""]]'
    old: dict[Any, Any] = {"type": "granted", "epoch": 1, "seq": seq + 1, "last_seq": seq + 1, "at_ms": now_ms()}
    await backend.redis.xadd(backend.keys.log, old | {"campaign_id": "c", "claims": claims}, id=f"{seq + 1}-0")
    await backend.redis.hset(backend.keys.cell, "seq", seq + 1)
    async with backend.ledger():
        assert (await until(lambda: backend.alarm(AlarmKind.CELL_CLOSED)))["why"] == "the log cannot be drained"
        bad_entry = await backend.alarm(AlarmKind.LOG_BAD_ENTRY)
        assert "claims of a version that this release does not know" in bad_entry["why"]
        assert await armings(backend) is None
        assert await backend.redis.xrange(backend.keys.log, f"{seq + 1}-0")


async def _is_armed_anew(backend: Backend, nonce: bytes | None) -> bool:
    return await armings(backend) not in {None, nonce}


async def test_another_release_of_the_rules_is_loaded_beside_the_one_in_force(backend: Backend) -> None:
    async with backend.open_ledger():
        names = await backend.sale(2)
        before = await armings(backend)
    own = ScriptSources.read()
    other = ScriptSources({name: source + "\n-- another release\n" for name, source in own.by_name.items()}, "another")
    async with backend.leading() as parts, backend.link() as link:
        parts.guard._sources = other
        for _ in range(2):
            await parts.guard.look(link)
        assert parts.counters.armings == 0
    assert await armings(backend) == before
    newer = Cell(backend.service, backend.settings.cell, other)
    await newer.grab("c", b"b", (names[0], "", "CODE-A"))
    await backend.win("c", names[1:])


async def test_the_own_release_or_a_part_of_it_is_not_taken_for_another_one(backend: Backend) -> None:
    """Only scripts of another release show that a cell is armed, to which those of this one may be added without an audit."""
    async with backend.ledger():
        await backend.open_for_business()
    async with backend.parts() as parts, backend.link() as link:
        guard, own = parts.guard, parts.guard._fields_of_this_release()
        assert not await guard._other_release_lives(link, await Life.read(link, backend.keys))
        await backend.redis.hdel(backend.keys.scripts, next(field for field in own if not field.endswith(b":grab")))
        assert not await guard._other_release_lives(link, await Life.read(link, backend.keys))
        sha = await backend.redis.hget(backend.keys.scripts, next(field for field in own if field.endswith(b":grab")))
        await backend.redis.hset(backend.keys.scripts, "another:grab", sha)
        assert await guard._other_release_lives(link, await Life.read(link, backend.keys))


async def test_scripts_cannot_land_in_a_life_that_was_not_audited(mortal: Backend, valkey: ValkeyServer) -> None:
    """Redis dies and comes back between the audit and the loading: the connection of the audit is the witness."""
    async with mortal.working() as parts, mortal.link() as link:
        await parts.guard._make_sound(link)
        await restart(valkey)
        for _ in range(2):
            with pytest.raises(LinkBrokenError):
                await parts.guard.arm(link)
    with pytest.raises(CellError):
        await mortal.cell.reload()


class MortalWire(RedisLink):
    """Breaks after so many calls."""

    calls_left = 1000

    async def calls(self, commands: Any, timeout_s: float | None = None) -> list[Any]:
        self.calls_left -= 1
        if self.calls_left < 0:
            raise ConnectionResetError("cut short")
        return await super().calls(commands, timeout_s)


async def test_an_arming_that_is_cut_short_grants_nothing(backend: Backend) -> None:
    """Nonce, table and scripts come at one moment; until then a call of a loaded script must not win."""
    async with backend.open_ledger():
        (name,) = await backend.sale(1)
        await backend.drained()
    async with backend.leading() as parts:
        cut_short = 0
        while True:
            async with backend.link() as link:
                await close_cell(await backend.fence(link, parts))
            mortal = await MortalWire.open(backend.settings.redis_url_of_guard, 2)
            mortal.calls_left = cut_short
            try:
                await parts.guard.arm(mortal)
                break
            except ConnectionResetError:
                cut_short += 1
            finally:
                await mortal.close()
            with pytest.raises(CellError):
                await Cell(backend.redis, backend.settings.cell, ScriptSources.read()).grab("c", b"b", (name, "", "CODE"))
    assert cut_short >= 4, "it was cut short before each call"
    await backend.open_for_business()
    await backend.win("c", [name])


async def test_a_redis_with_a_weaker_log_begins_an_epoch_when_it_comes_back(mortal: Backend) -> None:
    """Its losses are unknown; workers that saw the life before must not wait for it for ever."""
    await mortal.redis.config_set("appendfsync", "everysec")
    async with mortal.open_ledger():
        names = await mortal.sale(2)
        before = await mortal.win_on_record("c", names[:1])
        await mortal.redis.script_flush()
        await _rebuilt(mortal)
        held = await mortal.grab("c", names[:1])
        assert held[0].endswith(before[0].encode().encode()), "nothing was rebuilt"
        await mortal.win_on_record("c", names[1:])
        lives = await mortal.lives()
        assert [lives[row.epoch] for row in await mortal.claims()] == [1, 2]


async def test_a_leader_whose_session_has_died_arms_nothing(backend: Backend) -> None:
    """It believes to lead until it asks; so it asks."""
    async with backend.leading() as parts, backend.link() as link:
        await backend.begin()
        assert await parts.leader.confirm()
        await backend.end_leaders()
        assert not await parts.leader.confirm()
        with pytest.raises(NotLeadingError):
            await parts.guard.arm(link)
        assert await armings(backend) is None


async def test_a_ledger_that_does_not_lead_arms_nothing(backend: Backend) -> None:
    async with backend.parts() as parts, backend.link() as link:
        await backend.begin()
        with pytest.raises(NotLeadingError):
            await parts.guard.arm(link)
        assert await armings(backend) is None
        async with backend.link() as other:
            with pytest.raises(NotLeadingError, match="another ledger leads"):
                await parts.guard.recover(other, "test")


async def test_a_link_that_broke_stays_broken(mortal: Backend, valkey: ValkeyServer) -> None:
    link = await mortal.open_link()
    await link.call("PING")
    await restart(valkey)
    for _ in range(3):
        with pytest.raises(LinkBrokenError):
            await link.call("PING")
    await link.close()


async def test_a_link_whose_answer_did_not_come_in_time_is_of_no_more_use(backend: Backend) -> None:
    """The answer would be read by the next caller."""
    link = await RedisLink.open(backend.settings.redis_url, 0.1)
    with pytest.raises(LinkBrokenError):
        await link.call("XREAD", "BLOCK", 1000, "STREAMS", backend.keys.log, "$")
    with pytest.raises(LinkBrokenError):
        await link.call("PING")


@asynccontextmanager
async def config(backend: Backend, name: str, value: str) -> AsyncIterator[None]:
    before: Any = await backend.redis.config_get(name)
    await backend.redis.config_set(name, value)
    yield
    await backend.redis.config_set(name, before[name])


async def test_settings_of_redis_are_judged(mortal: Backend) -> None:
    from reconcile.guard.redis_settings import check_server_settings

    async with mortal.link() as link:
        assert await check_server_settings(link) is None
        async with config(mortal, "appendfsync", "everysec"):
            assert "appendfsync always" in str(await check_server_settings(link)), "said loudly, not refused"
        async with config(mortal, "no-appendfsync-on-rewrite", "yes"):
            assert "no-appendfsync-on-rewrite is yes" in str(await check_server_settings(link))
        async with config(mortal, "maxmemory-policy", "volatile-lru"):
            with pytest.raises(UnfitServerError):
                await check_server_settings(link)


async def test_a_life_is_read_as_it_is(backend: Backend) -> None:
    async with backend.link() as link:
        life = await Life.read(link, backend.keys)
        assert (life.is_empty, life.epoch, life.seq, life.nonce) == (True, 0, 0, None)
        assert abs(life.now_ms - now_ms()) < 60_000
        await backend.begin()
        life = await Life.read(link, backend.keys)
        assert (life.is_empty, life.epoch, life.seq) == (False, 1, 1)
