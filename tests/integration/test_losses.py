"""A loss is reported as a loss, with figures and names, until somebody of ops acknowledges it."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from grab_service.alarms.service import AlarmState, acknowledge_alarm, list_alarms
from grab_service.cell.replies import GrabReply
from grab_service.cell.rights import Login
from grab_service.cell.store import Cell
from grab_service.embedded.valkey import AppendFsync
from grab_service.grabpath.batcher import Grab
from grab_service.grabpath.told import Told, ToldClaim
from grab_service.refusal import RefusalError
from grab_service.server.worker import Worker
from grab_service.service.app import build_app
from grab_service.sql.lives import note_claims, note_life
from grab_service.vocabulary.claims import RECORDS
from grab_service.vocabulary.durability import Durability, Recorded
from grab_service.vocabulary.events import Granted, GrantedClaim
from grab_service.vocabulary.passes import OpsIdentity, Role, mint, mint_ops
from reconcile.alarms import AlarmKind, clear_alarms
from reconcile.by_hand import recover_once
from reconcile.epochs import COUNTED_SINCE_S
from reconcile.rebuild.losses import report_losses
from tests.harness.backend import Backend, until
from tests.harness.backend import backend as a_backend
from tests.harness.cells import A_RUSH, armed_cell
from tests.harness.command_line import CommandLine
from tests.harness.service import OPS_SECRET, SECRET, Service
from tests.harness.valkeys import FaultyValkey
from tests.harness.worker import LaneClients, forget_metrics, grab_worker, publish, view_of

ALICE = OpsIdentity("alice", Role.OPERATOR)


async def lost(backend: Backend) -> dict[str, Any]:
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
    assert found == {"epoch": 1, "told_up_to_seq": max(told), "on_record_up_to_seq": on_record, "claims": []}
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
        for seqs in ((on_record + 3, on_record), (on_record + 3, on_record + 1)):  # of two workers
            await note_claims(backend.engine, 1, [(seq, "c", f"m-{seq - on_record}") for seq in seqs])
        await note_life(backend.engine, 1, on_record + 5)

        async def grown() -> bool:
            return (await lost(backend)).get("told_up_to_seq") == on_record + 5

        await until(grown)
        named = [{"claim_id": f"c.1.{on_record + above}", "member_id": f"m-{above}"} for above in (1, 3)]
        assert (await lost(backend))["claims"] == named, "above the record, each once, in the order of the log"
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


async def test_the_command_line_names_the_claims_of_a_loss(backend: Backend, grab: CommandLine) -> None:
    claims = json.dumps([{"claim_id": f"c.1.{number}", "member_id": f"m-{number}"} for number in range(7, 60)])
    detail = f'{{"epoch": 1, "told_up_to_seq": 60, "claims": {claims}}}'
    await backend.sql(f"INSERT INTO alarms (raised_at_ms, kind, detail) VALUES (0, 'recovery_lost', $d${detail}$d$)")
    shown = (await grab.ok("alarms", "list")).out
    assert "told_up_to_seq 60" in shown
    assert [text in shown for text in ("c.1.7 of m-7", "c.1.56 of m-56", "c.1.57", "and 3 more, with --json")] == [
        True,
        True,
        False,
        True,
    ]


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


@asynccontextmanager
async def service_beside(backend: Backend) -> AsyncIterator[tuple[Worker, httpx.AsyncClient]]:
    """A worker over the backend's cell, whatever becomes of its Redis, and a client of it."""
    secrets = {"secrets": {"k1": SecretStr(SECRET)}, "ops_secrets": {"o1": SecretStr(OPS_SECRET)}}
    forget_metrics()
    worker = Worker.build(backend.settings_of(Login.API, durability=Durability.DISK, **secrets))
    async with worker.running():
        transport = httpx.ASGITransport(worker.lane(build_app(worker)), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://grab") as http:
            yield worker, http


@pytest.mark.slow
async def test_the_alarm_of_a_loss_names_the_claims_and_each_can_be_made_good(
    tmp_path: Path, database_url: str, cell_name: str
) -> None:
    """A Redis without AOF, `disk`, and a kill while the ledger is away: only the worker knows what winners were told."""
    valkey = FaultyValkey(tmp_path / "valkey", appendfsync=AppendFsync.NO, shim=None, password="p" * 32, appendonly=False)
    await valkey.start()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(valkey.stop)
        backend = await stack.enter_async_context(a_backend(valkey.url, database_url, cell_name))
        async with backend.open_ledger():
            names = await backend.sale(12, stock=10)
            await backend.win_on_record("c", names[:3])
        worker, http = await stack.enter_async_context(service_beside(backend))
        until_s = int(time.time()) + 600
        passes = {name: {"Authorization": f"Bearer {mint(worker.keys, name, until_s)}"} for name in names}
        told = {}
        for name in names[2:8]:
            answer = await http.post("/v1/campaigns/c/claims", headers=passes[name])
            assert answer.status_code in {200, 201}, answer.text
            told[name] = answer.json()["claim_id"]
        del told[names[2]]  # a repeat of one that is on record
        seq = int(await backend.redis.hget(backend.keys.cell, "seq") or 0)
        while worker.view.seq < seq:  # a view that is ahead of the life that begins
            await asyncio.sleep(0.01)
        await valkey.kill()
        await valkey.start()
        async with backend.open_ledger():

            async def named() -> bool:
                return bool((await lost(backend)).get("claims"))

            await until(named)
            alarm = await lost(backend)
            assert alarm["claims"] == [{"claim_id": claim_id, "member_id": name} for name, claim_id in told.items()]
            assert alarm["told_up_to_seq"] - alarm["on_record_up_to_seq"] == len(told)
            ops = {"Authorization": f"Bearer {mint_ops(worker.keys, 'alice', Role.OPERATOR, until_s - 600, until_s)}"}
            for claim in alarm["claims"]:
                answer = await http.post(
                    "/v1/ops/campaigns/c/grants",
                    json={"member_id": claim["member_id"], "reason": f"lost: {claim['claim_id']}"},
                    headers=ops | {"Idempotency-Key": claim["claim_id"]},
                )
                assert answer.status_code == 201, answer.text
            report = (await http.get("/v1/ops/audit", headers=ops)).json()
            assert (report["holds"], report["campaigns"][0]["active"]) == (True, 8), report
            last = [(await http.post("/v1/campaigns/c/claims", headers=passes[name])).status_code for name in names[8:]]
            assert sorted(last) == [201, 201, 409, 409]


RECORD = b"%b\tseq=%d\tepoch=1\tat_ms=0\tstate=fulfilled\tunit_no=5\tordinal=1\tcode=\tkey="


def test_what_is_on_record_is_forgotten_and_the_newest_are_kept() -> None:
    told = Told(claims_max=3)
    claims = [ToldClaim(seq, "c", f"m{seq}") for seq in range(1, 7)]

    def entry(*seqs: int) -> Granted:
        grants = [GrantedClaim(claims[seq - 1].member_id, seq, 1, "", "") for seq in seqs]
        return Granted(seqs[0], seqs[-1], 1, 0, "c", grants)

    told.note_entry(entry(1))
    told.note_entry(entry(2))
    told.forget(Recorded(2, 9), 2)
    told.forget(Recorded(1, 1), 2)
    assert [event.seq for event in told._entries] == [2]
    told.note_entry(entry(3, 4))
    # A win, a refusal, and a reply whose entry is read in the end.
    grabs = [Grab("c", member_id, "", "zh", print) for member_id in ("m5", "m9")]
    for seq in (3, 5):
        won = RECORD % (RECORDS.encode(), seq)
        told.note_reply("c", grabs, GrabReply(1, 0, seq, 1, 0, None, [b"won\t" + won, b"sold_out"]))
    told.forget(Recorded(1, 1), 4)
    told.begin(1)
    assert told.outlived == []
    told.begin(5)
    assert told.outlived == [(1, claims[2:5])]
    told.note_entry(entry(6))
    told.begin(6)
    assert len(told.outlived) == 1, "an entry of a life that is over says nothing of the next"
    told.begin(7)
    for seq in range(1, 7):
        told.note_entry(replace(entry(seq), epoch=7))
    assert len(told._entries) == 3


@pytest.fixture
async def cell(valkey_url: str, cell_name: str, redis_client: Redis) -> Cell:
    return await armed_cell(redis_client, cell_name, ["m-1", "m-2"])


async def test_a_worker_keeps_in_mind_what_it_has_told_and_what_the_log_says(cell: Cell, valkey_url: str) -> None:
    """Each by itself: the view of one worker does not look again, that of the other has told nothing."""
    seq = await publish(cell, replace(A_RUSH, stock=5))  # where none is left, the view is woken
    async with (
        grab_worker(valkey_url, cell.name, view_poll_s=1) as worker,
        LaneClients(worker) as crowd,
        view_of(cell) as view,
    ):
        assert (await crowd.grab("m-1")).status_code == 201
        view.wake()
        async with asyncio.timeout(5):
            while view.seq < seq + 1:
                await asyncio.sleep(0.01)
        for told in (worker.view.told, view.told):
            told.begin(2)
            assert told.outlived == [(1, [ToldClaim(seq + 1, "c", "m-1")])]
