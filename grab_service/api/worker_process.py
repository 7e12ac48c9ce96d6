"""What is a worker to its supervisor? A process that says when it serves, that its loop turns, and that it is about to end."""

import contextlib
import multiprocessing
import os
import signal
import socket
import time
from multiprocessing.connection import Connection
from typing import Any, Final

import uvicorn

from grab_service.api.listener import handles
from grab_service.grabpath.lane import GrabLane
from grab_service.servers.launch import die_with

SPAWN: Final = multiprocessing.get_context("spawn")
multiprocessing.allow_connection_pickling()  # the listening socket travels the same way

TICKS_A_BEAT: Final = 10
STARTED, BEAT, LEAVING = b"s", b"b", b"l"
SAID_MAX: Final = 4096


class WorkerServer(uvicorn.Server):
    """uvicorn's server, which tells the supervisor how it is, and drains before it ends."""

    def __init__(self, config: uvicorn.Config, beats: Connection) -> None:
        super().__init__(config)
        self._beats = beats
        os.set_blocking(beats.fileno(), False)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._say(STARTED)

    async def on_tick(self, counter: int) -> bool:
        if counter % TICKS_A_BEAT == 0:
            self._say(BEAT)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._say(LEAVING)
        if isinstance(self.config.loaded_app, GrabLane):
            # Before the connections are told one by one, for those that were accepted this moment are not among them.
            self.config.loaded_app.connections.drain()
        await super().shutdown(sockets)

    def _say(self, what: bytes) -> None:
        with contextlib.suppress(OSError):  # a supervisor that does not read, or is gone, is no reason to wait
            os.write(self._beats.fileno(), what)


def _run(config: uvicorn.Config, listener: socket.socket, beats: Connection, parent_pid: int) -> None:
    # The supervisor ends its workers when it is asked to; if it is killed, the kernel does.
    die_with(parent_pid, signal.SIGTERM)
    config.configure_logging()
    with contextlib.suppress(KeyboardInterrupt):
        WorkerServer(config, beats).run(handles(listener))


class WorkerProcess:
    """One worker; it runs when this exists.

    Attributes:
        beats: readable when the worker has said something.
        heard_at_s: when it said something last, or began; monotonic.
        started: whether it accepts connections.
        leaving: whether it has said that it is about to end.
    """

    def __init__(self, config: uvicorn.Config, listener: socket.socket) -> None:
        self.beats, theirs = SPAWN.Pipe(duplex=False)
        self.heard_at_s = time.monotonic()
        self.started = self.leaving = False
        self._process = SPAWN.Process(target=_run, args=(config, listener, theirs, os.getpid()))
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
                self.started |= STARTED in said
                self.leaving |= LEAVING in said

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
