"""The common part of embedded servers: home, port, start, stop and restart."""

import asyncio
import shutil
import signal
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Final

import structlog

from grab_service.embedded import ports
from grab_service.embedded.child import POLL_S, Child, ChildSpec, need_space
from grab_service.embedded.errors import DiskFullError, PortTakenError, ServerDidNotStartError, ServerError
from grab_service.launch import RunAs

log = structlog.get_logger(__name__)

READY_TIMEOUT_S: Final = 120.0
"""After a crash a server reads its log first, which takes its time; one that fails ends long before."""

START_TRIES_MAX: Final = 10
_TRY_AGAIN_S: Final = 0.5
_FULL_BYTES: Final = 64 * 1024
_ASK_AGAIN_MAX_S: Final = 0.2


class StartAgainError(ServerDidNotStartError):
    """It could not start now, and will in a moment."""


class EmbeddedServer(ABC):
    """A server with its data in `home`; it keeps port, password and data over any number of stops, kills and starts.

    Args:
        home: its own directory; made if it is not there.
        port: where to listen on the loopback interface; a free one, the same next time, if None.
        free_bytes_min: refuse to start with less free disk.
    """

    name: str
    stops: tuple[tuple[signal.Signals, float], ...]

    def __init__(self, home: Path, port: int | None, free_bytes_min: int) -> None:
        self.home = home.absolute()
        self.data_dir = self.home / "data"
        self.log_path = self.home / "server.log"
        self._port = port
        self._port_is_fixed = port is not None
        self._free_bytes_min = free_bytes_min
        self._run_as = RunAs.SELF
        self._child: Child | None = None

    @property
    def port(self) -> int:
        """Its port; known once it was started."""
        assert self._port is not None, f"{self.name} was never started"
        return self._port

    @property
    def pid(self) -> int:
        """Its main process; known once it was started."""
        assert self._child is not None, f"{self.name} was never started"
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether its main process lives."""
        return self._child is not None and self._child.running

    @property
    def exit_status(self) -> int | None:
        """As the system reports it, negative for a signal; None while it runs."""
        return None if self._child is None else self._child.exit_status

    async def start(self) -> None:
        """Start it and return when it answers.

        Raises:
            ServerError: it cannot start; the error says why and how to mend it.
        """
        assert not self.running, f"{self.name} runs already"
        began = time.monotonic()
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        await Child(self._spec(())).settle_previous()
        need_space(self.home, self._free_bytes_min)
        await self._prepare()
        for tries_left in reversed(range(START_TRIES_MAX)):
            if not self._port_is_fixed:
                self._port = ports.remembered_or_free(self.home / "port")
            child = self._child = Child(self._spec(self._argv()))
            if not ports.is_free(self.port):
                raise ports.port_taken(self.name, self.port)
            child.start()
            try:
                await self._until_ready(child)
                break
            except PortTakenError:
                # Somebody was faster between the look and the start.
                if self._port_is_fixed or not tries_left:
                    raise
            except StartAgainError:
                if not tries_left:
                    raise
                await asyncio.sleep(_TRY_AGAIN_S)
            except BaseException:
                await child.stop()
                raise
        self._port_is_fixed = True
        (self.home / "port").write_text(f"{self.port}\n", encoding="ascii")
        log.info("server_ready", server=self.name, port=self.port, after_ms=round((time.monotonic() - began) * 1000))

    async def stop(self) -> None:
        """Let it write everything down and end. Does nothing if it does not run."""
        if self._child is not None:
            await self._child.stop()

    async def kill(self) -> None:
        """End it by SIGKILL: what a crash of the process does. `start` brings it back with the same port and data."""
        if self._child is not None:
            await self._child.kill()

    def send(self, sign: signal.Signals) -> None:
        """Send its main process a signal, such as SIGSTOP."""
        if self._child is not None:
            self._child.send(sign)

    def _spec(self, argv: tuple[str, ...]) -> ChildSpec:
        return ChildSpec(
            name=self.name,
            argv=argv,
            data_dir=self.data_dir,
            log_path=self.log_path,
            pid_path=self.home / "server.pid",
            stops=self.stops,
            death_signal=self.stops[0][0],
            run_as=self._run_as,
        )

    @abstractmethod
    async def _prepare(self) -> None:
        """Find the program and make the data directory."""

    @abstractmethod
    def _argv(self) -> tuple[str, ...]:
        """The command that starts it, to listen on the port that is chosen now."""

    @abstractmethod
    async def _answers(self, child: Child) -> bool:
        """Whether the server, and no other on its port, answers; errors of one that never will are raised."""

    def _diagnose(self, said: str) -> ServerError | None:
        """Better words for what it said before it ended, if there are any."""
        if "Address already in use" in said:
            return ports.port_taken(self.name, self.port)
        # On a full disk the log may be too short to say so.
        if "No space left on device" in said or shutil.disk_usage(self.home).free < _FULL_BYTES:
            return DiskFullError(f"The disk of {self.data_dir} is full.", "Make room there and start again; nothing is lost.")
        return None

    async def _until_ready(self, child: Child) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        pause_s = POLL_S
        while time.monotonic() < deadline:
            if not child.running:
                raise self._diagnose(child.said()) or child.not_started("ended while starting")
            if await self._answers(child):
                return
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.2, _ASK_AGAIN_MAX_S)
        raise child.not_started(f"was not ready in {READY_TIMEOUT_S:.0f} s")
