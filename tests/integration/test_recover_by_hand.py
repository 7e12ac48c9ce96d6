"""The ledger's commands do their work, and name their failures."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from reconcile.process import run as run_ledger
from tests.harness.backend import Backend, until
from tests.harness.command_line import RECONCILE, environment, run_command

COMMAND = [sys.executable, "-m", "reconcile"]
ROOT = Path(__file__).parents[2]


async def reconcile(backend: Backend, *arguments: str, **env: str) -> tuple[int, str, str]:
    """(exit status, standard output, standard error) of `python -m reconcile …`."""
    said = await run_command(RECONCILE, arguments, ROOT, environment_of(backend) | env)
    return said.status, said.out, said.err


def environment_of(backend: Backend) -> dict[str, str]:
    given = {
        "REDIS_URL": backend.settings.redis_url,
        "GRAB_GUARD_REDIS_URL": backend.settings.guard_redis_url,
        "DATABASE_URL": backend.settings.database_url,
        "GRAB_CELL": backend.settings.cell,
    }
    return environment() | given


@pytest.fixture
async def sold(backend: Backend) -> Backend:
    """Five claims, all drained; the ledger has ended."""
    async with backend.open_ledger():
        await backend.sale(8, wins=5, stock=8)
    return backend


@pytest.mark.slow
async def test_recover_rebuilds_and_opens_the_cell_twice_over(sold: Backend) -> None:
    await sold.redis.delete(sold.keys.cell, sold.keys.of_campaign("c").claims)
    for life in (2, 3):
        status, said, trouble = await reconcile(sold, "recover")
        assert status == 0, trouble
        epoch = next(epoch for epoch, number in (await sold.lives()).items() if number == life)
        assert f"The cell is open, in epoch {epoch}" in said
        answers = await sold.grab("c", [f"m{at:05d}" for at in range(1, 6)])
        assert {answer.split(b"\t")[0] for answer in answers} == {b"held"}


@pytest.mark.slow
async def test_recover_leaves_a_running_ledger_alone(sold: Backend) -> None:
    async with sold.ledger():
        await until(sold.leaders)
        status, _, trouble = await reconcile(sold, "recover")
        assert (status, "Another ledger is running" in trouble) == (1, True)
    assert await sold.redis.hget(sold.keys.cell, "epoch") == b"1"


@pytest.mark.slow
async def test_recover_from_two_terminals_at_once_is_done_by_one_after_the_other_or_said(sold: Backend) -> None:
    both = await asyncio.gather(reconcile(sold, "recover"), reconcile(sold, "recover"))
    assert any(status == 0 for status, _, _ in both)
    for status, said, trouble in both:
        assert "The cell is open" in said if status == 0 else "Another ledger" in trouble, trouble
        assert "Traceback" not in trouble
    answers = await sold.grab("c", [f"m{at:05d}" for at in range(1, 9)])
    assert [answer.split(b"\t")[0] for answer in answers] == [b"held"] * 5 + [b"won"] * 3


@pytest.mark.slow
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGKILL])
async def test_recover_that_is_broken_off_is_finished_by_the_next_ledger(sold: Backend, sign: signal.Signals) -> None:
    child = await asyncio.create_subprocess_exec(
        *COMMAND, "recover", cwd=ROOT, env=environment_of(sold), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )

    async def has_begun() -> bool:
        return bool(await sold.redis.exists(sold.keys.hold)) and await sold.redis.hget(sold.keys.cell, "nonce") is None

    await sold.redis.delete(sold.keys.hold)
    try:
        await until(has_begun)
    finally:
        if child.returncode is None:
            child.send_signal(sign)
        await child.wait()
    async with sold.open_ledger():
        answers = await sold.grab("c", [f"m{at:05d}" for at in range(1, 9)])
        await sold.drained()
    assert [answer.split(b"\t")[0] for answer in answers] == [b"held"] * 5 + [b"won"] * 3
    assert len(await sold.claims()) == 8


@pytest.mark.slow
async def test_drain_once_drains_what_is_there(sold: Backend) -> None:
    await sold.win("c", ["m00006", "m00007"])
    status, said, _ = await reconcile(sold, "drain-once")
    assert status == 0
    assert "1 entries, 2 claims; now at epoch 1" in said
    assert len(await sold.claims()) == 7


@pytest.mark.slow
async def test_drain_once_says_what_it_cannot_drain(sold: Backend) -> None:
    seq = int(await sold.redis.hget(sold.keys.cell, "seq") or 0)
    await sold.log(seq + 3, "members_published", {"members_version": 0, "changed": 0})
    status, _, trouble = await reconcile(sold, "drain-once")
    assert status == 1
    assert f"log_gap at {seq + 3}-0" in trouble
    assert "Traceback" not in trouble


@pytest.mark.slow
async def test_audit_tells_by_its_exit_status(sold: Backend) -> None:
    status, said, _ = await reconcile(sold, "audit", "--json")
    assert status == 0
    assert orjson.loads(said)["records_compared"] == 5
    await sold.redis.hdel(sold.keys.of_campaign("c").claims, "m00001")
    status, said, _ = await reconcile(sold, "audit")
    assert status == 1
    assert "I4 OneAnswer     BROKEN" in said
    # Closed, it is audited all the same.
    await sold.redis.hdel(sold.keys.cell, "nonce")
    status, said, _ = await reconcile(sold, "audit")
    assert status == 1
    assert "I4 OneAnswer     BROKEN" in said


@pytest.mark.slow
async def test_what_is_missing_is_said_in_a_sentence(backend: Backend) -> None:
    nowhere = "127.0.0.1:1"
    for arguments, env, says in (
        (("migrate",), {"DATABASE_URL": f"postgresql://x@{nowhere}/x"}, "leads to no server that can be used"),
        (("drain-once",), {"REDIS_URL": f"redis://{nowhere}/0"}, "Redis does not answer"),
        (("recover",), {}, "no such cell"),
        (("run",), {"DATABASE_URL": ""}, "Set DATABASE_URL and REDIS_URL"),
        (("run",), {"GRAB_CELL": "no cell"}, "GRAB_CELL"),
    ):
        status, _, trouble = await reconcile(backend, *arguments, **env)
        assert status in {1, 2}
        assert says in trouble
        assert "Traceback" not in trouble


@pytest.mark.slow
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
async def test_the_process_runs_until_it_is_told_to_end(backend: Backend, sign: signal.Signals) -> None:
    child = await asyncio.create_subprocess_exec(*COMMAND, "run", cwd=ROOT, env=environment_of(backend), stderr=subprocess.PIPE)
    try:
        await backend.open_for_business()
        child.send_signal(sign)
        _, err = await asyncio.wait_for(child.communicate(), 10)
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    assert child.returncode == 0
    assert "ledger_stopped" in err.decode()


async def test_a_part_that_crashes_ends_the_process_with_an_error(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ledger that goes on without its guard would be worse than none: its supervisor starts it again."""
    from reconcile.guard.guard import Guard

    async def bug(*_: object) -> None:
        raise AssertionError("a bug")

    monkeypatch.setattr(Guard, "look", bug)
    with pytest.raises(ExceptionGroup) as crashed:
        await asyncio.wait_for(run_ledger(backend.settings, asyncio.Event()), 20)
    assert crashed.group_contains(AssertionError, match="a bug")


@pytest.mark.slow
async def test_the_figures_are_shown_to_prometheus(backend: Backend) -> None:
    import socket
    import urllib.request

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    child = await asyncio.create_subprocess_exec(
        *COMMAND,
        "run",
        cwd=ROOT,
        env=environment_of(backend) | {"GRAB_LEDGER_METRICS_PORT": str(port)},
        stderr=subprocess.DEVNULL,
    )
    try:
        await backend.open_for_business()
        await backend.sale(2, wins=2)

        async def counted() -> bool:
            def fetch() -> str:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                    return str(answer.read(), "utf-8")

            shown = await asyncio.to_thread(fetch)
            return "ledger_claims_total 2.0" in shown and "ledger_armed 1.0" in shown and "ledger_leading 1.0" in shown

        await until(counted)
    finally:
        child.terminate()
        await asyncio.wait_for(child.wait(), 10)
