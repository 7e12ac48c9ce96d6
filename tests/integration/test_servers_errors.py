"""Every obstacle to the start of a server is reported with its remedy."""

import asyncio
import re
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from redis.asyncio import Redis

from grab_service.embedded import binaries, external
from grab_service.embedded.binaries import Binary
from grab_service.embedded.errors import (
    BrokenLogError,
    DiskFullError,
    ForeignDataError,
    NoServerBinaryError,
    NotEmbeddedError,
    PortTakenError,
    ServerDidNotStartError,
    ServerError,
    ServerTooOldError,
    ServerUnreachableError,
    VarDirInUseError,
)
from grab_service.embedded.ports import free_port
from grab_service.embedded.postgres import PostgresServer
from grab_service.embedded.stack import Stack
from grab_service.embedded.valkey import ValkeyServer
from tests.harness.ready_postgres import move_in


async def test_two_runs_do_not_share_a_directory(tmp_path: Path) -> None:
    await move_in(tmp_path / "postgres")
    async with Stack(tmp_path) as first:
        with pytest.raises(VarDirInUseError, match="in use by another run"):
            await Stack(tmp_path).start()
        assert first.redis.running
    async with Stack(tmp_path):
        pass


async def test_a_port_that_was_asked_for_and_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        port = taken.getsockname()[1]
        for server in (ValkeyServer(tmp_path / "v", port=port), PostgresServer(tmp_path / "p", port=port, durable=False)):
            with pytest.raises(PortTakenError, match=rf"127\.0\.0\.1:{port}: the port is taken"):
                await server.start()


async def test_a_port_that_was_only_remembered_gives_way(tmp_path: Path) -> None:
    before = ValkeyServer(tmp_path)
    await before.start()
    await before.stop()
    with socket.create_server(("127.0.0.1", before.port)):
        after = ValkeyServer(tmp_path)
        await after.start()
        await after.stop()
    assert after.port != before.port


async def test_too_little_disk_is_said_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(DiskFullError, match="MiB free"):
        await Stack(tmp_path, free_bytes_min=1 << 60).start()
    assert not (tmp_path / "postgres" / "data").exists()


async def filled_log(server: ValkeyServer) -> Path:
    await server.start()
    async with Redis.from_url(server.url) as client:
        for number in range(20):
            await client.set(f"key{number}", "x" * 100)
    await server.stop()
    (log,) = (server.data_dir / "appendonlydir").glob("*.incr.aof")
    return log


async def test_a_log_torn_at_its_end_costs_only_what_was_torn_off(tmp_path: Path) -> None:
    server = ValkeyServer(tmp_path)
    log = await filled_log(server)
    with log.open("ab") as end:
        end.write(b"*3\r\n$3\r\nSET\r\n$5\r\nnever\r\n$100\r\nxxx")
    await server.start()
    async with Redis.from_url(server.url) as client:
        assert await client.dbsize() == 20
    await server.stop()


@pytest.mark.parametrize("torn_bytes", [1, 5, 14, 40, 70])
async def test_a_script_torn_off_is_torn_off_whole_and_what_comes_after_stays(tmp_path: Path, torn_bytes: int) -> None:
    server = ValkeyServer(tmp_path)
    log = await filled_log(server)
    await server.start()
    async with Redis.from_url(server.url) as client:
        await client.eval("redis.call('SET', 'first', 1) redis.call('SET', 'second', 1)", 0)
    await server.stop()
    log.write_bytes(log.read_bytes()[:-torn_bytes])
    await server.start()
    async with Redis.from_url(server.url) as client:
        assert await client.exists("first", "second") == 0
        await client.set("later", 1)
    await server.kill()
    await server.start()
    async with Redis.from_url(server.url) as client:
        assert await client.dbsize() == 21
    await server.stop()


