"""An open loop: requests come at their own pace, whatever the server does, and each latency is measured.

Every request has a moment at which it is meant to be sent. If all connections are busy it waits, and that waiting counts, as it
does for a member. One thread with plain sockets and one epoll, which sends what is due and reads what has come.
"""

import gc
import select
import socket
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from bench.closed_loop import RECEIVE_MAX_BYTES, close, connect, is_whole

PATIENCE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Flow:
    """Result of a run: answers by status, its duration, latencies from the intended moment, and the generator's own lag."""

    by_status: dict[int, int]
    seconds: float
    latencies_s: list[float] = field(repr=False)
    late_s: list[float] = field(repr=False)
    """Delay of a request behind its moment though a connection was free: the generator's own share."""


def open_loop(port: int, requests: Sequence[bytes], connections: int, per_second: float) -> Flow:
    """Send them evenly, so many a second, over so many connections.

    Raises:
        ConnectionError: the server closed a connection, or answered what is no answer.
        TimeoutError: it took too long.
    """
    sockets = connect(port, connections)
    gc.disable()  # a collection would be a stall of ours
    try:
        return _Run(sockets, requests, per_second).run()
    finally:
        gc.enable()
        close(sockets)


class _Run:
    def __init__(self, sockets: Sequence[socket.socket], requests: Sequence[bytes], per_second: float) -> None:
        self._requests = requests
        self._gap_s = 1 / per_second
        self._by_file = {one.fileno(): one for one in sockets}
        self._free = deque(self._by_file)
        self._meant_s: dict[int, float] = {}
        self._parts: dict[int, bytes] = {}
        self._statuses: Counter[bytes] = Counter()
        self._latencies_s: list[float] = []
        self._late_s: list[float] = []

    def run(self) -> Flow:
        clock = time.perf_counter
        epoll = select.epoll()
        for file in self._by_file:
            epoll.register(file, select.EPOLLIN)
        total, sent = len(self._requests), 0
        began_s = clock() + 0.05
        give_up_s = began_s + PATIENCE_S
        while len(self._latencies_s) < total:
            now_s = clock()
            due = min(total, int((now_s - began_s) / self._gap_s) + 1) if now_s >= began_s else 0
            sent = self._send(sent, due, began_s, now_s)
            for file, _ in epoll.poll(0.0005, 1024):
                self._hear(file)
            if clock() > give_up_s:
                raise TimeoutError(f"{total - len(self._latencies_s)} answers did not come")
        seconds = clock() - began_s
        epoll.close()
        by_status = {int(status): number for status, number in self._statuses.items()}
        return Flow(by_status, seconds, self._latencies_s, self._late_s)

    def _send(self, sent: int, due: int, began_s: float, now_s: float) -> int:
        free = self._free
        while sent < due and free:
            file = free.popleft()
            meant_s = began_s + sent * self._gap_s
            self._by_file[file].send(self._requests[sent])
            self._meant_s[file] = meant_s
            self._late_s.append(now_s - meant_s)
            sent += 1
        return sent

    def _hear(self, file: int) -> None:
        try:
            data = self._by_file[file].recv(RECEIVE_MAX_BYTES)
        except BlockingIOError:
            return
        if not data:
            raise ConnectionError("the server closed a connection")
        if file in self._parts:
            data = self._parts.pop(file) + data
        if not is_whole(data):
            self._parts[file] = data
            return
        self._statuses[data[9:12]] += 1
        self._latencies_s.append(time.perf_counter() - self._meant_s[file])
        self._free.append(file)
