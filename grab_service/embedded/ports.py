"""The choice of a free port for a server.

Ports are taken from below the range in which the system finds ports for outgoing connections. A server that is killed and
started again must find its port free; a client that keeps trying to reach it in the meantime could be given that very port as
its own end, and even connect to itself.
"""

import errno
import random
import socket
from pathlib import Path

from grab_service.embedded.errors import PortTakenError, ServerError

LOOPBACK = "127.0.0.1"
_LOWEST = 10_240
_HIGHEST = 32_000
_TRIES_MAX = 200


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of the loopback interface now."""
    with socket.socket() as probe:
        # As servers do: a connection that lingers after its end does not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as problem:
            if problem.errno in {errno.EADDRINUSE, errno.EACCES}:
                return False
            raise
    return True


def free_port() -> int:
    """A free port, chosen at random so that servers started at the same moment rarely want the same."""
    for _ in range(_TRIES_MAX):
        port = random.randint(_LOWEST, min(_HIGHEST, _first_outgoing() - 1))  # noqa: S311 -- not a secret
        if is_free(port):
            return port
    raise ServerError(f"No free port found between {_LOWEST} and {_HIGHEST} in {_TRIES_MAX} tries.", "Stop what listens there.")


def remembered_or_free(path: Path) -> int:
    """The port of the last run if it was written down and is free still, else another."""
    try:
        remembered = int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return free_port()
    return remembered if is_free(remembered) else free_port()


def port_taken(what: str, port: int, host: str = LOOPBACK) -> PortTakenError:
    """The error for a port that was asked for and is not free."""
    return PortTakenError(
        f"{what} cannot listen on {host}:{port}: the port is taken.",
        f"Stop what listens there (`ss -ltnp 'sport = :{port}'` or `lsof -i :{port}` names it), or choose another port.",
    )


def refusal_to_listen(what: str, host: str, port: int) -> ServerError | None:
    """The error that a server would meet that wants to listen there, or None if it could now."""
    try:
        places = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as problem:
        return _no_such_address(what, host, problem)
    for family, kind, protocol, _, address in places:
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(address)
            except OSError as problem:
                if problem.errno == errno.EADDRINUSE:
                    return port_taken(what, port, host)
                if problem.errno == errno.EACCES:
                    return PortTakenError(
                        f"{what} may not listen on {host}:{port}: low ports are for privileged users.",
                        "Choose a port from 1024 on.",
                    )
                return _no_such_address(what, host, problem)
    return None


def _no_such_address(what: str, host: str, problem: OSError) -> ServerError:
    return ServerError(
        f"{what} cannot listen on {host}: {problem.strerror or problem}.",
        "Choose an address of this machine: 127.0.0.1, or 0.0.0.0 for all of them.",
    )


def _first_outgoing() -> int:
    try:
        first = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0]
    except OSError:
        return 49_152  # where the registered range ends, and where other systems begin
    return max(int(first), _LOWEST + 1_000)
