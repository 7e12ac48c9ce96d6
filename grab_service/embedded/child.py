"""A server as a child process, from start to end.

A child dies with its parent, however the parent dies (Linux), and leaves a pid file by which the next run finds it where
the system cannot promise that. Nothing here is bound to an event loop, so that a server may outlive the loop that started it.

On Linux the parent is the thread that forked: start children from a thread that lives as long as they shall.
"""

import asyncio
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from grab_service import launch
from grab_service.embedded.errors import DiskFullError, ServerDidNotStartError, ServerStillAliveError
from grab_service.launch import RunAs, started_at

log = structlog.get_logger(__name__)

POLL_S = 0.02
LOG_TAIL_BYTES_MAX = 4_000
LOG_KEEP_BYTES_MAX = 8 * 1024 * 1024
KILL_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """What to start and how to end it.

    Attributes:
        name: what messages call it.
        argv: the program, by its full path, and its arguments.
        data_dir: its working directory, by which a later run knows it again.
        log_path: where its output goes.
        pid_path: where its process id is written.
        stops: signals that end it, kindest first, each with the seconds to wait for it.
        death_signal: what the kernel sends it when we die.
        run_as: as whom it runs.
        env: variables it gets besides those it inherits.
    """

    name: str
    argv: tuple[str, ...]
    data_dir: Path
    log_path: Path
    pid_path: Path
    stops: tuple[tuple[signal.Signals, float], ...]
    death_signal: signal.Signals
    run_as: RunAs = RunAs.SELF
    env: Mapping[str, str] = field(default_factory=dict)


class Child:
    """One run of one server."""

    def __init__(self, spec: ChildSpec) -> None:
        self.spec = spec
        self._process: subprocess.Popen[bytes] | None = None
        self._log_begins_at = 0

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.spec.name} was never started"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_status(self) -> int | None:
        """As the system reports it, negative for a signal; None while it runs."""
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        """Start it; return at once, before it is ready."""
        assert not self.running, f"{self.spec.name} runs already"
        order = launch.Order(
            argv=list(self.spec.argv),
            parent_pid=os.getpid(),
            death_signal=self.spec.death_signal,
            pid_path=str(self.spec.pid_path),
            run_as=self.spec.run_as,
        )
        try:
            self._log_begins_at = _trim_log(self.spec.log_path)
            with self.spec.log_path.open("ab") as output:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", launch.__file__, json.dumps(order)],
                    cwd=self.spec.data_dir,
                    env=environment(os.environ) | dict(self.spec.env),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    # Ctrl-C in the terminal is for us; we end the servers when those who use them have ended.
                    start_new_session=True,
                )
        except OSError as problem:
            raise ServerDidNotStartError(f"{self.spec.name} cannot be started: {problem}.", "Mend what it names.") from problem

    def send(self, sign: signal.Signals) -> None:
        """Send it a signal if it runs."""
        if self._process is not None:
            self._process.send_signal(sign)

    async def stop(self) -> None:
        """End it, kindly first.

        Raises:
            ServerStillAliveError: it outlived every signal it may be sent.
        """
        if self._process is not None:
            await _end(self.spec, self._process.pid, lambda: not self.running)
            self.spec.pid_path.unlink(missing_ok=True)

    async def kill(self) -> None:
        """End it as a crash would, and wait until it is gone."""
        self.send(signal.SIGKILL)
        if not await until(lambda: not self.running, KILL_TIMEOUT_S):
            raise ServerStillAliveError(
                f"{self.spec.name} (process {self.pid}) survived SIGKILL for {KILL_TIMEOUT_S:.0f} s.",
                "Its disk or its kernel hangs: look at `dmesg`.",
            )

    def said(self) -> str:
        """The end of what it wrote to its log in this run."""
        try:
            with self.spec.log_path.open("rb") as output:
                end = output.seek(0, os.SEEK_END)
                output.seek(max(self._log_begins_at, end - LOG_TAIL_BYTES_MAX))
                return output.read(LOG_TAIL_BYTES_MAX).decode(errors="replace").strip()
        except OSError:
            return ""

    def not_started(self, why: str) -> ServerDidNotStartError:
        """The error for a start that failed for a reason we have no better words for."""
        end = "\n".join(self.said().splitlines()[-8:]) or "(nothing)"
        return ServerDidNotStartError(
            f"{self.spec.name} {why}. Its last words were:\n{end}", f"All of them are in {self.spec.log_path}."
        )

    async def settle_previous(self) -> None:
        """End a server of an earlier run that is still alive on the same data.

        Raises:
            ServerStillAliveError: it does not end.
        """
        pid = previous_pid(self.spec)
        if pid is not None:
            log.warning("earlier_server_still_alive", server=self.spec.name, pid=pid)
            await _end(self.spec, pid, lambda: previous_pid(self.spec) is None)
        self.spec.pid_path.unlink(missing_ok=True)


async def until(holds: Callable[[], bool], timeout_s: float) -> bool:
    """Wait until a condition holds; False if it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() >= deadline:
            return False
        await asyncio.sleep(POLL_S)
    return True


def previous_pid(spec: ChildSpec) -> int | None:
    """The process of an earlier run, if it lives and is really that one and not a stranger with its number."""
    try:
        pid, _, began = spec.pid_path.read_text(encoding="ascii").strip().partition(" ")
        found = int(pid)
    except (OSError, ValueError):
        return None
    if started_at(found) != began:
        return None
    if platform.system() == "Linux":
        try:
            if not Path(f"/proc/{found}/cwd").samefile(spec.data_dir):
                return None
        except OSError:
            return None  # it ended this instant, or belongs to somebody else
    return found


def environment(ours: Mapping[str, str]) -> dict[str, str]:
    """What a server sees of our environment: nothing that would configure it, and messages in the language we read."""
    return {name: value for name, value in ours.items() if not name.startswith(("PG", "LC_", "LANG"))} | {
        "LC_ALL": "C",
        "TZ": "UTC",
    }


def need_space(directory: Path, free_bytes_min: int) -> None:
    """Refuse to start a server that would soon run out of disk.

    Raises:
        DiskFullError: less is free than asked for.
    """
    place = os.statvfs(directory)
    free_bytes = place.f_bavail * place.f_frsize
    if free_bytes < free_bytes_min:
        raise DiskFullError(
            f"{directory} has {free_bytes // 1024**2} MiB free, "
            f"and the servers want {free_bytes_min // 1024**2} MiB to start with.",
            "Make room there, or choose another directory for the data.",
        )


async def _end(spec: ChildSpec, pid: int, gone: Callable[[], bool]) -> None:
    for sign, timeout_s in spec.stops:
        for each in (sign, signal.SIGCONT):  # who is stopped hears nothing
            if not gone():
                try:
                    os.kill(pid, each)
                except ProcessLookupError:
                    break
        if await until(gone, timeout_s):
            return
        log.warning("server_does_not_end", server=spec.name, pid=pid, signal=sign.name, waited_s=timeout_s)
    raise ServerStillAliveError(
        f"{spec.name} (process {pid}) on {spec.data_dir} does not end.",
        f"Look at {spec.log_path}, end it with `kill -{spec.stops[0][0].name.removeprefix('SIG')} {pid}`, and start again.",
    )


def _trim_log(path: Path) -> int:
    """Put a log that grew large aside; return where the next run's words will begin."""
    try:
        size_bytes = path.stat().st_size
    except FileNotFoundError:
        return 0
    if size_bytes <= LOG_KEEP_BYTES_MAX:
        return size_bytes
    path.replace(path.with_name(path.name + ".old"))
    return 0
