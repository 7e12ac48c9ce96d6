"""The Redis and the PostgreSQL of a run: embedded, or given by their addresses.

An embedded server keeps its data under one directory, which one run at a time may use, and ends with the run.
"""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from grab_service.cell.rights import Login
from grab_service.embedded.errors import NotEmbeddedError, VarDirInUseError
from grab_service.embedded.external import check_postgres, check_redis
from grab_service.embedded.postgres import PostgresServer
from grab_service.embedded.server import EmbeddedServer
from grab_service.embedded.valkey import AppendFsync, ValkeyServer
from grab_service.sql.grants import OWNER
from grab_service.vocabulary.keys import DEFAULT_CELL

FREE_BYTES_MIN: Final = 512 * 1024**2


@dataclass(frozen=True, slots=True)
class Addresses:
    """Addresses of one program's servers, with its logins; the guard's is empty where it has none of its own."""

    redis_url: str
    database_url: str
    guard_redis_url: str = ""


class Stack:
    """A Redis and a PostgreSQL to work with: `async with Stack(Path("var")) as stack: ... stack.redis_url ...`.

    Start it from a thread that lives as long as the servers shall: on Linux they die with the thread that started them. It is
    not bound to an event loop; `start` and `stop` may run in different ones.

    Args:
        var_dir: where the data of embedded servers go; made if it is not there.
        redis_url: a running Redis >= 7.0 or Valkey >= 8 to use; one is started if None.
        database_url: a running PostgreSQL >= 14 to use; one is started if None.
        redis_port: where the embedded one listens; a free port, the same next time, if None.
        postgres_port: likewise.
        appendfsync: of the embedded Valkey.
        durable: False gives up the embedded PostgreSQL's data in a crash of the machine, for tests.
        database: the embedded PostgreSQL's database.
        free_bytes_min: refuse to start embedded servers with less free disk.
        cell: whose users the embedded servers know.
    """

    def __init__(
        self,
        var_dir: Path,
        *,
        redis_url: str | None = None,
        database_url: str | None = None,
        redis_port: int | None = None,
        postgres_port: int | None = None,
        appendfsync: AppendFsync = AppendFsync.ALWAYS,
        durable: bool = True,
        database: str = "grab",
        free_bytes_min: int = FREE_BYTES_MIN,
        cell: str = DEFAULT_CELL,
    ) -> None:
        self.var_dir = var_dir.absolute()
        self._redis_url = redis_url
        self._cell = cell
        self._database_url = database_url
        self._redis = (
            None
            if redis_url
            else ValkeyServer(
                self.var_dir / "valkey",
                port=redis_port,
                appendfsync=appendfsync,
                free_bytes_min=free_bytes_min,
                cell=cell,
            )
        )
        self._postgres = (
            None
            if database_url
            else PostgresServer(
                self.var_dir / "postgres",
                port=postgres_port,
                database=database,
                durable=durable,
                free_bytes_min=free_bytes_min,
                cell=cell,
            )
        )
        self._lock: IO[str] | None = None

    @property
    def redis_url(self) -> str:
        """The address of Redis for its admin, with the password; as it was given if it was."""
        return self._redis_url or self.redis.url

    @property
    def database_url(self) -> str:
        """The address of the database for its superuser, with the password, as `postgresql://`; as it was given if it was."""
        return self._database_url or self.postgres.url

    def addresses_of(self, program: Login) -> Addresses:
        """Addresses of the servers for the service or the ledger, with a user of its own on embedded ones."""
        return Addresses(
            self._redis_url or self.redis.url_of(program),
            self._database_url or self.postgres.url_as(program.value),
            self.redis.url_of(Login.GUARD) if program is Login.LEDGER and not self._redis_url else "",
        )

    @property
    def migration_url(self) -> str:
        """The address of the database for whom the tables belong to."""
        return self._database_url or self.postgres.url_as(OWNER)

    @property
    def redis(self) -> ValkeyServer:
        """The embedded Valkey, to stop, kill and start.

        Raises:
            NotEmbeddedError: it was given by its address.
        """
        if self._redis is None:
            raise NotEmbeddedError("Redis was given by REDIS_URL.", "Unset REDIS_URL to use an embedded one.")
        return self._redis

    @property
    def postgres(self) -> PostgresServer:
        """The embedded PostgreSQL, to stop, kill and start.

        Raises:
            NotEmbeddedError: it was given by its address.
        """
        if self._postgres is None:
            raise NotEmbeddedError("PostgreSQL was given by DATABASE_URL.", "Unset DATABASE_URL to use an embedded one.")
        return self._postgres

    @property
    def embedded(self) -> tuple[EmbeddedServer, ...]:
        """The servers that are ours."""
        return tuple(server for server in (self._postgres, self._redis) if server is not None)

    async def start(self) -> None:
        """Check the servers that were given and start the others.

        Raises:
            ServerError: one of them cannot be used; the started ones are stopped again.
        """
        try:
            if self._redis_url:
                await check_redis(self._redis_url, self._cell)
            if self._database_url:
                await check_postgres(self._database_url)
            if self._redis or self._postgres:
                self._take_var_dir()
            if self._postgres:
                await self._postgres.start()
            if self._redis:
                await self._redis.start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End what was started, last first. Call it when those who use the servers have ended."""
        try:
            if self._redis:
                await self._redis.stop()
        finally:
            try:
                if self._postgres:
                    await self._postgres.stop()
            finally:
                if self._lock is not None:
                    self._lock.close()
                    self._lock = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def _take_var_dir(self) -> None:
        self.var_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.var_dir / "lock"
        lock = path.open("a+", encoding="ascii")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as problem:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            lock.close()
            raise VarDirInUseError(
                f"{self.var_dir} is in use by another run (process {holder}).",
                "Wait for it or end it (Ctrl-C in its terminal), or choose another directory.",
            ) from problem
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        self._lock = lock
