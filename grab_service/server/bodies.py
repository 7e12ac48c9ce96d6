"""Bounds of request bodies: the size and the time of each, and the bytes that a worker keeps of all of them.

A request is carried out only when its body is whole. Until then the body lies here, within bounds of its own: it takes no place
from calls that are at work. If all bodies together become too much, the one that has been on its way for longest is cut off.
"""

from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

GRAB_BODY_MAX_BYTES: Final = 4096
"""A grab needs no body; a body that comes nevertheless must be small."""

GRAB_BODY_TIMEOUT_S: Final = 5.0
BODY_TIMEOUT_S: Final = 30.0
IMPORT_TIMEOUT_S: Final = 300.0

DISCARD_MAX_BYTES: Final = 16 * 1024 * 1024
DISCARD_TIMEOUT_S: Final = 5.0
"""A body that is too large is read and thrown away within these bounds, then refused. If the server closed a connection on a
client that is still sending, the client would see a reset and no answer."""

FRAMING_MAX_BYTES: Final = 16 * 1024
"""Sizes of chunks, their extensions, and trailers: so many bytes beside the body, and as many as a body in tiny chunks
needs."""

FRAMING_PER_BYTE: Final = 8
BODIES_MAX_BYTES: Final = 256 * 1024 * 1024


class Bounds(NamedTuple):
    """The bounds of one body."""

    max_bytes: int
    timeout_s: float


class Sender(Protocol):
    """A connection whose body is on its way."""

    def cut_off(self) -> None:
        """Refuse the request; the bodies of the worker have become too much."""


def is_import(path: str) -> bool:
    """Whether a path takes a CSV, which may be much larger than anything else."""
    return path.startswith("/v1/ops/") and path.endswith(("/import", "/codes"))


class Bodies:
    """All bodies that one worker has received and not done with."""

    def __init__(
        self,
        *,
        body_max_bytes: int,
        import_max_bytes: int,
        may_import: Callable[[bytes | None], bool],
        bodies_max_bytes: int = BODIES_MAX_BYTES,
    ) -> None:
        """`may_import` tells from the token of a call whether its caller may send files at all."""
        self._body_max_bytes = body_max_bytes
        self._import_max_bytes = import_max_bytes
        self._may_import = may_import
        self._bodies_max_bytes = bodies_max_bytes
        self._bytes = 0
        # In the order in which they began. Anybody can send small bodies, so these are cut off before imports.
        self._small: dict[Sender, int] = {}
        self._imports: dict[Sender, int] = {}

    def bounds_of(self, path: str, token: bytes | None, *, grab: bool) -> Bounds:
        """The bounds of the body of a call."""
        if grab:
            return Bounds(GRAB_BODY_MAX_BYTES, GRAB_BODY_TIMEOUT_S)
        if is_import(path) and self._may_import(token):
            return Bounds(self._import_max_bytes, IMPORT_TIMEOUT_S)
        return Bounds(self._body_max_bytes, BODY_TIMEOUT_S)

    def keep(self, sender: Sender, piece_bytes: int, bounds: Bounds) -> None:
        """Note a piece of a body that is on its way; may cut off this sender or others."""
        senders = self._imports if bounds.timeout_s == IMPORT_TIMEOUT_S else self._small
        senders[sender] = senders.get(sender, 0) + piece_bytes
        self._bytes += piece_bytes
        while self._bytes > self._bodies_max_bytes and (self._small or self._imports):
            oldest = next(iter(self._small or self._imports))
            self.drop(oldest)
            oldest.cut_off()

    def drop(self, sender: Sender) -> None:
        """Forget the body that was on its way from this sender."""
        self._bytes -= self._small.pop(sender, 0) + self._imports.pop(sender, 0)

    def complete(self, sender: Sender) -> int:
        """The body is whole; its bytes, which count until `done`."""
        return self._small.pop(sender, 0) + self._imports.pop(sender, 0)

    def done(self, body_bytes: int) -> None:
        """The call that had this body has ended."""
        self._bytes -= body_bytes
