"""An embedded PostgreSQL.

On the loopback interface only, with a password that is made with the data, no Unix socket (its path may not be longer than
about a hundred characters, and nobody needs it), and with fsync unless the caller can do without the data. The superuser is for
the process that starts it; programs log in as roles of their cell.
"""

import asyncio
import secrets
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Final

import asyncpg

from grab_service.embedded import ports
from grab_service.embedded.binaries import Binary, dotted, find_postgres, parse_version
from grab_service.embedded.child import Child, until
from grab_service.embedded.errors import ForeignDataError, ServerError
from grab_service.embedded.passwords import as_user, derived_password
from grab_service.embedded.postgres_roles import POSTGRES_LOGINS, role_statements
from grab_service.embedded.run_as import give_to, who_may_run_postgres
from grab_service.embedded.server import EmbeddedServer, StartAgainError
from grab_service.sql.grants import quoted, role_of
from grab_service.vocabulary.keys import DEFAULT_CELL

INITDB_TIMEOUT_S: Final = 120.0
USER: Final = "grab"
PASSWORD_FILE: Final = "password.txt"  # noqa: S105 -- where it stands, not what it is
"""Stands in the data directory, for it is made and lost with it."""

_PROBE_TIMEOUT_S: Final = 5.0
_STATEMENT_TIMEOUT_S: Final = 60.0
_CONNECTIONS_MAX: Final = 200
_STOPS_OF_INITDB: Final = ((signal.SIGINT, 10.0), (signal.SIGKILL, 10.0))
_HAS_BUILTIN_LOCALE: Final = (17,)
_NOT_YET = (OSError, TimeoutError, asyncpg.CannotConnectNowError, asyncpg.ConnectionDoesNotExistError)


class PostgresServer(EmbeddedServer):
    """One PostgreSQL with one database to begin with.

    Args:
        home: its own directory; made if it is not there.
        port: where to listen on the loopback interface; a free one, the same next time, if None.
        database: made if it is not there.
        durable: False trades the data's safety in a crash of the machine for speed.
        free_bytes_min: refuse to start with less free disk.
        cell: whose roles it knows.
    """

    name = "PostgreSQL"
    # SIGINT ends the sessions and writes everything down, SIGQUIT just ends; SIGKILL would leave its workers behind.
    stops = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 15.0))

    def __init__(
        self,
        home: Path,
        *,
        port: int | None = None,
        database: str = "grab",
        durable: bool = True,
        free_bytes_min: int = 0,
        cell: str = DEFAULT_CELL,
    ) -> None:
        super().__init__(home, port, free_bytes_min)
        self.database = database
        self._cell = cell
        self._durable = durable
        self._binary: Binary | None = None

    @property
    def url(self) -> str:
        """The address of its database for its superuser, with the password."""
        return self.url_of(self.database)

    def url_of(self, database: str) -> str:
        """The address of one of its databases for its superuser, with the password."""
        return f"postgresql://{USER}:{self._password}@{ports.LOOPBACK}:{self.port}/{database}"

    def url_as(self, who: str, database: str = "") -> str:
        """The address of a database, its own if none is named, for a role of its cell (see `grab_service.sql.grants`)."""
        return as_user(self.url_of(database or self.database), role_of(self._cell, who), self._password_of(who))

    @property
    def _password(self) -> str:
        return (self.data_dir / PASSWORD_FILE).read_text(encoding="ascii")

    def _password_of(self, who: str) -> str:
        return derived_password(self._password, self._cell, who)

    def _find(self) -> Binary:
        return find_postgres()

    async def _prepare(self) -> None:
        binary = self._binary = await asyncio.to_thread(self._find)
        self._run_as = await asyncio.to_thread(who_may_run_postgres)
        if not (self.data_dir / "PG_VERSION").exists():
            await self._make_data(binary)
        made_by = parse_version((self.data_dir / "PG_VERSION").read_text(encoding="ascii"))
        if made_by[0] != binary.version[0]:
            raise ForeignDataError(
                f"{self.data_dir} was made by PostgreSQL {dotted(made_by)}, and {binary.path} is {dotted(binary.version)}.",
                f"Set DATABASE_URL to a PostgreSQL {dotted(made_by)} with these data, or remove {self.home} to begin anew.",
            )
        await asyncio.to_thread(give_to, self._run_as, self.data_dir)

    def _argv(self) -> tuple[str, ...]:
        assert self._binary is not None
        settings = {
            "listen_addresses": ports.LOOPBACK,
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": str(_CONNECTIONS_MAX),
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        if not self._durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        options = [f"--{name}={value}" for name, value in settings.items()]
        return str(self._binary.path), "-D", str(self.data_dir), *options

    async def _answers(self, child: Child) -> bool:
        try:
            session = await asyncpg.connect(
                self.url_of("postgres"), timeout=_PROBE_TIMEOUT_S, command_timeout=_STATEMENT_TIMEOUT_S
            )
            try:
                if not await session.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", self.database):
                    await session.execute(f"CREATE DATABASE {quoted(self.database)}")
            finally:
                await session.close()
            await self._set_roles()
        except _NOT_YET:
            return False
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as problem:
            if not child.running:
                return False  # a stranger answered on its port, or it ended while we asked
            raise child.not_started(f"answers, but not as it should ({problem})") from problem
        return True

    async def _set_roles(self) -> None:
        session = await asyncpg.connect(self.url, timeout=_PROBE_TIMEOUT_S, command_timeout=_STATEMENT_TIMEOUT_S)
        try:
            passwords = {who: self._password_of(who) for who in POSTGRES_LOGINS}
            async with session.transaction():
                for statement in role_statements(self._cell, passwords, self.database):
                    await session.execute(statement)
        finally:
            await session.close()

    def _diagnose(self, said: str) -> ServerError | None:
        if "is still in use" in said or 'lock file "postmaster.pid"' in said:
            # The workers of a killed server end a moment after it.
            return StartAgainError(
                f"Processes of an earlier PostgreSQL still use {self.data_dir}.",
                f"End them (`ps -ef | grep {self.data_dir}` names them) with `kill -INT`, and start again.",
            )
        return super()._diagnose(said)

    async def _make_data(self, binary: Binary) -> None:
        # Made beside its place and moved there when complete: half a data directory is never taken for a whole one.
        new = self.home / "data.new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        password = self.home / "password.new"
        password.touch(mode=0o600)
        password.write_text(secrets.token_urlsafe(24), encoding="ascii")
        give_to(self._run_as, new)
        locale = ("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        argv = (
            str(binary.path.with_name("initdb")),
            *("-D", str(new), "-U", USER, f"--pwfile={password}", "--auth=scram-sha-256", "--encoding=UTF8"),
            *(locale if binary.version >= _HAS_BUILTIN_LOCALE else locale[:1]),
            *(() if self._durable else ("--no-sync",)),
        )
        child = Child(replace(self._spec(argv), name="initdb", data_dir=new, stops=_STOPS_OF_INITDB))
        try:
            child.start()
            await until(lambda: not child.running, INITDB_TIMEOUT_S)
        finally:
            await child.stop()
        if child.exit_status != 0:
            raise self._diagnose(child.said()) or child.not_started("could not make the data directory")
        password.replace(new / PASSWORD_FILE)
        new.replace(self.data_dir)
