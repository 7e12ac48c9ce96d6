"""Is a loss told as what it is, with figures, until somebody of ops has taken note?"""

import asyncio
from datetime import UTC, datetime

import pytest

from grab_service.alarms.service import AlarmState, acknowledge_alarm, list_alarms
from grab_service.refusal import RefusalError
from grab_service.sql.lives import note_life
from grab_service.vocabulary.passes import OpsIdentity, Role
from reconcile.alarms import AlarmKind, clear_alarms
from reconcile.by_hand import recover_once
from reconcile.epochs import COUNTED_SINCE_S
from reconcile.rebuild.losses import report_losses
from tests.harness.service import Service
from tests.harness.town import Town, until

ALICE = OpsIdentity("alice", Role.OPERATOR)


async def lost(town: Town) -> dict[str, int]:
    return await town.alarm(AlarmKind.RECOVERY_LOST)


async def test_what_a_thrown_away_log_held_above_the_record_is_told_with_its_figures(town: Town) -> None:
    async with town.open_ledger():
        names = await town.sale(10, stock=10)
        await town.win("c", names[:4])
        on_record = await town.drained()
    told = [claim.seq for claim in await town.win("c", names[4:9])]
    await town.redis.delete(town.keys.log)  # nobody can drain it any more
    await recover_once(town.settings)
    assert await report_losses(town.engine) == 1
    found = await lost(town)
    assert found == {"epoch": 1, "told_up_to_seq": max(told), "on_record_up_to_seq": on_record}
    assert await report_losses(town.engine) == 0, "once is enough"


async def test_a_worker_that_outlived_a_life_tells_how_far_it_saw_it(service: Service) -> None:
    """Nothing is left of the log: only the worker knows."""
    worker = service.worker
    for cell, seq in ((worker.grab_cell, 40), (worker.cell, 7)):
        cell.outlived.append((1, seq))

    async def noted() -> bool:
        rows = await town_rows(service)
        return rows == [(1, 40)]

    await until(noted)


async def town_rows(service: Service) -> list[tuple[int, int]]:
    async with service.worker.engine.connect() as connection:
        rows = await connection.exec_driver_sql("SELECT epoch, seq FROM lives_seen")
        return [tuple(row) for row in rows]


async def test_figures_grow_and_the_alarm_stays_until_it_is_acknowledged(town: Town) -> None:
    async with town.open_ledger():
        on_record = await town.drained()
    await town.empty_redis()
    async with town.open_ledger():
        await note_life(town.engine, 1, on_record)
        assert await report_losses(town.engine) == 0, "a worker that saw no more than the record has lost nothing"
        await note_life(town.engine, 1, on_record + 3)
        await until(lambda: lost(town))
        await note_life(town.engine, 1, on_record + 2)
        await note_life(town.engine, 1, on_record + 5)

        async def grown() -> bool:
            return (await lost(town)).get("told_up_to_seq") == on_record + 5

        await until(grown)
        await clear_alarms(town.engine, (AlarmKind.CELL_CLOSED,))
        opened = await list_alarms(town.engine, state=AlarmState.OPEN, before_alarm_id=None, limit=10)
        (alarm,) = (one for one in opened if one.kind == "recovery-lost")
        done = await acknowledge_alarm(town.engine, ALICE, str(alarm.alarm_id), "told")
        again = await acknowledge_alarm(town.engine, OpsIdentity("bob", Role.ADMIN), str(alarm.alarm_id), "me too")
        assert (done.state, again.acknowledged_by) == (AlarmState.ACKNOWLEDGED, "alice")
        await note_life(town.engine, 1, on_record + 1)
        await asyncio.sleep(2.5)
        assert (await lost(town)).get("told_up_to_seq") == on_record + 5, "it never clears by itself, and never shrinks"
    for nobody in ("0", "999999", "x", "1" * 30, "１"):
        with pytest.raises(RefusalError, match="alarm-not-found"):
            await acknowledge_alarm(town.engine, ALICE, nobody, "why")


async def test_no_number_of_an_epoch_comes_twice_after_a_restored_database(town: Town) -> None:
    """Postgres goes back to before two recoveries, and a third takes neither of their numbers."""
    async with town.open_ledger():
        await town.drained()
    await recover_once(town.settings)
    await asyncio.sleep(1.1)  # the second in which the last one began
    await recover_once(town.settings)
    used = set(await town.lives())
    await town.sql("DELETE FROM epochs WHERE epoch > 1")
    await town.sql("UPDATE log_cursor SET epoch = 1")
    await asyncio.sleep(1.1)
    await recover_once(town.settings)
    new = set(await town.lives()) - {1}
    assert not new & used
    assert min(new) > max(used)
    assert abs(max(new) + COUNTED_SINCE_S - datetime.now(UTC).timestamp()) < 60
