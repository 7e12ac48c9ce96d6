"""A closed loop: every connection has one request outstanding, and answers a second are counted.

A generator on one core must outrun the server: requests are built beforehand, answers are framed by their length and counted by
their status, nothing else. Plain sockets and one epoll are twice as fast as an event loop here. Each connection sends its next
request when the answer to the last one is whole.
"""

import errno
import select
import socket
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

RECEIVE_MAX_BYTES: Final = 64 * 1024
PATIENCE_S: Final = 120.0
CONNECT_TIMEOUT_S: Final = 30.0
_HEAD_END: Final = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class LoopResult:
    """Result of one run: answers by status, its duration, latencies in seconds."""

    answers: int
    seconds: float
    by_status: dict[int, int]
    latencies_s: list[float] = field(repr=False)
    won_latencies_s: list[float] = field(repr=False)
    last_win_s: float

    @property
    def per_second(self) -> float:
        """Answers a second."""
        return self.answers / self.seconds


def quantile(values: Sequence[float], share: float) -> float:
    """The value that such a share of all does not exceed."""
    return statistics.quantiles(values, n=1000, method="inclusive")[round(share * 1000) - 1]


def is_whole(data: bytes) -> bool:
    """Whether one HTTP answer with a `Content-Length` is all there.

    Raises:
        ConnectionError: it has no length, or more came than was asked for.
    """
    end = data.find(_HEAD_END)
    if end < 0:
        return False
    at = data.find(b"ontent-length: ", 0, end)
    if at < 0:
        at = data.find(b"ontent-Length: ", 0, end)
    if at < 0:
        raise ConnectionError(f"an answer without a length: {data[:end]!r}")
    missing = end + 4 + int(data[at + 15 : data.index(b"\r", at)]) - len(data)
    if missing < 0:
        raise ConnectionError("more came than was asked for")
    return missing == 0


def connect(port: int, connections: int) -> list[socket.socket]:
    """So many connections to the loopback.

    Raises:
        OSError: the server does not take them.
    """
    made = []
    try:
        for _ in range(connections):
            one = socket.create_connection(("127.0.0.1", port), timeout=CONNECT_TIMEOUT_S)
            made.append(one)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            one.setblocking(False)
    except OSError:
        close(made)
        raise
    return made


def close(connections: Sequence[socket.socket]) -> None:
    """End them all."""
    for one in connections:
        one.close()


def closed_loop(port: int, requests: Sequence[bytes], connections: int) -> LoopResult:
    """Send all requests over so many connections, each as soon as the one before it on its connection is answered.

    Raises:
        ConnectionError: the server closed a connection, or answered what is no answer.
        TimeoutError: it took too long.
    """
    sockets = connect(port, min(connections, len(requests)))
    try:
        return _run(sockets, requests)
    finally:
        close(sockets)


def _run(sockets: list[socket.socket], requests: Sequence[bytes]) -> LoopResult:
    clock = time.perf_counter
    epoll = select.epoll()
    by_file = {one.fileno(): one for one in sockets}
    for file in by_file:
        epoll.register(file, select.EPOLLIN)
    statuses: Counter[bytes] = Counter()
    latencies_s: list[float] = []
    won_latencies_s: list[float] = []
    sent_at_s: dict[int, float] = {}
    parts: dict[int, bytes] = {}
    waiting = iter(requests)
    left = len(requests)
    began_s = clock()
    last_win_s = 0.0
    give_up_s = began_s + PATIENCE_S
    for file, one in by_file.items():
        sent_at_s[file] = clock()
        one.send(next(waiting))
    while left:
        ready = epoll.poll(1.0, 512)
        if not ready and clock() > give_up_s:
            raise TimeoutError(f"{left} answers did not come")
        for file, _ in ready:
            one = by_file[file]
            try:
                data = one.recv(RECEIVE_MAX_BYTES)
            except BlockingIOError:
                continue
            if not data:
                raise ConnectionError(errno.ECONNRESET, "the server closed a connection")
            if file in parts:
                data = parts.pop(file) + data
            if not is_whole(data):
                parts[file] = data
                continue
            now_s = clock()
            status = data[9:12]
            statuses[status] += 1
            latency_s = now_s - sent_at_s[file]
            latencies_s.append(latency_s)
            if status == b"201":
                won_latencies_s.append(latency_s)
                last_win_s = now_s - began_s
            left -= 1
            request = next(waiting, None)
            if request is not None:
                sent_at_s[file] = now_s
                one.send(request)
    seconds = clock() - began_s
    epoll.close()
    by_status = {int(status): number for status, number in statuses.items()}
    return LoopResult(len(latencies_s), seconds, by_status, latencies_s, won_latencies_s, last_win_s)
