"""How does an embedded PostgreSQL run?

On the loopback interface only, with a password that is made with the data, no Unix socket (its path may not be longer than about a
hundred characters, and nobody needs it), and with fsync unless the caller can do without the data.
"""

import asyncio
import secrets
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

import asyncpg
import structlog

from grab_service.servers import ports
from grab_service.servers.binaries import Binary, dotted, find_postgres, parse_version
from grab_service.servers.child import POLL_S, Child, ChildSpec, need_space, until
from grab_service.servers.errors import (
    DiskFullError,
    ForeignDataError,
    PortTakenError,
    ServerDidNotStartError,
    ServerError,
)
from grab_service.servers.launch import RunAs
from grab_service.servers.run_as import give_to, who_may_run_postgres

log = structlog.get_logger(__name__)

READY_TIMEOUT_S: Final = 120.0
"""After a crash it replays its log first; a server that fails ends long before."""

INITDB_TIMEOUT_S: Final = 120.0
START_TRIES_MAX: Final = 10
USER: Final = "grab"
PASSWORD_FILE: Final = "password.txt"
"""Stands in the data directory, for it is made and lost with it."""

_PROBE_TIMEOUT_S: Final = 5.0
_STILL_SHARED_WAIT_S: Final = 0.5
_CONNECTIONS_MAX: Final = 200
_HAS_BUILTIN_LOCALE: Final = (17,)
_NOT_YET = (OSError, TimeoutError, asyncpg.CannotConnectNowError, asyncpg.ConnectionDoesNotExistError)
# SIGINT ends the sessions and writes everything down, SIGQUIT just ends; SIGKILL would leave its workers behind.
_STOPS: Final = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 15.0))


