"""How does an embedded Valkey (or Redis) run so that no acknowledged grab is lost?

Every write is on disk before its answer (`appendfsync always`), nothing is ever evicted, and there are no snapshots beside the log.
"""

import asyncio
import secrets
import signal
import time
from enum import StrEnum
from pathlib import Path
from typing import Final

import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, ConnectionError as NoConnection, RedisError, TimeoutError as TooSlow

from grab_service.servers import ports
from grab_service.servers.binaries import Binary, dotted, find_valkey
from grab_service.servers.child import POLL_S, Child, ChildSpec, need_space
from grab_service.servers.errors import BrokenLogError, DiskFullError, PortTakenError, ServerError

log = structlog.get_logger(__name__)

READY_TIMEOUT_S: Final = 120.0
"""Loading a large log takes its time; a server that fails ends long before."""

PORT_TRIES_MAX: Final = 5
_PROBE_TIMEOUT_S: Final = 2.0
_STOPS: Final = ((signal.SIGTERM, 20.0), (signal.SIGKILL, 10.0))
_TCP_BACKLOG: Final = 4096
_CLIENTS_MAX: Final = 4096


class AppendFsync(StrEnum):
    """When what is written to the log reaches the disk."""

    ALWAYS = "always"
    EVERYSEC = "everysec"
    NO = "no"


