"""Who is in the crowd, and what does each of them send?"""

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

MEMBERS_MAX = 2_000_000

# What may stand in a header and in a line of the receipts: visible ASCII.
_VISIBLE = re.compile(rb"[\x21-\x7e]{1,512}")


class PassesError(Exception):
    """The passes file cannot be used; the message names the line."""


@dataclass(frozen=True, slots=True)
class Member:
    """One member and the pass that speaks for them, as bytes that go on the wire."""

    member_id: bytes
    bearer: bytes


@dataclass(frozen=True, slots=True)
class Target:
    """Where the requests go.

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


def read_passes(path: Path) -> list[Member]:
    """Read lines of `member_id<TAB>pass`.

    Raises:
        PassesError: a line is broken, a member stands twice, or there is nobody.
    """
    members: list[Member] = []
    seen: set[bytes] = set()
    try:
        text = path.read_bytes()
    except OSError as error:
        raise PassesError(f"cannot read the passes: {error}") from error
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        member_id, tab, bearer = line.rstrip().partition(b"\t")
        if not (tab and _VISIBLE.fullmatch(member_id) and _VISIBLE.fullmatch(bearer)):
            raise PassesError(f"{path}, line {number}: expected member_id<TAB>pass, in visible ASCII")
        if member_id in seen:
            raise PassesError(f"{path}, line {number}: member {member_id.decode()} stands there twice")
        seen.add(member_id)
        members.append(Member(member_id, bearer))
        if len(members) > MEMBERS_MAX:
            raise PassesError(f"{path}: more than {MEMBERS_MAX} members")
    if not members:
        raise PassesError(f"{path}: nobody in it")
    return members


def line_up(members: list[Member], taps: int, seed: int) -> list[Member]:
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
