"""The requests of a crowd, built before the rush: one grab for each tap of each member."""

import random
from collections.abc import Iterable
from dataclasses import dataclass

from loadtest.passes import Member


@dataclass(frozen=True, slots=True)
class Target:
    """The target of the requests.

    Attributes:
        host: name or address, as it stands in the Host header.
        port: TCP port.
        path: the grab's path, any prefix of the base URL included.
        idempotency_prefix: if not None, every member sends the Idempotency-Key `<prefix>-<member_id>`.
    """

    host: str
    port: int
    path: str
    idempotency_prefix: str | None = None


def in_order_of_taps(members: list[Member], taps: int, seed: int) -> list[Member]:
    """Put the crowd in the order of its taps: every member `taps` times, shuffled by `seed`."""
    queue = members * taps
    random.Random(seed).shuffle(queue)
    return queue


def build_requests(crowd: Iterable[Member], target: Target) -> list[bytes]:
    """Build each member's request once, so that sending it costs no more than a write."""
    host = f"[{target.host}]" if ":" in target.host else target.host
    head = (
        f"POST {target.path} HTTP/1.1\r\n"
        f"Host: {host}:{target.port}\r\n"
        "Connection: keep-alive\r\n"
        "Content-Length: 0\r\n"
        "Authorization: Bearer "
    ).encode("ascii")
    if target.idempotency_prefix is None:
        return [b"%b%b\r\n\r\n" % (head, member.bearer) for member in crowd]
    prefix = target.idempotency_prefix.encode("ascii")
    return [b"%b%b\r\nIdempotency-Key: %b-%b\r\n\r\n" % (head, member.bearer, prefix, member.member_id) for member in crowd]