class PostgresServer:
    """One PostgreSQL with its data in `home`; it keeps port, password and data over any number of stops, kills and starts.

    Args:
        home: its own directory; made if it is not there.
        port: where to listen on the loopback interface; a free one, the same next time, if None.
        database: made if it is not there.
        durable: False trades the data's safety in a crash of the machine for speed.
        free_bytes_min: refuse to start with less free disk.
    """

    def __init__(
        self,
        home: Path,
        *,
        port: int | None = None,
        database: str = "grab",
        durable: bool = True,
        free_bytes_min: int = 0,
    ) -> None:
        self.home = home.absolute()
        self.data_dir = self.home / "data"
        self.database = database
        self._port = port
        self._port_is_fixed = port is not None
        self._durable = durable
        self._free_bytes_min = free_bytes_min
        self._child: Child | None = None

    @property
    def port(self) -> int:
        assert self._port is not None, "PostgreSQL was never started"
        return self._port

    @property
    def url(self) -> str:
        return self.url_of(self.database)

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.running

    @property
    def pid(self) -> int:
        assert self._child is not None, "PostgreSQL was never started"
        return self._child.pid

    @property
    def log_path(self) -> Path:
        return self.home / "postgres.log"

    def url_of(self, database: str) -> str:
        """The address of one of its databases."""
        password = (self.data_dir / PASSWORD_FILE).read_text(encoding="ascii")
        return f"postgresql://{USER}:{password}@{ports.LOOPBACK}:{self.port}/{database}"

    async def start(self) -> None:
        """Start it, make data directory and database if they are not there, and return when it answers.

        Raises:
            ServerError: it cannot start; the error says why and how to mend it.
        """
        assert not self.running, "PostgreSQL runs already"
        began = time.monotonic()
        binary = await asyncio.to_thread(find_postgres)
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        run_as = await asyncio.to_thread(who_may_run_postgres)
        await Child(self._spec(binary, run_as)).settle_previous()
        need_space(self.home, self._free_bytes_min)
        if not (self.data_dir / "PG_VERSION").exists():
            await self._make_data(binary, run_as)
        self._check_data(binary)
        await asyncio.to_thread(give_to, run_as, self.data_dir)
        await self._start_on_a_port(binary, run_as)
        (self.home / "port").write_text(f"{self.port}\n", encoding="ascii")
        log.info(
            "postgres_ready",
            port=self.port,
            version=dotted(binary.version),
            run_as=run_as.value,
            durable=self._durable,
            after_ms=round((time.monotonic() - began) * 1000),
        )

    async def stop(self) -> None:
        """End sessions, write everything down, end. Does nothing if it does not run."""
        if self._child is not None:
            await self._child.stop()

    async def kill(self) -> None:
        """kill -9: what a crash of the process does. `start` brings it back with the same port and data."""
        if self._child is not None:
            await self._child.kill()

    def send(self, sign: signal.Signals) -> None:
        """Send the main process a signal, such as SIGSTOP."""
        if self._child is not None:
            self._child.send(sign)

    async def _start_on_a_port(self, binary: Binary, run_as: RunAs) -> None:
        for tries_left in reversed(range(START_TRIES_MAX)):
            if not self._port_is_fixed:
                self._port = ports.remembered_or_free(self.home / "port")
            if not ports.is_free(self.port):
                raise ports.port_taken("PostgreSQL", self.port)
            child = self._child = Child(self._spec(binary, run_as))
            child.start()
            try:
                await self._ready(child)
            except PortTakenError:
                # Somebody was faster between the look and the start.
                if self._port_is_fixed or not tries_left:
                    raise
            except _StillSharedError:
                # The workers of a killed server end a moment after it.
                if not tries_left:
                    raise
                await asyncio.sleep(_STILL_SHARED_WAIT_S)
            except BaseException:
                await child.stop()
                raise
            else:
                self._port_is_fixed = True
                return

    async def _ready(self, child: Child) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < deadline:
            if not child.running:
                raise self._why_not(child)
            try:
                await self._make_database()
            except _NOT_YET:
                await asyncio.sleep(POLL_S)
            except asyncpg.PostgresError as problem:
                if child.running:
                    raise child.not_started(f"answers, but not as it should ({problem})") from problem
            else:
                return
        raise child.not_started(f"was not ready in {READY_TIMEOUT_S:.0f} s")

    async def _make_database(self) -> None:
        session = await asyncpg.connect(self.url_of("postgres"), timeout=_PROBE_TIMEOUT_S, command_timeout=READY_TIMEOUT_S)
        try:
            if not await session.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", self.database):
                name = self.database.replace('"', '""')
                await session.execute(f'CREATE DATABASE "{name}"')
        finally:
            await session.close()

    def _why_not(self, child: Child) -> ServerError:
        said = child.said()
        if "Address already in use" in said:
            return ports.port_taken("PostgreSQL", self.port)
        if "No space left on device" in said:
            return DiskFullError(f"The disk of {self.data_dir} is full.", "Make room there and start again; nothing is lost.")
        if "is still in use" in said or "postmaster.pid" in said:
            failed = child.not_started("finds its data still in use")
            return _StillSharedError(failed.message, failed.mend)
        return child.not_started("ended while starting")

    async def _make_data(self, binary: Binary, run_as: RunAs) -> None:
        # Made beside its place and moved there when complete: half a data directory is never taken for a whole one.
        new = self.home / "data.new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        password = self.home / "password.new"
        password.touch(mode=0o600)
        password.write_text(secrets.token_urlsafe(24), encoding="ascii")
        give_to(run_as, new)
        locale = ("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        child = Child(
            replace(
                self._spec(binary, run_as),
                name="initdb",
                argv=(
                    str(binary.path.with_name("initdb")),
                    *("-D", str(new), "-U", USER, f"--pwfile={password}", "--auth=scram-sha-256", "--encoding=UTF8"),
                    *(locale if binary.version >= _HAS_BUILTIN_LOCALE else locale[:1]),
                    *(() if self._durable else ("--no-sync",)),
                ),
                data_dir=new,
                pid_path=self.home / "initdb.pid",
                stops=((signal.SIGTERM, 10.0), (signal.SIGKILL, 10.0)),
                death_signal=signal.SIGTERM,
            )
        )
        try:
            child.start()
            await until(lambda: not child.running, INITDB_TIMEOUT_S)
        finally:
            await child.stop()
        if not (new / "PG_VERSION").exists() or child.exit_status != 0:
            raise self._why_not(child)
        password.replace(new / PASSWORD_FILE)
        new.replace(self.data_dir)

    def _check_data(self, binary: Binary) -> None:
        made_by = parse_version((self.data_dir / "PG_VERSION").read_text(encoding="ascii"))
        if made_by[0] != binary.version[0]:
            raise ForeignDataError(
                f"{self.data_dir} was made by PostgreSQL {dotted(made_by)}, and {binary.path} is {dotted(binary.version)}.",
                f"Set DATABASE_URL to a PostgreSQL {dotted(made_by)} with these data, or remove {self.home} to begin anew.",
            )

    def _spec(self, binary: Binary, run_as: RunAs) -> ChildSpec:
        settings = {
            "listen_addresses": ports.LOOPBACK,
            "port": self._port,
            "unix_socket_directories": "",
            "max_connections": _CONNECTIONS_MAX,
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        if not self._durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        return ChildSpec(
            name="PostgreSQL",
            argv=(str(binary.path), "-D", str(self.data_dir), *(f"--{name}={value}" for name, value in settings.items())),
            data_dir=self.data_dir,
            log_path=self.log_path,
            pid_path=self.home / "server.pid",
            stops=_STOPS,
            death_signal=signal.SIGINT,
            run_as=run_as,
        )


class _StillSharedError(ServerDidNotStartError):
    """What a killed server shared among its processes is not free yet."""
