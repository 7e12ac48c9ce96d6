"""A loss is reported as a loss, with figures, until somebody of ops acknowledges it."""

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
from tests.harness.backend import Backend, until
from tests.harness.service import Service

ALICE = OpsIdentity("alice", Role.OPERATOR)


async def lost(backend: Backend) -> dict[str, int]:
    return await backend.alarm(AlarmKind.RECOVERY_LOST)


async def test_what_a_thrown_away_log_held_above_the_record_is_told_with_its_figures(backend: Backend) -> None:
    async with backend.open_ledger():
        names = await backend.sale(10, stock=10)
        await backend.win("c", names[:4])
        on_record = await backend.drained()
    told = [claim.seq for claim in await backend.win("c", names[4:9])]
    await backend.redis.delete(backend.keys.log)  # nobody can drain it any more
    await recover_once(backend.settings)
    assert await report_losses(backend.engine) == 1
    found = await lost(backend)
    assert found == {"epoch": 1, "told_up_to_seq": max(told), "on_record_up_to_seq": on_record}
    assert await report_losses(backend.engine) == 0, "once is enough"


async def test_a_worker_that_outlived_a_life_tells_how_far_it_saw_it(service: Service) -> None:
    """Nothing is left of the log: only the worker knows."""
    worker = service.worker
    for cell, seq in ((worker.grab_cell, 40), (worker.cell, 7)):
        cell.outlived.append((1, seq))

    async def noted() -> bool:
        rows = await lives_seen_by_workers(service)
        return rows == [(1, 40)]

    await until(noted)


async def lives_seen_by_workers(service: Service) -> list[tuple[int, int]]:
    async with service.worker.engine.connect() as connection:
        rows = await connection.exec_driver_sql("SELECT epoch, seq FROM lives_seen")
        return [tuple(row) for row in rows]


async def test_figures_grow_and_the_alarm_stays_until_it_is_acknowledged(backend: Backend) -> None:
    async with backend.open_ledger():
        on_record = await backend.drained()
    await backend.empty_redis()
    async with backend.open_ledger():
        await note_life(backend.engine, 1, on_record)
        assert await report_losses(backend.engine) == 0, "a worker that saw no more than the record has lost nothing"
        await note_life(backend.engine, 1, on_record + 3)
        await until(lambda: lost(backend))
        await note_life(backend.engine, 1, on_record + 2)
        await note_life(backend.engine, 1, on_record + 5)

        async def grown() -> bool:
            return (await lost(backend)).get("told_up_to_seq") == on_record + 5

        await until(grown)
        await clear_alarms(backend.engine, (AlarmKind.CELL_CLOSED,))
        opened = await list_alarms(backend.engine, state=AlarmState.OPEN, before_alarm_id=None, limit=10)
        (alarm,) = (one for one in opened if one.kind == "recovery-lost")
        done = await acknowledge_alarm(backend.engine, ALICE, str(alarm.alarm_id), "told")
        again = await acknowledge_alarm(backend.engine, OpsIdentity("bob", Role.ADMIN), str(alarm.alarm_id), "me too")
        assert (done.state, again.acknowledged_by) == (AlarmState.ACKNOWLEDGED, "alice")
        await note_life(backend.engine, 1, on_record + 1)
        await asyncio.sleep(2.5)
        assert (await lost(backend)).get("told_up_to_seq") == on_record + 5, "it never clears by itself, and never shrinks"
    for nobody in ("0", "999999", "x", "1" * 30, "１"):
        with pytest.raises(RefusalError, match="alarm-not-found"):
            await acknowledge_alarm(backend.engine, ALICE, nobody, "why")


async def test_no_number_of_an_epoch_comes_twice_after_a_restored_database(backend: Backend) -> None:
    """Postgres goes back to before two recoveries, and a third takes neither of their numbers."""
    async with backend.open_ledger():
        await backend.drained()
    await recover_once(backend.settings)
    await asyncio.sleep(1.1)  # the second in which the last one began
    await recover_once(backend.settings)
    used = set(await backend.lives())
    await backend.sql("DELETE FROM epochs WHERE epoch > 1")
    await backend.sql("UPDATE log_cursor SET epoch = 1")
    await asyncio.sleep(1.1)
    await recover_once(backend.settings)
    new = set(await backend.lives()) - {1}
    assert not new & used
    assert min(new) > max(used)
    assert abs(max(new) + COUNTED_SINCE_S - datetime.now(UTC).timestamp()) < 60
