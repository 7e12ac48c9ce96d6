"""Doctor, migrate, ledger and service accept the same addresses of PostgreSQL, and refuse the same databases."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from grab_service.embedded.errors import UnfitDatabaseError
from grab_service.embedded.external import check_postgres
from grab_service.embedded.ports import free_port
from grab_service.embedded.postgres import PostgresServer
from grab_service.sql.engine import connect
from grab_service.sql.sessions import Sessions, SharedSessionError
from tests.harness.command_line import OPS_SECRET, SECRET, CommandLine, Said
from tests.harness.databases import empty_database, in_postgres, session_in

PROGRAMS = {
    "doctor": ("doctor", "--json"),
    "migrate": ("migrate",),
    "reconcile": ("reconcile",),
    "serve": ("serve",),
}


def environment(valkey_url: str, database_url: str) -> dict[str, str]:
    return {
        "REDIS_URL": valkey_url,
        "DATABASE_URL": database_url,
        "GRAB_SECRETS": SECRET,
        "GRAB_OPS_SECRETS": OPS_SECRET,
        "GRAB_PORT": str(free_port()),
    }


async def said_by_all(tmp_path: Path, valkey_url: str, database_url: str) -> dict[str, Said]:
    grab = CommandLine(tmp_path, **environment(valkey_url, database_url))
    all_said = await asyncio.gather(*(grab.run(*arguments) for arguments in PROGRAMS.values()))
    return dict(zip(PROGRAMS, all_said, strict=True))


def is_the_same_refusal(said: dict[str, Said], *words: str) -> bool:
    """Each has ended with the same sentence and no traceback."""
    for program, answer in said.items():
        text = answer.out + answer.err
        assert answer.status in (1, 2), (program, answer)
        assert "Traceback" not in text, (program, answer)
        for word in words:
            assert word in text, (program, word, text)
    return True


async def in_encoding(encoding: str, server: PostgresServer) -> str:
    """How a database is made that has another encoding than its cluster, which may know UTF8 alone."""
    async with session_in(server.url) as session:
        libc = " LOCALE_PROVIDER libc" if session.get_server_version().major >= 15 else ""
    return f"ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0{libc}"


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII", "EUC_CN"])
async def test_a_database_that_is_not_utf8_is_refused_by_all(
    tmp_path: Path, valkey_url: str, postgres_server: PostgresServer, encoding: str
) -> None:
    async with empty_database(postgres_server, how=await in_encoding(encoding, postgres_server)) as url:
        said = await said_by_all(tmp_path, valkey_url, url)
    assert is_the_same_refusal(
        said, f"has the encoding {encoding}, and it has to be UTF8", "CREATE DATABASE grab ENCODING 'UTF8'"
    )


async def test_what_a_look_at_a_database_says_of_its_encoding(postgres_server: PostgresServer) -> None:
    async with empty_database(postgres_server, how=await in_encoding("LATIN1", postgres_server)) as url:
        with pytest.raises(UnfitDatabaseError, match="has to be UTF8"):
            await check_postgres(url)


@pytest.mark.parametrize(
    "statements",
    [
        (
            "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)",
            "INSERT INTO alembic_version VALUES ('0badc0ffee00')",
        ),
        ("CREATE TABLE members (id int)",),
        ("CREATE VIEW claims AS SELECT 1 AS one",),
    ],
)
async def test_a_database_of_another_program_is_refused_by_all_and_left_as_it_was(
    tmp_path: Path, valkey_url: str, postgres_server: PostgresServer, statements: tuple[str, ...]
) -> None:
    async with empty_database(postgres_server) as url:
        await in_postgres(url, *statements)
        said = await said_by_all(tmp_path, valkey_url, url)
        async with session_in(url) as session:
            relations = await session.fetchval("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace")
    assert is_the_same_refusal(said, "belongs to another program", "Give the cell a database of its own")
    assert relations <= 2, "the table and its index"


@pytest.mark.parametrize(
    ("parameters", "why"),
    [
        ("?foo=bar", "the parameter 'foo' is not known"),
        ("?keepalives_idle=30", "the parameter 'keepalives_idle' is not known"),
        ("?options=-c%20synchronous_commit%3Doff", "synchronous_commit, which the programs rely on"),
        ("?sslmode=verify-full&sslrootcert=/no/such/ca.pem", "where no file is"),
    ],
)
async def test_a_parameter_that_cannot_be_handed_on_is_refused_by_all(
    tmp_path: Path, valkey_url: str, database_url: str, parameters: str, why: str
) -> None:
    said = await said_by_all(tmp_path, valkey_url, database_url + parameters)
    password = urlsplit(database_url).password
    assert password
    assert is_the_same_refusal(said, "DATABASE_URL: postgresql://", why)
    assert not any(password in answer.out + answer.err for answer in said.values())


@pytest.mark.parametrize(
    ("parameters", "shown"),
    [
        ("sslmode=disable", {"application_name": "grab-service"}),
        ("sslmode=prefer&connect_timeout=10", {}),
        ("application_name=till", {"application_name": "till"}),
        ("options=-c%20lock_timeout%3D5s%20-c%20DateStyle.unused%3Da%5C%20b", {"lock_timeout": "5s"}),
        ("target_session_attrs=read-write", {}),
    ],
)
async def test_a_parameter_that_is_known_is_in_force_in_each_session(
    database_url: str, parameters: str, shown: dict[str, str]
) -> None:
    engine = connect(f"{database_url}?{parameters}", connections_max=1, statement_timeout_s=7)
    try:
        async with engine.connect() as connection:
            for name, value in {"statement_timeout": "7s", **shown}.items():
                assert (await connection.exec_driver_sql(f"SHOW {name}")).scalar_one() == value
    finally:
        await engine.dispose()


async def test_a_server_without_tls_is_no_server_where_tls_is_demanded(
    tmp_path: Path, valkey_url: str, database_url: str
) -> None:
    grab = CommandLine(tmp_path, **environment(valkey_url, f"{database_url}?sslmode=require"))
    doctor, migrate = await asyncio.gather(grab.run("doctor"), grab.run("migrate"))
    assert "rejected SSL upgrade" in doctor.out
    assert migrate.is_refusal("rejected SSL upgrade")


@asynccontextmanager
async def pgbouncer(tmp_path: Path, server_url: str, *lines: str) -> AsyncIterator[str]:
    """PgBouncer in front of a database; the address that leads through it."""
    parts = urlsplit(server_url)
    port, name = free_port(), parts.path.removeprefix("/")
    settings = tmp_path / "pgbouncer.ini"
    settings.write_text(
        f"[databases]\n{name} = host=127.0.0.1 port={parts.port} user={parts.username} password={parts.password}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = any\nunix_socket_dir =\n"
        + "".join(f"{line}\n" for line in lines)
    )
    settings.chmod(0o644)
    tmp_path.chmod(0o755)  # noqa: ASYNC240  # a moment
    user = () if os.geteuid() else ("-u", "nobody")
    process = await asyncio.create_subprocess_exec(
        "pgbouncer", "-q", *user, str(settings), stderr=asyncio.subprocess.DEVNULL, cwd="/"
    )
    url = f"postgresql://any:x@127.0.0.1:{port}/{name}"
    try:
        for _ in range(100):
            try:
                await (await asyncpg.connect(url)).close()
                break
            except OSError:
                await asyncio.sleep(0.05)
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        await process.wait()


needs_pgbouncer = pytest.mark.skipif(shutil.which("pgbouncer") is None, reason="needs PgBouncer (Debian: pgbouncer)")
IGNORED = "ignore_startup_parameters = statement_timeout,idle_in_transaction_session_timeout,idle_session_timeout"


@needs_pgbouncer
@pytest.mark.parametrize("lines", [(), (IGNORED,)], ids=["plain", "ignoring"])
async def test_a_pooler_that_keeps_sessions_apart_is_taken_and_their_limits_hold(
    tmp_path: Path, database_url: str, lines: tuple[str, ...]
) -> None:
    async with pgbouncer(tmp_path, database_url, "pool_mode = session", *lines) as url:
        sessions = Sessions(url, connect_timeout_s=5, command_timeout_s=5, settings={"idle_session_timeout": "10000"})
        session = await sessions.open()
        assert sessions.pooled
        assert await session.fetchval("SHOW idle_session_timeout") == "10s"
        await session.close()


@needs_pgbouncer
@pytest.mark.parametrize("mode", ["transaction", "statement"])
async def test_a_pooler_that_shares_sessions_is_refused_by_all(
    tmp_path: Path, valkey_url: str, database_url: str, mode: str
) -> None:
    async with pgbouncer(tmp_path, database_url, f"pool_mode = {mode}", IGNORED) as url:
        with pytest.raises(SharedSessionError):
            await Sessions(url, connect_timeout_s=5, command_timeout_s=5).open()
        said = await said_by_all(tmp_path, valkey_url, url)
    assert is_the_same_refusal(said, "leads to a pooler", "pool_mode=session")
