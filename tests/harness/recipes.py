"""The recipes of docs/OPERATIONS.md with Debian's servers: their configuration, and servers and programs set up so.

TLS, a user of few rights, PgBouncer in session mode, Sentinel behind HAProxy.
"""

import asyncio
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from grab_service.cell.rights import Login
from grab_service.embedded.binaries import Binary, parse_version
from grab_service.embedded.child import Child, ChildSpec
from grab_service.embedded.ports import LOOPBACK, free_port
from grab_service.embedded.postgres import PostgresServer
from grab_service.embedded.run_as import who_may_run_postgres
from grab_service.launch import RunAs
from tests.harness.proxy import through
from tests.harness.valkeys import FaultyValkey

POSTGRES: Final = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)
_STOPS: Final = ((signal.SIGTERM, 3.0), (signal.SIGKILL, 5.0))
_PATH: Final = "/usr/sbin:/usr/bin:/usr/local/bin"
_LISTENS_S: Final = 10.0


class Recipe(StrEnum):
    """One recipe."""

    TLS = "tls"
    FEW_RIGHTS = "few_rights"
    PGBOUNCER = "pgbouncer"
    SENTINEL = "sentinel"


_NEEDS: Final = {
    Recipe.TLS: ("redis-server", "openssl"),
    Recipe.FEW_RIGHTS: ("redis-server",),
    Recipe.PGBOUNCER: ("pgbouncer",),
    Recipe.SENTINEL: ("redis-server", "redis-sentinel", "haproxy"),
}


def program(name: str) -> str | None:
    """The full path of one of Debian's programs."""
    return shutil.which(name, path=_PATH)


def lacks(recipe: Recipe) -> str:
    """What this machine lacks for the recipe, in words; empty if nothing."""
    missing = [name for name in _NEEDS[recipe] if program(name) is None]
    if recipe is Recipe.TLS and POSTGRES is None:
        missing.append("postgresql")
    return f"needs {', '.join(missing)} of Debian" if missing else ""