class ValkeyServer:
    """One Valkey with its data in `home`; it keeps port, password and data over any number of stops, kills and starts.

    Args:
        home: its own directory; made if it is not there.
        port: where to listen on the loopback interface; a free one, the same next time, if None.
        appendfsync: anything but ALWAYS may lose acknowledged grabs when the machine fails.
        free_bytes_min: refuse to start with less free disk.
    """

    def __init__(
        self,
        home: Path,
        *,
        port: int | None = None,
        appendfsync: AppendFsync = AppendFsync.ALWAYS,
        free_bytes_min: int = 0,
    ) -> None:
        self.home = home.absolute()
        self.data_dir = self.home / "data"
        self._port = port
        self._port_is_fixed = port is not None
        self._appendfsync = appendfsync
        self._free_bytes_min = free_bytes_min
        self._password = ""
        self._child: Child | None = None

    @property
    def port(self) -> int:
        assert self._port is not None, "Valkey was never started"
        return self._port

    @property
    def url(self) -> str:
        return f"redis://:{self._password}@{ports.LOOPBACK}:{self.port}/0"

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.running

    @property
    def pid(self) -> int:
        assert self._child is not None, "Valkey was never started"
        return self._child.pid

    @property
    def log_path(self) -> Path:
        return self.home / "valkey.log"

    async def start(self) -> None:
        """Start it and return when it answers.

        Raises:
            ServerError: it cannot start; the error says why and how to mend it.
        """
        assert not self.running, "Valkey runs already"
        binary = await asyncio.to_thread(find_valkey)
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        child = self._child = Child(self._spec(binary))
        await child.settle_previous()
        need_space(self.data_dir, self._free_bytes_min)
        self._password = _remembered_password(self.home / "password")
        began = time.monotonic()
        await self._start_on_a_port(binary, child)
        (self.home / "port").write_text(f"{self.port}\n", encoding="ascii")
        log.info(
            "valkey_ready",
            port=self.port,
            version=f"{binary.kind} {dotted(binary.version)}",
            appendfsync=self._appendfsync.value,
            after_ms=round((time.monotonic() - began) * 1000),
        )

    async def stop(self) -> None:
        """Let it finish writing and end. Does nothing if it does not run."""
        if self._child is not None:
            await self._child.stop()

    async def kill(self) -> None:
        """kill -9: what a crash of the process does. `start` brings it back with the same port and data."""
        if self._child is not None:
            await self._child.kill()

    def send(self, sign: signal.Signals) -> None:
        """Send the process a signal, such as SIGSTOP."""
        if self._child is not None:
            self._child.send(sign)

    async def _start_on_a_port(self, binary: Binary, child: Child) -> None:
        for tries_left in reversed(range(PORT_TRIES_MAX)):
            if not self._port_is_fixed:
                self._port = ports.remembered_or_free(self.home / "port")
            port = self.port
            if not ports.is_free(port):
                raise ports.port_taken("Valkey", port)
            self._write_config(port)
            child.start()
            try:
                await self._ready(binary, child, port)
            except PortTakenError:
                # Somebody was faster between the look and the start.
                if self._port_is_fixed or not tries_left:
                    raise
            except BaseException:
                await child.kill()
                raise
            else:
                self._port_is_fixed = True
                return

    async def _ready(self, binary: Binary, child: Child, port: int) -> None:
        probe = Redis(
            host=ports.LOOPBACK,
            port=port,
            password=self._password,
            socket_timeout=_PROBE_TIMEOUT_S,
            socket_connect_timeout=_PROBE_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )
        deadline = time.monotonic() + READY_TIMEOUT_S
        try:
            while time.monotonic() < deadline:
                if not child.running:
                    raise self._why_not(binary, child, port)
                try:
                    await probe.ping()
                    if (await probe.info("server"))["process_id"] == child.pid:
                        return
                except (NoConnection, TooSlow, AuthenticationError):
                    pass  # not listening yet, loading its log, or a stranger: then ours ends in a moment
                except RedisError as problem:
                    raise child.not_started(f"answers PING with {problem!r}") from problem
                await asyncio.sleep(POLL_S)
        finally:
            await probe.aclose()
        raise child.not_started(f"was not ready in {READY_TIMEOUT_S:.0f} s")

    def _why_not(self, binary: Binary, child: Child, port: int) -> ServerError:
        said = child.said()
        if "Address already in use" in said:
            return ports.port_taken("Valkey", port)
        if "No space left on device" in said:
            return DiskFullError(f"The disk of {self.data_dir} is full.", "Make room there and start again; nothing is lost.")
        if "Bad file format" in said or "Unexpected end of file" in said:
            return self._broken_log(binary)
        return child.not_started("ended while starting")

    def _broken_log(self, binary: Binary) -> BrokenLogError:
        # The program is also the tool that mends the log, if it is called by that name.
        tool = self.home / f"{binary.kind}-check-aof"
        tool.unlink(missing_ok=True)
        tool.symlink_to(binary.path)
        log_dir = self.data_dir / "appendonlydir"
        return BrokenLogError(
            f"The log of Valkey in {log_dir} is damaged before its end (a torn end alone it mends itself).",
            f"Keep a copy (`cp -a {log_dir} {log_dir}.kept`), cut it at the damage (`{tool} --fix {log_dir}/appendonly.aof.manifest`), "
            f"start again and let `grab audit` compare it with PostgreSQL, which keeps what was drained. {self.log_path} has the details.",
        )

    def _write_config(self, port: int) -> None:
        settings = {
            "bind": ports.LOOPBACK,
            "port": port,
            "requirepass": self._password,
            "tcp-backlog": _TCP_BACKLOG,
            "maxclients": _CLIENTS_MAX,
            "dir": _quoted(str(self.data_dir)),
            "appendonly": "yes",
            "appendfsync": self._appendfsync.value,
            "no-appendfsync-on-rewrite": "no",
            # With `always`, what is torn off the end was never acknowledged.
            "aof-load-truncated": "yes",
            "save": '""',
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
            "set-proc-title": "no",
        }
        path = self.home / "valkey.conf"
        path.touch(mode=0o600)
        path.write_text("".join(f"{name} {value}\n" for name, value in settings.items()), encoding="utf-8")

    def _spec(self, binary: Binary) -> ChildSpec:
        return ChildSpec(
            name="Valkey",
            argv=(str(binary.path), str(self.home / "valkey.conf")),
            data_dir=self.data_dir,
            log_path=self.log_path,
            pid_path=self.home / "server.pid",
            stops=_STOPS,
            death_signal=signal.SIGTERM,
        )


def _remembered_password(path: Path) -> str:
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(24), encoding="ascii")
    return path.read_text(encoding="ascii")


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
