"""The framing of requests: where one ends, and whether another may follow. Decided here alone, for both ways.

The parser splits bytes into names and values. Their meaning for the connection is decided here, from the whole head and
before any of the body is read. A request that two servers could read in two ways is refused, because the proxy in front may
have read it in the other one.
"""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

HEADERS_MAX: Final = 100
LENGTH_DIGITS_MAX: Final = 15

Headers = Sequence[tuple[bytes, bytes]]
"""Names in lower case, values without white space around them, in the order in which they came."""

ONCE: Final = frozenset(
    {
        *(b"host", b"content-length", b"transfer-encoding", b"content-type", b"expect"),
        *(b"authorization", b"idempotency-key", b"if-match", b"origin"),
    }
)
"""Headers that decide something and so must not contradict themselves."""

_LENGTH: Final = re.compile(rb"[0-9]{1,%d}" % LENGTH_DIGITS_MAX)
_HOST: Final = re.compile(rb"[A-Za-z0-9.:\[\]_~%!$&'()*+,;=-]*")
_CONTINUE: Final = b"100-continue"


class Frame(NamedTuple):
    """The place of one request in the stream of its connection.

    Attributes:
        length: bytes of the body; None if it comes in chunks.
        last: nothing behind this request on its connection is a request.
        expects: the caller waits for `100 Continue` before sending the body.
    """

    length: int | None
    last: bool
    expects: bool


class Ambiguous(NamedTuple):
    """The request cannot be framed; `header` names what is wrong."""

    header: str


PLAIN: Final = Frame(0, last=False, expects=False)
"""A request without a body, on a connection that stays."""


def frame_of(method: bytes, version: str, headers: Headers) -> Frame | Ambiguous:
    """Decide how a request is framed.

    Args:
        method: as it was sent.
        version: `1.1` or `1.0`; anything else is ambiguous.
        headers: all headers of the head.
    """
    if len(headers) > HEADERS_MAX:
        return Ambiguous("headers")
    found: dict[bytes, bytes] = {}
    connection = b""
    for name, value in headers:
        if name in ONCE:
            if name in found:
                return Ambiguous(name.decode("ascii"))
            found[name] = value
        elif name in (b"connection", b"upgrade"):
            found[name] = value
            if name == b"connection":
                connection += b"," + value
    if version not in ("1.1", "1.0"):
        return Ambiguous("HTTP version")
    host = found.get(b"host")
    if (host is None and version == "1.1") or (host is not None and _HOST.fullmatch(host) is None):
        return Ambiguous("host")
    length = _length_of(version, found)
    if isinstance(length, Ambiguous):
        return length
    options = {option.strip().lower() for option in connection.split(b",")}
    upgrades = method == b"CONNECT" or (b"upgrade" in options and b"upgrade" in found)
    last = upgrades or version == "1.0" or b"close" in options
    return Frame(length, last, version == "1.1" and found.get(b"expect", b"").lower() == _CONTINUE)


def _length_of(version: str, found: dict[bytes, bytes]) -> int | Ambiguous | None:
    encoding = found.get(b"transfer-encoding")
    length = found.get(b"content-length")
    if encoding is not None:
        if version != "1.1" or length is not None or encoding.lower() != b"chunked":
            return Ambiguous("transfer-encoding")
        return None
    if length is None:
        return 0
    return int(length) if _LENGTH.fullmatch(length) else Ambiguous("content-length")
