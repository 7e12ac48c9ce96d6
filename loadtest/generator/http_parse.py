"""The HTTP parser of the generator: it finds where an answer ends, and its status, headers and body.

A small, strict reader of HTTP/1.1 answers for a client that has one request outstanding on a connection. It looks at
the whole buffer each time: nearly every answer arrives in one piece, and then nothing is copied twice.
"""

from functools import lru_cache
from typing import NamedTuple

HEAD_MAX_BYTES = 32 * 1024
BODY_MAX_BYTES = 1024 * 1024

_REMEMBER_MAX_BYTES = 2048
_BODILESS = frozenset({204, 304})


class HttpParseError(Exception):
    """The bytes are not an answer that can be framed; the connection is of no more use."""


class Answer(NamedTuple):
    """One whole answer.

    Attributes:
        status: the status code.
        head: status line and headers in lower case, without the blank line.
        body: decoded if it came in chunks.
        size: how many bytes of the buffer it took.
        closes: whether the server is about to close the connection.
    """

    status: int
    head: bytes
    body: bytes
    size: int
    closes: bool


def take_answer(data: bytes) -> Answer | None:
    """Take the first answer from the buffer.

    Most of a crowd hears the same bytes within the same millisecond; small buffers seen lately are not read again.

    Returns:
        The answer, or None if it is not whole yet. Interim answers (1xx) are passed over.

    Raises:
        HttpParseError: no HTTP/1.x answer, no length, contradictory or broken framing, or larger than the bounds.
    """
    return _remembered(data) if len(data) <= _REMEMBER_MAX_BYTES else _take(data)


def _take(data: bytes) -> Answer | None:
    start = 0
    while True:
        end = data.find(b"\r\n\r\n", start)
        if end < 0:
            if len(data) - start > HEAD_MAX_BYTES:
                raise HttpParseError("an endless head")
            if not b"HTTP/1.".startswith(data[start : start + 7]):
                raise HttpParseError("not HTTP")
            return None
        head = data[start:end].lower()
        digits = head[9:12]
        if not (head.startswith((b"http/1.1 ", b"http/1.0 ")) and len(digits) == 3 and digits.isdigit()):
            raise HttpParseError("not an HTTP/1.x status line")
        status = int(digits)
        if 100 <= status < 200:
            start = end + 4
            continue
        return _with_body(data, end + 4, status, head)


_remembered = lru_cache(maxsize=128)(_take)


def header(head: bytes, name: bytes) -> bytes | None:
    """Find a header's value in a lower-case head; `name` in lower case."""
    at = head.find(b"\r\n" + name + b":")
    if at < 0:
        return None
    at += len(name) + 3
    stop = head.find(b"\r\n", at)
    return (head[at:] if stop < 0 else head[at:stop]).strip()


def _with_body(data: bytes, body_at: int, status: int, head: bytes) -> Answer | None:
    # The length is looked for by hand and not through header(): this is the hot path.
    at = head.find(b"\r\ncontent-length:")
    if b"\r\ntransfer-encoding:" in head:
        if at >= 0 or header(head, b"transfer-encoding") != b"chunked":
            raise HttpParseError("contradictory framing")
        return _with_chunks(data, body_at, status, head)
    if at < 0:
        if status in _BODILESS:
            return Answer(status, head, b"", body_at, _closes(head))
        raise HttpParseError("an answer without a length")
    stop = head.find(b"\r\n", at + 17)
    digits = (head[at + 17 :] if stop < 0 else head[at + 17 : stop]).strip()
    if not digits.isdigit() or len(digits) > 9:
        raise HttpParseError("a length that is no number")
    length = int(digits)
    if length > BODY_MAX_BYTES:
        raise HttpParseError("a body beyond the bound")
    body_end = body_at + length
    if len(data) < body_end:
        return None
    return Answer(status, head, data[body_at:body_end], body_end, _closes(head))


def _closes(head: bytes) -> bool:
    value = header(head, b"connection")
    return head.startswith(b"http/1.0") if value is None else b"close" in value


def _with_chunks(data: bytes, at: int, status: int, head: bytes) -> Answer | None:
    parts: list[bytes] = []
    total = 0
    while True:
        stop = data.find(b"\r\n", at)
        if stop < 0:
            if len(data) - at > HEAD_MAX_BYTES:
                raise HttpParseError("an endless chunk size")
            return None
        digits = data[at:stop].partition(b";")[0].strip()
        try:
            length = int(digits, 16)
        except ValueError:
            raise HttpParseError("a chunk size that is no number") from None
        total += length
        if length < 0 or total > BODY_MAX_BYTES:
            raise HttpParseError("a body beyond the bound")
        at = stop + 2
        if length == 0:
            break
        if len(data) < at + length + 2:
            return None
        if data[at + length : at + length + 2] != b"\r\n":
            raise HttpParseError("a chunk longer than it said")
        parts.append(data[at : at + length])
        at += length + 2
    # Trailers, then a blank line.
    while True:
        stop = data.find(b"\r\n", at)
        if stop < 0:
            return None
        if stop == at:
            return Answer(status, head, b"".join(parts), stop + 2, _closes(head))
        at = stop + 2
