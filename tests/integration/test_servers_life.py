"""Embedded servers live as long as their parent, and not a moment longer."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from grab_service import launch
from grab_service.embedded import run_as
from grab_service.embedded.child import previous_pid, until
from grab_service.embedded.postgres import PostgresServer
from grab_service.embedded.server import EmbeddedServer
from grab_service.embedded.stack import Stack
from grab_service.embedded.valkey import ValkeyServer
from grab_service.launch import RunAs, started_at
from tests.harness.databases import session_in
from tests.harness.embedded import started
from tests.harness.ready_postgres import move_in

CHECKOUT = Path(__file__).parents[2]

PARENT = """
import asyncio, sys
from pathlib import Path
from typing import Any
from grab_service.embedded.stack import Stack

async def main():
    async with Stack(Path(sys.argv[1])) as stack:
        print("pids", stack.redis.pid, stack.postgres.pid, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


def start_parent(var_dir: Path) -> tuple[subprocess.Popen[str], list[int]]:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(var_dir)], stdout=subprocess.PIPE, text=True, cwd=CHECKOUT, start_new_session=True
    )
    assert parent.stdout is not None
    with parent.stdout:
        for line in parent.stdout:
            if line.startswith("pids"):
                return parent, [int(pid) for pid in line.split()[1:]]
    raise AssertionError("the parent ended before its servers were ready")


async def gone(pids: list[int]) -> bool:
    return await until(lambda: all(started_at(pid) is None for pid in pids), 15)


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT, signal.SIGHUP], ids=lambda sign: sign.name)
async def test_no_server_outlives_its_parent_and_the_next_start_works(tmp_path: Path, sign: signal.Signals) -> None:
    await move_in(tmp_path / "postgres")
    parent, pids = await asyncio.to_thread(start_parent, tmp_path)
    os.killpg(parent.pid, sign)  # as a terminal does: to everybody in the group
    await asyncio.to_thread(parent.wait, 30)
    assert await gone(pids)
    async with Stack(tmp_path) as stack:
        assert stack.redis.running
        assert stack.postgres.running


async def test_the_next_start_need_not_wait_for_the_last_servers_to_end(tmp_path: Path) -> None:
    await move_in(tmp_path / "postgres")
    parent, pids = await asyncio.to_thread(start_parent, tmp_path)
    parent.kill()
    await asyncio.to_thread(parent.wait, 30)
    async with Stack(tmp_path) as stack:
        assert stack.redis.pid not in pids
        assert stack.postgres.pid not in pids
        assert await gone(pids)


VALKEY_SAYS = {
    "bind": "127.0.0.1",
    "tcp-backlog": "4096",
    "maxclients": "4096",
    "appendonly": "yes",
    "appendfsync": "always",
    "no-appendfsync-on-rewrite": "no",
    "aof-load-truncated": "yes",
    "save": "",
    "maxmemory": "0",
    "maxmemory-policy": "noeviction",
    "daemonize": "no",
}
POSTGRES_SAYS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "password_encryption": "scram-sha-256",
    "server_encoding": "UTF8",
}
"""Settings that a running server reports; not those it was given."""


async def said_by_valkey(server: ValkeyServer) -> Any:
    async with Redis.from_url(server.url, decode_responses=True) as client:
        said: Any = await client.config_get(*VALKEY_SAYS)
    return said


async def said_by_postgres(server: PostgresServer) -> dict[str, str]:
    async with session_in(server.url) as session:
        return {name: await session.fetchval(f"SHOW {name}") for name in POSTGRES_SAYS}


async def written_to_valkey(server: ValkeyServer) -> bytes | None:
    async with Redis.from_url(server.url) as client:
        before = await client.getset("kept", "yes")
    assert not isinstance(before, str)
    return before


async def written_to_postgres(server: PostgresServer) -> bytes | None:
    async with session_in(server.url) as session:
        kept = await session.fetchval("SELECT to_regclass('kept')")
        await session.execute("CREATE TABLE IF NOT EXISTS kept ()")
    return b"yes" if kept else None