async def test_a_damaged_log_is_mended_by_doing_what_the_error_says(tmp_path: Path) -> None:
    server = ValkeyServer(tmp_path)
    log = await filled_log(server)
    whole = log.read_bytes()
    middle = whole.index(b"*3", len(whole) // 2)
    log.write_bytes(whole[:middle] + b"\0" * 4 + whole[middle + 4 :])
    with pytest.raises(BrokenLogError) as refused:
        await server.start()
    keep, cut, *_ = re.findall(r"`([^`]+)`", refused.value.hint)
    for line in (keep, cut):
        assert await (await asyncio.create_subprocess_shell(f"echo y | {line} >&2")).wait() == 0
    await server.start()
    async with Redis.from_url(server.url) as client:
        assert 0 < await client.dbsize() < 20
    await server.stop()


async def test_data_of_another_postgres_are_not_touched(tmp_path: Path) -> None:
    await move_in(tmp_path)
    server = PostgresServer(tmp_path, durable=False)
    await server.start()
    await server.stop()
    (server.data_dir / "PG_VERSION").write_text("12\n")
    with pytest.raises(ForeignDataError, match="made by PostgreSQL 12"):
        await server.start()


async def test_half_a_data_directory_is_not_taken_for_a_whole_one(tmp_path: Path) -> None:
    (tmp_path / "data.new" / "base").mkdir(parents=True)
    server = PostgresServer(tmp_path, durable=False)
    await server.start()
    await server.stop()
    assert not (tmp_path / "data.new").exists()


async def test_a_start_that_fails_quotes_the_log_and_leaves_nothing_running(tmp_path: Path) -> None:
    await move_in(tmp_path)
    server = PostgresServer(tmp_path, durable=False)
    await server.start()
    await server.stop()
    (server.data_dir / "postgresql.conf").write_text("no_such_setting = 1\n")
    with pytest.raises(ServerDidNotStartError, match="no_such_setting"):
        await server.start()
    assert not server.running


async def test_every_postgres_of_this_machine_that_is_new_enough_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, path in enumerate(dict.fromkeys(binaries._postgres_candidates())):
        monkeypatch.setattr(binaries, "_postgres_candidates", lambda path=path: iter([path]))
        server = PostgresServer(tmp_path / str(number), durable=False)
        await server.start()
        await external.check_postgres(server.url)
        await server.stop()


async def test_nothing_to_start_names_the_three_ways_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "_valkey_candidates", lambda: iter([tmp_path / "missing"]))
    monkeypatch.setattr(binaries, "_postgres_candidates", lambda: iter(()))
    with pytest.raises(NoServerBinaryError, match=r"Set REDIS_URL .*pip install .* install valkey-server or redis-server"):
        binaries.find_valkey()
    with pytest.raises(NoServerBinaryError, match=r"Set DATABASE_URL .*pip install .* install postgresql"):
        binaries.find_postgres()


@pytest.mark.parametrize(
    ("program", "said", "find"),
    [
        ("redis-server", "Redis server v=6.2.14 sha=00000000:0 malloc=jemalloc-5.1.0 bits=64", binaries.find_valkey),
        ("valkey-server", "Valkey server v=7.2.9 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64", binaries.find_valkey),
        ("postgres", "postgres (PostgreSQL) 13.18 (Debian 13.18-0+deb11u1)", binaries.find_postgres),
    ],
)
def test_a_system_server_that_is_too_old_is_named_with_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, said: str, find: Callable[[], Binary]
) -> None:
    path = tmp_path / program
    path.write_text(f"#!/bin/sh\necho '{said}'\n")
    path.chmod(0o755)
    monkeypatch.setattr(binaries, "_package_dir", lambda _: None)
    monkeypatch.setattr(shutil, "which", lambda name: str(path) if name == program else None)
    monkeypatch.setattr(Path, "glob", lambda *_: iter(()))
    with pytest.raises(NoServerBinaryError, match=re.escape(said)):
        find()


async def test_given_servers_are_used_and_none_is_started(
    tmp_path: Path, valkey_url: str, postgres_server: PostgresServer
) -> None:
    async with Stack(tmp_path / "var", redis_url=valkey_url, database_url=postgres_server.url) as stack:
        assert (stack.redis_url, stack.database_url) == (valkey_url, postgres_server.url)
        for not_ours in ("redis", "postgres"):
            with pytest.raises(NotEmbeddedError):
                getattr(stack, not_ours)
    assert not (tmp_path / "var").exists()


async def test_a_given_server_that_is_too_old_is_refused_with_both_versions(
    valkey_url: str, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(external, "VALKEY_MIN", (99, 0))
    monkeypatch.setattr(external, "POSTGRES_MIN", (99,))
    with pytest.raises(ServerTooOldError, match=r"Valkey [89]\.\S+, and Redis >= 7\.0 or Valkey >= 99\.0 is needed"):
        await external.check_redis(valkey_url, "cell")
    with pytest.raises(ServerTooOldError, match=r"PostgreSQL 1\d\.\S+, and PostgreSQL >= 99 is needed"):
        await external.check_postgres(postgres_server.url)


@pytest.mark.parametrize("url", ["redis://:hidden@127.0.0.1:{port}/0", "http://nowhere", "redis://127.0.0.1:x"])
async def test_a_redis_url_that_leads_nowhere_says_so_without_the_password(url: str) -> None:
    with pytest.raises(ServerUnreachableError, match="REDIS_URL") as refused:
        await external.check_redis(url.format(port=free_port()), "cell")
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["postgresql+asyncpg://me:hidden@127.0.0.1:{port}/grab", "sqlite:///x.db", "postgresql://u@127.0.0.1:x/"]
)
async def test_a_database_url_that_leads_nowhere_says_so_without_the_password(url: str) -> None:
    with pytest.raises(ServerUnreachableError, match="DATABASE_URL") as refused:
        await external.check_postgres(url.format(port=free_port()))
    assert "hidden" not in str(refused.value)


async def test_a_stack_that_fails_half_way_stops_what_it_started(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        await move_in(tmp_path / "postgres")
        stack = Stack(tmp_path, redis_port=taken.getsockname()[1], durable=False)
        with pytest.raises(ServerError):
            await stack.start()
    assert not stack.postgres.running
    async with Stack(tmp_path, durable=False):
        pass
