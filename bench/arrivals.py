"""Thousands of clients who connect and ask at the same moment: their answers, and whether all are served alike afterwards.

Every connection is opened without waiting for the others, asks as soon as it stands, and asks again a few times when it was
answered. So the accept queue is met as a crowd meets it, and it shows if somebody is forgotten.
"""

import select
import socket
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from bench.closed_loop import RECEIVE_MAX_BYTES, is_whole

PATIENCE_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Result of a run.

    Attributes:
        by_status: answers, those of the further turns too.
        first_s: from the common start to the first whole answer, for each connection that got one.
        later_s: for each connection, how long its further answers took on average.
        broken: connections that were refused or cut.
        unanswered: connections that heard nothing in time.
    """

    by_status: dict[int, int]
    first_s: list[float] = field(repr=False)
    later_s: list[float] = field(repr=False)
    broken: int
    unanswered: int


@dataclass(slots=True)
class _Visitor:
    """One connection: what it asks, and how far it is."""

    connection: socket.socket
    request: bytes
    turns_left: int
    asked_at_s: float = 0.0
    heard: bytes = b""
    first_s: float | None = None
    later_s: list[float] = field(default_factory=list)


def arrive(port: int, requests: Sequence[bytes], turns: int) -> Arrivals:
    """One connection for each request, all at once; each asks `turns` times, one request after the other's answer."""
    epoll = select.epoll()
    visitors: dict[int, _Visitor] = {}
    statuses: Counter[int] = Counter()
    done: list[_Visitor] = []
    broken = 0
    began_s = time.perf_counter()
    try:
        for request in requests:
            one = socket.socket()
            one.setblocking(False)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            visitors[one.fileno()] = _Visitor(one, request, turns)
            one.connect_ex(("127.0.0.1", port))
            epoll.register(one.fileno(), select.EPOLLOUT)
        while visitors and time.perf_counter() - began_s < PATIENCE_S:
            for file, event in epoll.poll(0.5, 1024):
                visitor = visitors[file]
                try:
                    goes_on = _turn(epoll, visitor, event, statuses, began_s)
                except OSError:
                    broken += 1
                    goes_on = False
                if not goes_on:
                    done.append(visitors.pop(file))
                    epoll.unregister(file)
                    visitor.connection.close()
    finally:
        for visitor in visitors.values():
            visitor.connection.close()
        epoll.close()
    everybody = (*done, *visitors.values())
    return Arrivals(
        dict(statuses),
        [visitor.first_s for visitor in everybody if visitor.first_s is not None],
        [sum(visitor.later_s) / len(visitor.later_s) for visitor in everybody if visitor.later_s],
        broken,
        len(visitors),
    )


def _turn(epoll: select.epoll, visitor: _Visitor, event: int, statuses: Counter[int], began_s: float) -> bool:
    """Ask or listen; False when this one has nothing more to do.

    Raises:
        OSError: the connection did not come to be, or was cut.
    """
    if event & select.EPOLLOUT:
        problem = visitor.connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if problem:
            raise OSError(problem, "not connected")
        epoll.modify(visitor.connection.fileno(), select.EPOLLIN)
        _ask(visitor)
        return True
    data = visitor.connection.recv(RECEIVE_MAX_BYTES)
    if not data:
        raise ConnectionError("cut")
    visitor.heard += data
    if not is_whole(visitor.heard):
        return True
    now_s = time.perf_counter()
    statuses[int(visitor.heard[9:12])] += 1
    visitor.heard = b""
    if visitor.first_s is None:
        visitor.first_s = now_s - began_s
    else:
        visitor.later_s.append(now_s - visitor.asked_at_s)
    if visitor.turns_left:
        _ask(visitor)
        return True
    return False


def _ask(visitor: _Visitor) -> None:
    visitor.asked_at_s = time.perf_counter()
    visitor.turns_left -= 1
    visitor.connection.send(visitor.request)
