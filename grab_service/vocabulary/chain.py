"""The chain of the log: each entry's digest folded into a head, which binds all entries before it.

    digest = SHA-256(entry)        head = SHA-256(head before ‖ digest)        first head: 32 zero bytes

An entry's bytes are its id and then its names and values as the cell's log has them, each as a netstring: its length in decimal
digits, a colon, and the text. docs/CHAIN.md fixes them, with test vectors.
"""

from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Final, NamedTuple

START: Final = bytes(32)
"""Head of a chain without entries."""


class BadEntryBytesError(ValueError):
    """Bytes that are no entry's."""


class Link(NamedTuple):
    """One entry in the chain: its last seq, its digest, and the head with it."""

    last_seq: int
    digest: bytes
    head: bytes


def entry_bytes(entry_id: bytes, pairs: Sequence[bytes]) -> bytes:
    """The bytes of an entry as XRANGE gives it."""
    return b"".join([b"%d:%b" % (len(text), text) for text in (entry_id, *pairs)])


def texts_of(entry: bytes) -> Iterator[str]:
    """The texts of an entry's bytes: its id, then names and values in turn.

    Raises:
        BadEntryBytesError: they are no entry's.
    """
    at = 0
    while at < len(entry):
        colon = entry.find(b":", at, at + 10)
        digits = entry[at:colon] if colon > at else b""
        end = colon + 1 + int(digits) if digits.isdigit() else len(entry) + 1
        if end > len(entry):
            raise BadEntryBytesError(f"no length at byte {at}")
        yield entry[colon + 1 : end].decode()
        at = end


def digest_of(entry: bytes) -> bytes:
    """The digest of an entry's bytes."""
    return sha256(entry).digest()


def fold(head: bytes, digest: bytes) -> bytes:
    """The head behind an entry with this digest."""
    return sha256(head + digest).digest()
