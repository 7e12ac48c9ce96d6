"""The options of the listening socket, which hold for every connection that it accepts."""

import socket
from collections.abc import Sequence
from copy import copy
from typing import Final

import uvicorn

SILENT_BEFORE_PROBE_S: Final = 30
PROBE_INTERVAL_S: Final = 10
PROBES: Final = 3
UNCONFIRMED_MAX_S: Final = 30
"""A client that has not confirmed our bytes for so long has vanished without a word."""

UNSENT_MAX_BYTES: Final = 128 * 1024
"""Bound of the kernel's send buffer for a client that does not read; its default is megabytes for each connection."""

ACCEPTS_A_TURN: Final = 16
"""libuv takes one connection for each descriptor in a turn of the loop, and a turn among thousands of busy clients is long: who
waits to be accepted would wait for seconds, until the others have finished."""


def listen(config: uvicorn.Config, probes_port: int | None) -> list[socket.socket]:
    """Bind the address of the configuration, and the port of the probes if they have one of their own.

    Ends the process with a word if one of them is taken.
    """
    listeners = [config.bind_socket()]
    if probes_port is not None:
        of_probes = copy(config)
        of_probes.port = probes_port
        listeners.append(of_probes.bind_socket())
    for listener in listeners:
        bound_what_the_kernel_keeps(listener)
    return listeners


def bound_what_the_kernel_keeps(listener: socket.socket) -> None:
    """Half-open connections end by themselves, and buffers stay small; on systems that know these options."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = {
        "TCP_KEEPIDLE": SILENT_BEFORE_PROBE_S,
        "TCP_KEEPINTVL": PROBE_INTERVAL_S,
        "TCP_KEEPCNT": PROBES,
        "TCP_USER_TIMEOUT": UNCONFIRMED_MAX_S * 1000,
        "TCP_NOTSENT_LOWAT": UNSENT_MAX_BYTES,
    }
    for name, value in options.items():
        if hasattr(socket, name):
            listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def handles(listeners: Sequence[socket.socket]) -> list[socket.socket]:
    """The listening sockets, and the first one under several descriptors: each of them accepts in every turn of the loop."""
    # All workers share one socket and whether it blocks, and `dup` makes it so unless this one is known not to: until the new
    # worker's loop turned that back, a loop of an old one could fall asleep in `accept`, beside another that was quicker.
    for listener in listeners:
        listener.setblocking(False)
    return [*listeners, *(listeners[0].dup() for _ in range(ACCEPTS_A_TURN - 1))]
