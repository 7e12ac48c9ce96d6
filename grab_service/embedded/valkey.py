"""An embedded Valkey (or Redis), configured so that no acknowledged grab is lost.

Every write is on disk before its answer (`appendfsync always`), nothing is ever evicted, and there are no snapshots beside
the log. Its users stand in an ACL file, which is written anew at every start: those of a cell, and the admin.
"""

import asyncio
import re
import secrets
import signal
from enum import StrEnum
from pathlib import Path
from typing import Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError
from redis.exceptions import ConnectionError as NoConnectionError
from redis.exceptions import TimeoutError as TooSlowError

from grab_service.cell.rights import Login, user_of
from grab_service.embedded import ports
from grab_service.embedded.binaries import Binary, find_valkey
from grab_service.embedded.child import Child
from grab_service.embedded.errors import BrokenLogError, ServerError
from grab_service.embedded.passwords import as_user
from grab_service.embedded.redis_users import admin, derived_passwords, users_of, write_acl_file
from grab_service.embedded.server import EmbeddedServer
from grab_service.vocabulary.keys import DEFAULT_CELL

_PROBE_TIMEOUT_S: Final = 2.0
_TCP_BACKLOG: Final = 4096
_CLIENTS_MAX: Final = 4096


class AppendFsync(StrEnum):
    """The time at which writes to the log reach the disk."""

    ALWAYS = "always"
    EVERYSEC = "everysec"
    NO = "no"


class ValkeyServer(EmbeddedServer):
    """One Valkey, or Redis where the system has no other.

    Args:
        home: its own directory; made if it is not there.
        port: where to listen on the loopback interface; a free one, the same next time, if None.
        appendfsync: anything but ALWAYS may lose acknowledged grabs when the machine fails.
        free_bytes_min: refuse to start with less free disk.
        cell: whose users it knows.
    """

    name = "Valkey"
    stops = ((signal.SIGTERM, 20.0), (signal.SIGKILL, 10.0))

    def __init__(
        self,
        home: Path,
        *,
        port: int | None = None,
        appendfsync: AppendFsync = AppendFsync.ALWAYS,
        free_bytes_min: int = 0,
        cell: str = DEFAULT_CELL,
    ) -> None:
        super().__init__(home, port, free_bytes_min)
        self._appendfsync = appendfsync
        self._cell = cell
        self._password = ""
        self._binary: Binary | None = None

    @property
    def url(self) -> str:
        """Its address for its admin, with the password."""
        return f"redis://:{self._password}@{ports.LOOPBACK}:{self.port}/0"

    def url_of(self, login: Login) -> str:
        """Its address for one of the cell's users, with the password."""
        return as_user(self.url, user_of(self._cell, login), derived_passwords(self._password, self._cell)[login])

    @property
    def _acl_file(self) -> Path:
        return self.home / "users.acl"

    async def _prepare(self) -> None:
        self._binary = await asyncio.to_thread(find_valkey)
        self.data_dir.mkdir(mode=0o700, exist_ok=True)
        self._password = _remembered_password(self.home / "password")

    def _argv(self) -> tuple[str, ...]:
        assert self._binary is not None
        users = users_of(self._cell, derived_passwords(self._password, self._cell))
        write_acl_file(self._acl_file, (admin(self._password), *users))
        config = self.home / "valkey.conf"
        config.touch(mode=0o600)
        config.write_text("".join(f"{name} {value}\n" for name, value in self._settings().items()), encoding="utf-8")
        return str(self._binary.path), str(config)

    def _settings(self) -> dict[str, object]:
        return {
            "bind": ports.LOOPBACK,
            "port": self.port,
            "aclfile": _quoted(str(self._acl_file)),
            "tcp-backlog": _TCP_BACKLOG,
            "maxclients": _CLIENTS_MAX,
            "dir": _quoted(str(self.data_dir)),
            "appendonly": "yes",
            "appendfsync": self._appendfsync.value,
            "no-appendfsync-on-rewrite": "no",
            # With `always`, a torn end of the log was never acknowledged.
            "aof-load-truncated": "yes",
            "save": '""',
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
            "set-proc-title": "no",
        }

    async def _answers(self, child: Child) -> bool:
        probe = Redis(
            host=ports.LOOPBACK,
            port=self.port,
            password=self._password,
            socket_timeout=_PROBE_TIMEOUT_S,
            socket_connect_timeout=_PROBE_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )
        async with probe:
            try:
                await probe.ping()
                info = await probe.info("server")
            except (NoConnectionError, TooSlowError, AuthenticationError):
                return False  # not listening yet, loading its log, or a stranger: then ours ends in a moment
            except RedisError as problem:
                raise child.not_started(f"answers PING with {problem!r}") from problem
            return bool(info["process_id"] == child.pid)

    def _diagnose(self, said: str) -> ServerError | None:
        damaged = re.search(r"Bad file format reading the append only file (\S+):", said)
        if damaged is None:
            return super()._diagnose(said)
        assert self._binary is not None
        # The program is also the tool that mends the log, if it is called by that name. It is given the one damaged file and
        # not the manifest: that of Valkey 9 takes its own base files for damaged (valkey-io/valkey#4739).
        tool = self.home / f"{self._binary.kind}-check-aof"
        tool.unlink(missing_ok=True)
        tool.symlink_to(self._binary.path)
        aof = self.data_dir / "appendonlydir"
        return BrokenLogError(
            f"The log of Valkey in {aof} is damaged before its end (a torn end alone it mends itself).",
            f"Keep a copy (`cp -a {aof} {aof}.kept`), cut it at the damage (`{tool} --fix {aof / damaged.group(1)}`), "
            "start again, and let `grab audit` compare it with PostgreSQL, which keeps what was drained. "
            f"{self.log_path} has the details.",
        )


def _remembered_password(path: Path) -> str:
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(24), encoding="ascii")
    return path.read_text(encoding="ascii")


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
