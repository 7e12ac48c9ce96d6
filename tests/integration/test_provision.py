"""One command creates the users and roles of a cell in servers that others run, and they stay."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from grab_service.cell.rights import Login, user_of
from grab_service.embedded.binaries import find_valkey
from grab_service.embedded.passwords import as_user
from grab_service.embedded.ports import free_port
from grab_service.embedded.postgres import PostgresServer
from grab_service.embedded.provision import provision_redis
from grab_service.embedded.redis_users import set_users, users_of
from grab_service.sql.grants import role_of
from tests.harness import databases
from tests.harness.command_line import CommandLine
from tests.harness.databases import in_postgres
from tests.harness.embedded import foreign_valkey
from tests.harness.warm_commands import CHECKOUT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PASSWORDS: Final = {who: f"the password of {who} in tests".replace(" ", "-") for who in ("api", "ledger", "guard", "owner")}


@pytest.fixture
async def empty_database(postgres_server: PostgresServer, cell_name: str) -> AsyncIterator[str]:
    """A database with nothing in it; its address for a superuser. Roles that come to it are taken away."""
    async with databases.empty_database(postgres_server, roles_of=cell_name) as url:
        yield url


async def test_one_command_sets_all_and_the_programs_get_along_with_it(
    valkey_url: str, empty_database: str, cell_name: str, tmp_path: Path
) -> None:
    given = {f"GRAB_{who.upper()}_PASSWORD": password for who, password in PASSWORDS.items()}
    grab = CommandLine(tmp_path, REDIS_URL=valkey_url, DATABASE_URL=empty_database, GRAB_CELL=cell_name, **given)
    brief = await grab.run("provision", env={"GRAB_GUARD_PASSWORD": "too brief"})
    assert brief.is_refusal("GRAB_GUARD_PASSWORD", "grab secrets new")
    assert "`grab migrate`" in (await grab.ok("provision")).err
    owner = {"DATABASE_URL": as_user(empty_database, role_of(cell_name, "owner"), PASSWORDS["owner"]), "REDIS_URL": ""}
    assert (await grab.run("migrate", env=owner)).status == 0
    again = await grab.ok("provision")
    assert again.err == ""
    of_service = {
        "REDIS_URL": as_user(valkey_url, user_of(cell_name, Login.API), PASSWORDS["api"]),
        "DATABASE_URL": as_user(empty_database, role_of(cell_name, "api"), PASSWORDS["api"]),
    }
    listed = await grab.run("campaign", "list", env=of_service)
    assert listed.status == 0, listed
    (await grab.run("migrate", env=of_service)).is_refusal("")
    (await grab.run("provision", env=of_service)).is_refusal("")
    for said in (again, listed):
        assert not any(password in said.out + said.err for password in PASSWORDS.values())


async def test_what_is_printed_does_the_same_and_holds_no_password(
    valkey_url: str, empty_database: str, cell_name: str, tmp_path: Path, redis_client: Redis
) -> None:
    given = {f"GRAB_{who.upper()}_PASSWORD": password for who, password in PASSWORDS.items()}
    grab = CommandLine(tmp_path, DATABASE_URL=empty_database, GRAB_CELL=cell_name, **given)
    printed = (await grab.ok("provision", "--print")).out
    assert not any(password in printed for password in PASSWORDS.values())
    acl, _, sql = printed.partition("-- For a superuser")
    for line in acl.splitlines():
        if line.startswith("user "):
            await redis_client.execute_command("ACL", "SETUSER", *line.split()[1:])  # type: ignore[no-untyped-call]
    await in_postgres(empty_database, sql.partition("\n")[2])
    url = as_user(valkey_url, user_of(cell_name, Login.GUARD), PASSWORDS["guard"])
    async with Redis.from_url(url, driver_info=None) as guard:
        assert await guard.ping()
    await in_postgres(as_user(empty_database, role_of(cell_name, "ledger"), PASSWORDS["ledger"]), "SELECT 1")


async def test_a_redis_that_would_forget_the_users_says_so(tmp_path: Path) -> None:
    port = free_port()
    url = f"redis://127.0.0.1:{port}"
    async with foreign_valkey(str(find_valkey().path), "--port", str(port), "--save", "", "--dir", str(tmp_path), url=url):
        assert not await provision_redis(url, "c", PASSWORDS)


async def test_the_valkey_of_the_compose_file_keeps_its_users(tmp_path: Path) -> None:
    """With a stand-in for the image's own entry point, which does no more here than to start the program."""
    entry, program = tmp_path / "docker-entrypoint.sh", tmp_path / "valkey-server"
    entry.write_text('#!/bin/sh\nexec "$@"\n')
    entry.chmod(0o755)
    program.symlink_to(find_valkey().path)
    port = free_port()
    words = ("sh", str(CHECKOUT / "deploy/valkey.sh"), "--port", str(port), "--save", "", "--dir", str(tmp_path))
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "USERS_FILE": str(tmp_path / "users.acl")}
    first, second = (f"redis://:{password}@127.0.0.1:{port}" for password in ("first", "second"))
    async with foreign_valkey(*words, url=first, REDIS_PASSWORD="first", **env):
        async with Redis.from_url(first) as admin:
            assert await set_users(admin, users_of("c", dict.fromkeys(Login, "x" * 16)))
        async with Redis.from_url(f"redis://127.0.0.1:{port}") as nobody:
            with pytest.raises(RedisError):
                await nobody.ping()
    async with foreign_valkey(*words, url=second, REDIS_PASSWORD="second", **env):
        async with Redis.from_url(second) as admin:
            names: Any = await admin.acl_users()
            assert len(names) == 4
            on_rewrite: Any = await admin.config_get("no-appendfsync-on-rewrite")
            assert list(on_rewrite.values()) == ["no"]
        async with Redis.from_url(as_user(second, "grab-c-api", "x" * 16), driver_info=None, protocol=2) as api:
            assert await api.execute_command("ACL", "WHOAMI")  # type: ignore[no-untyped-call]
        async with Redis.from_url(first) as outdated:
            with pytest.raises(RedisError):
                await outdated.ping()
    assert "first" not in (tmp_path / "users.acl").read_text()
