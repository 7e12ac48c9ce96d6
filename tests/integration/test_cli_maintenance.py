"""The command line reports the state of the service, and the causes of a bad one."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from grab_service.cell.rights import Login, user_of
from grab_service.embedded.ports import free_port
from grab_service.embedded.programs import environments_of
from grab_service.embedded.saved_run import remembering
from grab_service.embedded.stack import Stack
from grab_service.settings import Settings
from tests.harness.backend import Backend
from tests.harness.command_line import RECONCILE, SECRET, CommandLine, Said, command_line_as, run_command

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]  # a process for each command, on a machine that may be busy


@pytest.fixture
async def grab(valkey_url: str, database_url: str, cell_name: str, tmp_path: Path) -> AsyncIterator[CommandLine]:
    async with command_line_as(Login.LEDGER, valkey_url, database_url, cell_name, tmp_path, GRAB_SECRETS=SECRET) as typed:
        yield typed


def checks(said: Said) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in said.json["checks"]}


async def test_an_audit_holds_and_one_with_a_lost_claim_does_not(grab: CommandLine, backend: Backend) -> None:
    async with backend.open_ledger():
        names = await backend.enrol(5)
        await backend.schedule("c", stock=3)
        await backend.grab("c", names)
        holds = await grab.ok("audit")
        assert "I6 Conserved" in holds.out
        assert "Redis equals Postgres: yes" in holds.out
        assert "3 records compared one by one (100%)" in holds.out
        assert "The oldest comparison of a campaign is 0 min old" in holds.out
        # By hand: a state that must never be.
        await backend.drained()
        await backend.sql("DELETE FROM claims WHERE unit_no = 2")
        broken = await grab.run("audit", "--json")
        assert broken.status == 1
        assert broken.json["holds"] is False
        assert broken.json["redis_equals_postgres"] is False
        assert broken.json["invariants"]["I3 NoLostAck"]["holds"] is False


async def test_there_is_no_audit_of_a_cell_whose_ledger_stands_still(grab: CommandLine, backend: Backend) -> None:
    async with backend.open_ledger():
        await backend.enrol(1)
        await backend.schedule("c")
        await backend.drained()
    await backend.win("c", ["m00001"])
    (await grab.run("audit", "--wait-s", "0.2")).is_refusal("There can be no audit now", "the ledger is at", "grab reconcile")


async def test_the_doctor_finds_nothing_to_mend_where_all_is_well(grab: CommandLine, backend: Backend) -> None:
    async with backend.open_ledger():
        said = await grab.run("doctor", "--json")
    found = checks(said)
    assert found["cell"]["state"] == "ok", found["cell"]
    assert found["ledger"]["state"] == "ok", found["ledger"]
    assert found["redis"]["state"] == found["tables"]["state"] == found["clock"]["state"] == "ok"
    # The servers of tests may lose what they are told; the ledger and the doctor see it.
    assert set(re.findall(r"(\w+) for \d", found["alarms"]["found"])) <= {"server_settings"}
    assert (found["persistence"]["state"], found["postgres"]["state"]) == ("warn", "warn")
    assert "appendfsync always" in found["persistence"]["mend"]
    assert "fsync" in found["postgres"]["found"]
    assert said.json["ok"] is (said.status == 0)
    assert found["secrets"]["state"] == found["rights"]["state"] == found["guard-rights"]["state"] == "ok"
    assert SECRET.split(":")[1] not in said.out


async def test_the_doctor_says_which_right_is_missing_or_too_much(
    grab: CommandLine, backend: Backend, valkey_url: str, cell_name: str
) -> None:
    await backend.redis.execute_command("ACL", "SETUSER", user_of(cell_name, Login.LEDGER), "-zrem")  # type: ignore[no-untyped-call]
    found = checks(await grab.run("doctor", "--json"))
    assert (found["rights"]["state"], found["guard-rights"]["state"]) == ("fail", "fail")
    assert "ZREM" in found["rights"]["found"]
    assert "grab provision" in found["rights"]["mend"]
    as_admin = checks(await grab.run("doctor", "--json", env={"REDIS_URL": valkey_url, "GRAB_GUARD_REDIS_URL": ""}))
    assert as_admin["rights"]["state"] == "warn"
    assert "guard-rights" not in as_admin


async def test_the_doctor_says_what_keeps_a_cell_closed(grab: CommandLine, backend: Backend) -> None:
    nothing_yet = checks(await grab.run("doctor", "--json"))
    assert "has not begun yet" in nothing_yet["cell"]["found"]
    assert "grab reconcile" in nothing_yet["cell"]["mend"]
    assert "no ledger is running" in nothing_yet["ledger"]["found"]
    async with backend.open_ledger():
        await backend.drained()
    # The ledger has gone, and Redis forgets its scripts as by a restart.
    table = await backend.redis.hgetall(backend.keys.scripts)
    forgotten = {field: b"0" * 40 if b":" in field else value for field, value in table.items()}
    await backend.redis.hset(backend.keys.scripts, mapping=forgotten)  # type: ignore[arg-type]  # bytes are fine
    await backend.sql("INSERT INTO alarms (raised_at_ms, kind, detail) VALUES (1, 'audit_red', '{\"why\": \"a test\"}')")
    said = await grab.run("doctor")
    assert said.status == 1
    assert "FAIL  cell" in said.out
    assert "knows no scripts" in said.out
    assert "audit_red" in said.out
    assert "a test" in said.out
    await backend.redis.delete(*[key async for key in backend.redis.scan_iter(match=backend.keys.prefix + "*")])
    assert "Redis lost the cell" in checks(await grab.run("doctor", "--json"))["cell"]["found"]


async def test_the_doctor_works_where_nothing_else_does(tmp_path: Path) -> None:
    grab = CommandLine(tmp_path)
    nothing, down, wrong = await asyncio.gather(
        grab.run("doctor", "--json"),
        grab.run("doctor", "--json", env={"REDIS_URL": "redis://127.0.0.1:1", "DATABASE_URL": "postgresql://a@127.0.0.1:1/b"}),
        grab.run("doctor", "--json", env={"GRAB_SECRETS": "short", "GRAB_PORT": "0", "REDIS_URL": "nonsense"}),
    )
    assert (nothing.status, down.status, wrong.status) == (1, 1, 1)
    assert "REDIS_URL and DATABASE_URL not set" in checks(nothing)["settings"]["found"]
    assert checks(nothing)["secrets"]["state"] == "fail"
    assert (checks(down)["redis"]["state"], checks(down)["postgres"]["state"]) == ("fail", "fail")
    assert "cell" not in checks(down)
    found = [check["found"] for check in wrong.json["checks"]]
    assert any(text.startswith("GRAB_SECRETS: write kid:secret") for text in found)
    assert any(text.startswith("GRAB_PORT: ") for text in found)
    assert any(text.startswith("REDIS_URL: nonsense cannot be used: it does not begin with redis://") for text in found)
    assert not any("REDIS_URL" in text and "not set" in text for text in found)


async def test_commands_find_the_servers_of_a_run_in_their_directory(tmp_path: Path) -> None:
    var_dir, grab = tmp_path / "var", CommandLine(tmp_path)
    run = Settings(port=free_port(), cell="quarter", secrets={"k9": SecretStr("a secret that the run was given")})
    async with Stack(var_dir, free_bytes_min=0, cell=run.cell) as stack:
        (await grab.run("campaign", "list")).is_refusal("REDIS_URL and DATABASE_URL are not set")  # servers alone are no run
        with remembering(var_dir, f"http://127.0.0.1:{run.port}", environments_of(run, stack)):
            migrated = await grab.ok("migrate")
            assert "Using the servers of the run whose data are in var/" in migrated.err
            assert "There are no campaigns yet" in (await grab.ok("campaign", "list")).out
            assert (await run_command(RECONCILE, ("migrate",), tmp_path, grab.env)).status == 0
            async with Redis.from_url(stack.redis_url) as client:
                await client.config_set("appendonly", "no")
                await client.config_set("maxmemory-policy", "allkeys-lru")
            found = checks(await grab.run("doctor", "--json"))
            assert found["settings"]["found"] == f"cell quarter, 1 worker(s), port {run.port}"
            assert "k9 signs" in found["secrets"]["found"]
            assert found["postgres"]["state"] == "ok"
            assert (found["persistence"]["state"], found["memory"]["state"]) == ("fail", "fail")
            assert "noeviction" in found["memory"]["mend"]
            with socket.create_server(("127.0.0.1", run.port)):
                taken, second = await asyncio.gather(grab.run("serve", "--port", str(run.port)), grab.run("run"))
            taken.is_refusal(f"serves at http://127.0.0.1:{run.port} already", "a port of its own")
            second.is_refusal("A run goes on in this directory", "GRAB_VAR_DIR")


async def test_a_port_that_is_taken_is_said_before_anything_starts(grab: CommandLine) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = str(listener.getsockname()[1])
        serve, everywhere, run, no_host, no_secret, weak = await asyncio.gather(
            grab.run("serve", "--port", port, "--workers", "2"),
            grab.run("serve", "--port", port, "--host", "0.0.0.0"),
            grab.run("run", env={"GRAB_PORT": port}),
            grab.run("serve", "--host", "no.such.host.invalid"),
            grab.run("serve", env={"GRAB_SECRETS": ""}),
            grab.run("serve", env={"GRAB_ASSERTION_SECRET": "short"}),
        )
    for refused in (serve, everywhere, run):
        assert refused.is_refusal(f":{port}: the port is taken", "Stop what listens there")
    assert no_host.is_refusal("cannot listen on no.such.host.invalid", "Choose an address")
    assert no_secret.is_refusal("GRAB_SECRETS is not set")
    assert weak.is_refusal("less than 32 bytes", "GRAB_ASSERTION_SECRET")
    assert not (grab.home / "var").exists(), "nothing was started"


async def test_the_ledger_and_the_service_run_from_the_command_line(grab: CommandLine, backend: Backend) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {**grab.env, "GRAB_PORT": str(port)}
    begun = [
        await asyncio.create_subprocess_exec(
            *grab.argv(command), cwd=grab.home, env=env, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        for command in ("reconcile", "serve")
    ]
    try:
        await backend.open_for_business(60)
        async with asyncio.timeout(60):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.1)
                    continue
                writer.close()
                break
    finally:
        for process in begun:
            if process.returncode is None:
                process.terminate()
        ended = [await asyncio.wait_for(process.wait(), 30) for process in begun]
    assert ended[0] == 0, "the ledger ends as it was told"


async def test_a_cell_is_rebuilt_by_hand_only_on_a_yes_and_where_no_ledger_runs(grab: CommandLine, backend: Backend) -> None:
    async with backend.open_ledger():
        names = await backend.enrol(4)
        await backend.schedule("c", stock=3)
        await backend.grab("c", names)
        await backend.drained()
        (await grab.run("recover", "--yes")).is_refusal("Another ledger is running")
    await backend.redis.hdel(backend.keys.cell, "nonce")
    await backend.redis.delete(backend.keys.scripts)
    closed = await grab.ok("audit", "--json")
    assert "The cell is closed" in closed.err
    assert closed.json["holds"] is True
    await backend.redis.delete(*[key async for key in backend.redis.scan_iter(match=backend.keys.prefix + "*")])

    unasked = await grab.run("recover")
    assert unasked.status == 2
    assert "add --yes" in unasked.err
    rebuilt = await grab.ok("recover", "--yes")
    assert "The cell is open, in epoch 2" in rebuilt.out
    assert [answer.split(b"\t")[0] for answer in await backend.grab("c", names)] == [b"held"] * 3 + [b"sold_out"]
