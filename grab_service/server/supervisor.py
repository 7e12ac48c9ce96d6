"""The supervisor keeps the workers running, and replaces them one by one so that no client notices.

One process binds the listening socket and keeps it; its workers share it. So a client that connects while a worker is
replaced waits in the one queue of that socket, and the next worker that accepts answers. That holds for a single worker, too.

SIGTERM and SIGINT end the service: no new connections, every request under way is answered. SIGHUP replaces the workers, one
after another: the new one accepts before the old one is asked to end, and it accepts only when it can do what the old one does
(see `opening`). They are fresh processes, so a new release on the disk is what they run. A new worker that does not come up, or
cannot do its work, leaves the old ones as they are.
"""

import contextlib
import os
import signal
import socket
import time
from collections import deque
from collections.abc import Sequence
from multiprocessing import connection
from typing import Final

import structlog
import uvicorn
from prometheus_client.multiprocess import mark_process_dead

from grab_service.server.worker_process import WorkerProcess

START_TIMEOUT_S: Final = 60.0
KEPT_MAX_S: Final = 2.0
"""A successor that something keeps from opening for so long is given up; the guard arms a cell anew in less."""

SILENT_MAX_S: Final = 30.0
"""A worker whose loop has not turned for so long is hung."""

LEAVE_MARGIN_S: Final = 5.0
RESPAWN_PAUSE_S: Final = 0.5
LOOK_INTERVAL_S: Final = 0.2
FAILED: Final = 3

log = structlog.get_logger()


class Supervisor:
    """The workers of one `grab serve`."""

    def __init__(self, config: uvicorn.Config, listeners: Sequence[socket.socket], *, leave_s: float) -> None:
        """`leave_s`: how long a worker that was told to end may take; it is killed a moment later."""
        self._config = config
        self._listeners = listeners
        self._leave_s = leave_s
        self._signals: deque[int] = deque()
        # Under `nohup` the end of the terminal sends no SIGHUP: one that comes is a request for new workers.
        self._had_terminal = _has_terminal() and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
        self._serving: list[WorkerProcess] = []
        self._to_replace: deque[int] = deque()
        self._successor: tuple[int, WorkerProcess] | None = None
        self._leaving: list[tuple[WorkerProcess, float]] = []
        self._respawned_at_s = 0.0
        self._any_started = False

    def run(self) -> int:
        """Serve until told to end; the exit status, which is not 0 if no worker ever came up."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda number, _frame: self._signals.append(number))
        self._serving = [self._started(must_be_ready=False) for _ in range(self._config.workers)]
        while not self._told_to_end():
            if not self._look_after_workers():
                self._end()
                return FAILED
            self._go_on_replacing()
            self._bury()
            connection.wait([worker.beats for worker in self._all()], LOOK_INTERVAL_S)
        self._end()
        return 0

    def _all(self) -> list[WorkerProcess]:
        coming = [self._successor[1]] if self._successor else []
        return [*self._serving, *coming, *(worker for worker, _ in self._leaving)]

    def _started(self, *, must_be_ready: bool) -> WorkerProcess:
        # A hang-up of the terminal goes to all processes: its meaning is decided here, so the workers inherit it blocked.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        try:
            return WorkerProcess(self._config, self._listeners, must_be_ready=must_be_ready)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})

    def _told_to_end(self) -> bool:
        while self._signals:
            if self._signals.popleft() != signal.SIGHUP:
                return True
            if self._had_terminal and not _has_terminal():
                return True  # the terminal was closed; nobody asked for new workers
            log.info("workers_restarting", workers=len(self._serving))
            self._to_replace = deque(range(len(self._serving)))
        return False

    def _look_after_workers(self) -> bool:
        """Replace who died, hangs, or was told to end by somebody else; False if none ever came up."""
        now_s = time.monotonic()
        for place, worker in enumerate(self._serving):
            waited_for = worker.waits_for
            worker.listen(now_s)
            self._any_started |= worker.started
            if worker.waits_for not in {"", waited_for}:
                log.warning("worker_waits", pid=worker.pid, why=worker.waits_for)
            if worker.alive and not worker.leaving:
                if now_s - worker.heard_at_s <= (SILENT_MAX_S if worker.started else START_TIMEOUT_S):
                    continue
                log.error("worker_hung", pid=worker.pid)
                worker.kill()
            if not self._any_started and not worker.alive:
                log.error("worker_failed_to_start", pid=worker.pid, status=worker.exit_status)
                return False
            if now_s - self._respawned_at_s < RESPAWN_PAUSE_S:
                continue
            self._respawned_at_s = now_s
            if not worker.leaving:
                log.error("worker_died", pid=worker.pid, status=worker.exit_status)
            self._leaving.append((worker, now_s + self._leave_s + LEAVE_MARGIN_S))
            # It may wait for its door to open as long as somebody else's is open.
            others_serve = any(other.started and other.alive and not other.leaving for other in self._serving)
            self._serving[place] = self._started(must_be_ready=others_serve)
        return True

    def _go_on_replacing(self) -> None:
        now_s = time.monotonic()
        if self._successor is None:
            if self._to_replace:
                self._successor = self._to_replace.popleft(), self._started(must_be_ready=True)
            return
        place, new = self._successor
        new.listen(now_s)
        if new.started:
            old, self._serving[place], self._successor = self._serving[place], new, None
            old.terminate()
            self._leaving.append((old, now_s + self._leave_s + LEAVE_MARGIN_S))
            log.info("worker_replaced", pid=new.pid, old_pid=old.pid)
        elif (why := _does_not_come_up(new, now_s)) is not None:
            log.error("restart_abandoned", pid=new.pid, status=new.exit_status, why=why, workers="the old ones stay")
            new.kill()
            self._leaving.append((new, now_s))
            self._successor = None
            self._to_replace.clear()

    def _bury(self) -> None:
        """See to it that workers that have to leave leave, and forget those that have."""
        staying = []
        for worker, until_s in self._leaving:
            worker.listen(time.monotonic())
            if worker.alive:
                if time.monotonic() > until_s:
                    worker.kill()
                staying.append((worker, until_s))
                continue
            worker.close()
            if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
                mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]  # has no types
        self._leaving = staying

    def _end(self) -> None:
        for listener in self._listeners:
            listener.close()
        until_s = time.monotonic() + self._leave_s + LEAVE_MARGIN_S
        for worker in self._all():
            worker.terminate()
        self._leaving = [(worker, until_s) for worker in self._all()]
        self._serving, self._successor = [], None
        while self._leaving:
            if signal.SIGINT in self._signals:  # a second Ctrl-C: now
                self._leaving = [(worker, 0.0) for worker, _ in self._leaving]
            self._bury()
            connection.wait([worker.sentinel for worker, _ in self._leaving], LOOK_INTERVAL_S)


def _does_not_come_up(new: WorkerProcess, now_s: float) -> str | None:
    """The reason to give a successor up, or None: it may still come up."""
    if not new.alive:
        return new.waits_for or "the new worker has ended; its own lines stand above"
    if new.waits_for and now_s - new.waits_since_s > KEPT_MAX_S:
        return new.waits_for
    return f"the new worker was not ready in {START_TIMEOUT_S:.0f} s" if now_s - new.began_at_s > START_TIMEOUT_S else None


def _has_terminal() -> bool:
    with contextlib.suppress(OSError):
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
        return True
    return False