def certificate(home: Path) -> tuple[Path, Path, Path]:
    """(CA, certificate, key) for localhost."""
    ca, key, request, made = home / "ca.pem", home / "key.pem", home / "request.pem", home / "made.pem"

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=home, check=True, capture_output=True)

    new = ("req", "-newkey", "rsa:2048", "-nodes")
    openssl(*new, "-x509", "-days", "2", "-subj", "/CN=ca", "-keyout", "ca.key", "-out", str(ca))
    openssl(*new, "-subj", "/CN=localhost", "-keyout", str(key), "-out", str(request))
    (home / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    openssl(
        *("x509", "-req", "-in", str(request), "-CA", str(ca), "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"),
        *("-extfile", "names", "-out", str(made)),
    )
    for path in (ca, key, made):
        path.chmod(0o644)
    return ca, made, key


def pgbouncer_ini(port: int, postgres_port: int, users: Path) -> str:
    """The configuration of PgBouncer."""
    return (
        f"[databases]\n* = host=127.0.0.1 port={postgres_port}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n"
        f"auth_type = plain\nauth_file = {users}\npool_mode = session\nunix_socket_dir =\n"
        "default_pool_size = 60\nmax_client_conn = 200\n"
    )


def sentinel_conf(port: int, home: Path, primary_port: int, password: str) -> str:
    """The configuration of the one Sentinel."""
    return (
        f"bind 127.0.0.1\nport {port}\ndir {home}\nsentinel monitor grab 127.0.0.1 {primary_port} 1\n"
        f"sentinel auth-pass grab {password}\nsentinel down-after-milliseconds grab 1000\n"
        "sentinel failover-timeout grab 5000\n"
    )


def haproxy_cfg(port: int, ports: tuple[int, int], password: str) -> str:
    """The configuration of HAProxy before both servers."""
    check = f"tcp-check send AUTH\\ {password}\\r\\n\n  tcp-check expect string +OK\n"
    check += "  tcp-check send info\\ replication\\r\\n\n"
    return (
        "defaults\n  mode tcp\n  timeout connect 1s\n  timeout client 1h\n  timeout server 1h\n"
        f"listen redis\n  bind 127.0.0.1:{port}\n  option tcp-check\n  {check}  tcp-check expect string role:master\n"
        "  default-server inter 300ms fall 1 rise 1 on-marked-down shutdown-sessions\n"
        f"  server a 127.0.0.1:{ports[0]} check\n  server b 127.0.0.1:{ports[1]} check\n"
    )


class DebianRedis(FaultyValkey):
    """Debian's Redis, with TLS at a port of its own or users of few rights."""

    tls: tuple[int, Path, Path, Path] | None = None
    """(port, CA, certificate, key)."""

    few_rights = False

    async def _prepare(self) -> None:
        await super()._prepare()
        found = program("redis-server")
        assert found is not None
        self._binary = Binary(Path(found), "redis", (7, 0))

    def _settings(self) -> dict[str, object]:
        settings = super()._settings()
        if self.tls is not None:
            port, ca, made, key = self.tls
            settings |= {"tls-port": port, "tls-ca-cert-file": ca, "tls-cert-file": made, "tls-key-file": key}
            settings["tls-auth-clients"] = "no"
        return settings

    def _argv(self) -> tuple[str, ...]:
        argv = super()._argv()
        if self.few_rights:
            lines = self._acl_file.read_text(encoding="utf-8").splitlines()
            lines = [line if line.startswith("user default ") else f"{line} -config -info -acl" for line in lines]
            self._acl_file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return argv

    def tls_url(self, url: str) -> str:
        """The same address by TLS."""
        assert self.tls is not None
        port, ca, *_ = self.tls
        return f"{through(url, port).replace('redis://', 'rediss://', 1)}?ssl_ca_certs={ca}"


class DebianPostgres(PostgresServer):
    """Debian's PostgreSQL with TLS."""

    def __init__(self, home: Path, ca: Path, made: Path, key: Path) -> None:
        super().__init__(home)
        self._tls = ca, made, key

    def _find(self) -> Binary:
        assert POSTGRES is not None
        said = subprocess.run([POSTGRES / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
        return Binary(POSTGRES / "postgres", "postgres", parse_version(said))

    def _argv(self) -> tuple[str, ...]:
        _, made, key = self._tls
        key.chmod(0o600)
        return *super()._argv(), "--ssl=on", f"--ssl_cert_file={made}", f"--ssl_key_file={key}"

    def tls_url(self, url: str) -> str:
        """The same address by TLS."""
        return f"{url}?sslmode=verify-full&sslrootcert={self._tls[0]}"


def _put(home: Path, files: dict[str, str]) -> None:
    home.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (home / name).write_text(text, encoding="ascii")


def helper(home: Path, name: str, *arguments: str, run_as: RunAs = RunAs.SELF) -> Child:
    """One of Debian's programs between ours and the servers."""
    found = program(name)
    assert found is not None
    return Child(
        ChildSpec(name, (found, *arguments), home, home / f"{name}.log", home / f"{name}.pid", _STOPS, signal.SIGTERM, run_as)
    )


@asynccontextmanager
async def running_helper(child: Child, port: int) -> AsyncIterator[Child]:
    """Started and listening; ended with the block."""
    child.start()
    try:
        async with asyncio.timeout(_LISTENS_S):
            while not await listens(port):
                assert child.running, child.said()
                await asyncio.sleep(0.05)
        yield child
    finally:
        await child.stop()


async def listens(port: int) -> bool:
    """Whether somebody does at this port."""
    try:
        _, writer = await asyncio.open_connection(LOOPBACK, port)
    except OSError:
        return False
    writer.transport.abort()
    return True


@asynccontextmanager
async def running_pgbouncer(home: Path, postgres: PostgresServer) -> AsyncIterator[tuple[Child, int]]:
    """PgBouncer in session mode before it, and its port."""
    port = free_port()
    logins = [postgres.url_as(login.value) for login in (Login.API, Login.LEDGER)]
    pairs = [url.split("://", 1)[1].split("@", 1)[0].split(":", 1) for url in logins]
    users, ini = home / "users.txt", home / "pgbouncer.ini"
    passwords = "".join(f'"{name}" "{password}"\n' for name, password in pairs)
    _put(home, {users.name: passwords, ini.name: pgbouncer_ini(port, postgres.port, users)})
    run_as = await asyncio.to_thread(who_may_run_postgres)
    async with running_helper(helper(home, "pgbouncer", "-q", str(ini), run_as=run_as), port) as child:
        yield child, port


@asynccontextmanager
async def running_sentinel(home: Path, valkeys: list[FaultyValkey], password: str) -> AsyncIterator[int]:
    """The second follows the first, Sentinel watches both, HAProxy leads to the primary; the port of HAProxy."""
    sentinel, front = free_port(), free_port()
    primary, replica = valkeys
    await replica.follow(primary)
    of_sentinel = sentinel_conf(sentinel, home, primary.port, password)
    of_haproxy = haproxy_cfg(front, (primary.port, replica.port), password)
    _put(home, {"sentinel.conf": of_sentinel, "haproxy.cfg": of_haproxy})
    async with (
        running_helper(helper(home, "redis-sentinel", str(home / "sentinel.conf")), sentinel),
        running_helper(helper(home, "haproxy", "-db", "-f", str(home / "haproxy.cfg")), front),
    ):
        yield front


async def is_replica(valkey: FaultyValkey) -> bool:
    """Whether it follows a primary, and has all of it."""
    role: Any = await valkey.ask("ROLE")
    return bool(role[0] == b"slave" and role[3] == b"connected")