@pytest.mark.parametrize("end", ["stop", "kill"])
@pytest.mark.parametrize(
    ("kind", "said", "says", "written"),
    [
        (ValkeyServer, said_by_valkey, VALKEY_SAYS, written_to_valkey),
        (PostgresServer, said_by_postgres, POSTGRES_SAYS, written_to_postgres),
    ],
    ids=["valkey", "postgres"],
)
async def test_a_server_keeps_its_address_and_what_was_written(
    tmp_path: Path, end: str, kind: Any, said: Any, says: dict[str, str], written: Any
) -> None:
    if kind is PostgresServer:
        await move_in(tmp_path / "home")
    server = kind(tmp_path / "home")
    async with started(server):
        url = server.url
        assert await said(server) == says
        assert await written(server) is None
        await getattr(server, end)()
        assert not server.running
        await server.start()
        assert server.url == url
        assert await written(server) == b"yes"


@pytest.mark.parametrize("kind", [ValkeyServer, PostgresServer])
async def test_a_server_of_an_earlier_run_is_ended_before_the_next_starts(
    tmp_path: Path, kind: Callable[[Path], EmbeddedServer]
) -> None:
    if kind is PostgresServer:
        await move_in(tmp_path / "home")
    earlier, later = kind(tmp_path / "home"), kind(tmp_path / "home")
    await earlier.start()
    earlier.send(signal.SIGSTOP)  # it does not even listen
    async with started(later):
        assert not earlier.running
        assert later.port == earlier.port


async def test_a_stranger_with_the_number_of_an_earlier_server_is_left_alone(tmp_path: Path) -> None:
    server = ValkeyServer(tmp_path / "valkey")
    await server.start()
    mark = server._spec(())
    assert previous_pid(mark) == server.pid
    await server.stop()
    for place, began in (
        (mark.data_dir, lambda _: "1"),
        (tmp_path, started_at),
    ):  # another time; another place
        with subprocess.Popen(["sleep", "60"], cwd=place) as stranger:  # noqa: ASYNC220 -- starts at once
            try:
                mark.pid_path.write_text(f"{stranger.pid} {began(stranger.pid)}\n")
                await server.start()
                await server.stop()
                assert stranger.poll() is None
            finally:
                stranger.kill()


def test_a_child_whose_parent_died_before_it_could_ask_to_die_with_it_never_begins() -> None:
    order = launch.Order(
        argv=["/bin/sh", "-c", "echo began"],
        parent_pid=os.getppid(),  # not we, who start it
        death_signal=signal.SIGTERM,
        pid_path=None,
        run_as=RunAs.SELF,
    )
    child = subprocess.run(
        [sys.executable, "-I", "-S", launch.__file__, json.dumps(order)], capture_output=True, text=True, check=False
    )
    assert child.returncode == launch.LAUNCH_FAILED
    assert child.stdout == ""
    assert "is gone" in child.stderr


async def test_ctrl_c_in_the_terminal_reaches_the_parent_and_not_its_servers(valkey_server: ValkeyServer) -> None:
    assert os.getpgid(valkey_server.pid) != os.getpgid(0)


@pytest.mark.parametrize("who", [RunAs.SELF] if os.geteuid() else [RunAs.USER_NAMESPACE, RunAs.NOBODY])
async def test_postgres_runs_behind_closed_doors_as_any_user(
    tmp_path: Path, who: RunAs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grab_service.embedded.postgres.who_may_run_postgres", lambda: who)
    closed = tmp_path / "a door that is closed 门"
    closed.mkdir(mode=0o700)
    async with started(PostgresServer(closed / "postgres", durable=False)) as server:
        assert await written_to_postgres(server) is None
        assert server.data_dir.stat().st_uid == (65534 if who == RunAs.NOBODY else os.geteuid())
    assert run_as.who_may_run_postgres() in RunAs


async def test_a_server_that_does_not_answer_any_more_can_be_ended(tmp_path: Path) -> None:
    await move_in(tmp_path / "postgres")
    server = PostgresServer(tmp_path / "postgres", durable=False)
    await server.start()
    server.send(signal.SIGSTOP)
    began = time.monotonic()
    await server.stop()
    assert not server.running
    assert time.monotonic() - began < 10
