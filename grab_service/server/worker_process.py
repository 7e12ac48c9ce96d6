"""The process of a worker, which reports to its supervisor what it waits for, when it serves, that its loop turns, its end."""

import contextlib
import functools
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from types import FrameType
from typing import Any, Final

import uvicorn
from uvicorn.importer import import_from_string

from grab_service.launch import die_with
from grab_service.server.lane import GrabLane
from grab_service.server.listener import handles
from grab_service.server.opening import Opening

SPAWN: Final = multiprocessing.get_context("spawn")
multiprocessing.allow_connection_pickling()  # the listening socket travels the same way

TICKS_A_BEAT: Final = 10
STARTED, BEAT, LEAVING, WAITING = b"s", b"b", b"l", b"w"
"""Beginnings of a worker's lines; behind `WAITING` stands the condition that it waits for."""

SAID_MAX: Final = 4096
WHY_MAX: Final = 300
"""Characters of it: a line goes into the pipe whole, or not at all."""


class WorkerServer(uvicorn.Server):
    """uvicorn's server, which tells the supervisor how it is, and drains before it ends."""

    def __init__(self, config: uvicorn.Config, beats: Connection) -> None:
        super().__init__(config)
        self._beats = beats
        os.set_blocking(beats.fileno(), False)

    def waits_for(self, why: str) -> None:
        """Say why its door is still closed."""
        self._send(WAITING + " ".join(why.split())[:WHY_MAX].encode())

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        if not self.started and hasattr(self, "lifespan"):
            self.lifespan.should_exit = True  # its door never opened, and need not open in order to be closed

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._send(STARTED)

    async def on_tick(self, counter: int) -> bool:
        if counter % TICKS_A_BEAT == 0:
            self._send(BEAT)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._send(LEAVING)
        if isinstance(self.config.loaded_app, GrabLane):
            # Before the connections are told one by one, for those that were accepted this moment are not among them.
            self.config.loaded_app.connections.drain()
        await super().shutdown(sockets)

    def _send(self, what: bytes) -> None:
        with contextlib.suppress(OSError):  # a supervisor that does not read, or is gone, is no reason to wait
            os.write(self._beats.fileno(), what + b"\n")


def _run(
    config: uvicorn.Config, listeners: Sequence[socket.socket], beats: Connection, parent_pid: int, *, must_be_ready: bool
) -> None:
    # The supervisor ends its workers when it is asked to; if it is killed, the kernel does.
    die_with(parent_pid, signal.SIGTERM)
    config.configure_logging()
    server = WorkerServer(config, beats)
    assert isinstance(config.app, str), "the application is named: this process builds its own"
    config.app = functools.partial(
        import_from_string(config.app), Opening(must_be_ready=must_be_ready, on_wait=server.waits_for)
    )
    with contextlib.suppress(KeyboardInterrupt):
        server.run(handles(listeners))


class WorkerProcess:
    """One worker; it runs when this exists.

    Attributes:
        beats: readable when the worker has said something.
        began_at_s: when it began; monotonic.
        heard_at_s: when it said something last, or began; monotonic.
        started: whether it accepts connections.
        leaving: whether it has said that it is about to end.
        waits_for: what keeps it from opening, in words; empty while it is only not done yet.
        waits_since_s: since when something has kept it; monotonic.
    """

    def __init__(self, config: uvicorn.Config, listeners: Sequence[socket.socket], *, must_be_ready: bool) -> None:
        """`must_be_ready`: it opens only when it can do the work of the others; else after a moment in any case."""
        self.beats, theirs = SPAWN.Pipe(duplex=False)
        self.began_at_s = self.heard_at_s = self.waits_since_s = time.monotonic()
        self.started = self.leaving = False
        self.waits_for = ""
        self._unheard = b""
        self._process = SPAWN.Process(
            target=_run, args=(config, listeners, theirs, os.getpid()), kwargs={"must_be_ready": must_be_ready}
        )
        self._process.start()
        theirs.close()
        os.set_blocking(self.beats.fileno(), False)

    @property
    def pid(self) -> int:
        assert self._process.pid is not None, "started when made"
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    @property
    def exit_status(self) -> int | None:
        return self._process.exitcode

    @property
    def sentinel(self) -> Any:
        """Ready when the process has ended."""
        return self._process.sentinel

    def listen(self, now_s: float) -> None:
        """Take in what the worker has said."""
        with contextlib.suppress(OSError):
            while said := os.read(self.beats.fileno(), SAID_MAX):
                self.heard_at_s = now_s
                *lines, self._unheard = (self._unheard + said).split(b"\n")
                for line in lines:
                    self._handle(line, now_s)

    def _handle(self, line: bytes, now_s: float) -> None:
        self.started |= line == STARTED
        self.leaving |= line == LEAVING
        if line.startswith(WAITING):
            why = line[len(WAITING) :].decode(errors="replace")
            if not self.waits_for:
                self.waits_since_s = now_s
            self.waits_for = why

    def terminate(self) -> None:
        """Tell it to end."""
        self._process.terminate()

    def kill(self) -> None:
        """End it now."""
        self._process.kill()
        self._process.join()

    def close(self) -> None:
        """Let go of what is left of it once it has ended."""
        self._process.join()
        self.beats.close()
