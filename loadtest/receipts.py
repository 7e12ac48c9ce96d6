"""Receipts: requests and answers with their times, as evidence that outlives the asker.

One append-only text file per process. Requests are written before their bytes go to any socket, so that a request
without a line in a receipt was never sent. Fields are separated by tabs:

    H <json>                                       the run: format, campaign, processes' common clock anchor
    C <json>                                       the server's clock: offset_us, error_us, rtt_us
    S <no> <member> <attempt> <at_us> [<key>]      about to be sent; `no` is unique in the file; with which Idempotency-Key,
                                                   if not with that of the header's prefix
    A <no> <at_us> <status> <code> <body>          answered; `code` for problems, `body` for 200, 201 and 202
    L <no> <at_us> <reason>                        lost without an answer: it is not known what became of it

Times are wall clock microseconds of the generator's machine, `S` early by at most a tick, `A` late by at most a tick.
Line ends inside a body are written as blanks (JSON has none inside its strings). A torn last line is what a kill
leaves; the reader passes over it.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson

from loadtest.clock import ServerClock

FORMAT = 1
SUFFIX = ".receipts"


class ReceiptsError(Exception):
    """The receipts cannot be read; the message names file and line."""


class ReceiptBook:
    """Appends lines, many at a time, with one write.

    A new book must be new: receipts are never mixed with those of another run. `again` goes on in one that exists.
    """

    def __init__(self, path: Path, *, again: bool = False) -> None:
        self.path = path
        made = 0 if again else os.O_CREAT | os.O_EXCL
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | made, 0o644)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def append(self, lines: Iterable[bytes]) -> None:
        """Write whole lines.

        Raises:
            OSError: the disk is full or gone. The requests must not be sent.
        """
        rest = b"".join(lines)
        while rest:
            rest = rest[os.write(self._file, rest) :]

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def header_line(facts: dict[str, Any]) -> bytes:
    """The first line of a file; `facts` must hold `run` and `campaign`."""
    return b"H\t%b\n" % orjson.dumps({"format": FORMAT, **facts})


def clock_line(clock: ServerClock) -> bytes:
    """Bounds of the server's clock; may be written more than once."""
    known = {"offset_us": clock.offset_us, "error_us": clock.error_us, "rtt_us": clock.rtt_us}
    return b"C\t%b\n" % orjson.dumps(known)


def one_line(body: bytes) -> bytes:
    """A body as it may stand in a line."""
    return body.replace(b"\r", b" ").replace(b"\n", b" ")


@dataclass(slots=True)
class Attempt:
    """One request and what became of it; no answer means that it may or may not have been carried out.

    Attributes:
        source: the file it was read from.
        member: who asked.
        attempt: 1 for the first try of a tap.
        sent_at_us: not before this moment, the generator's wall clock.
        key: the Idempotency-Key sent along, if any.
        answered_at_us: not after this moment.
        status: 0 without an answer.
        code: problem code, empty for answers that are no problem.
        body: the answer's body where it was kept.
    """

    source: "ReceiptFile"
    member: str
    attempt: int
    sent_at_us: int
    key: str | None = None
    answered_at_us: int = 0
    status: int = 0
    code: str = ""
    body: bytes = b""


@dataclass(slots=True, eq=False)
class ReceiptFile:
    """One process's receipts.

    Attributes:
        path: where they were.
        facts: the header.
        clocks: the known bounds of the server's clock.
        attempts: by number.
        torn: whether the last line was cut off.
    """

    path: Path
    facts: dict[str, Any] = field(default_factory=dict)
    clocks: list[ServerClock] = field(default_factory=list)
    attempts: dict[int, Attempt] = field(default_factory=dict)
    torn: bool = False
    _ahead_us: tuple[int, int] | None = None

    def server_us(self, at_us: int) -> tuple[int, int]:
        """Earliest and latest server time that a moment of this file may have been.

        Raises:
            ReceiptsError: the file says nothing of the server's clock.
        """
        ahead = self._ahead_us or self._read_clocks()
        return at_us + ahead[0], at_us + ahead[1]

    def _read_clocks(self) -> tuple[int, int]:
        if not self.clocks:
            raise ReceiptsError(f"{self.path}: nothing about the server's clock")
        self._ahead_us = (
            min(clock.offset_us - clock.error_us for clock in self.clocks),
            max(clock.offset_us + clock.error_us for clock in self.clocks),
        )
        return self._ahead_us


def find_receipts(places: Iterable[Path]) -> list[Path]:
    """All receipt files in the given directories (and files), sorted.

    Raises:
        ReceiptsError: there is none.
    """
    found: list[Path] = []
    for place in places:
        found.extend(place.glob(f"*{SUFFIX}") if place.is_dir() else [place])
    if not found:
        raise ReceiptsError("no receipts found")
    return sorted(set(found))


def read_receipts(path: Path) -> ReceiptFile:
    """Read one file; a torn last line is passed over and noted.

    Raises:
        ReceiptsError: unreadable, or a line other than the last is broken.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ReceiptsError(f"cannot read receipts: {error}") from error
    receipts = ReceiptFile(path)
    whole, _, rest = data.rpartition(b"\n")
    receipts.torn = bool(rest)
    for number, line in _numbered(whole):
        try:
            _read_line(receipts, line)
        except (ValueError, KeyError, TypeError, UnicodeDecodeError) as error:
            raise ReceiptsError(f"{path}, line {number}: {error}") from error
    return receipts


def _numbered(data: bytes) -> Iterator[tuple[int, bytes]]:
    # Not splitlines(): it would also split at form feeds and the like.
    return ((number, line) for number, line in enumerate(data.split(b"\n"), start=1) if line)


def _read_line(receipts: ReceiptFile, line: bytes) -> None:
    kind = line[:1]
    if kind == b"S":
        _, no, member, attempt, at_us, *keys = line.split(b"\t")
        if len(keys) > 1:
            raise ValueError("a request with more fields than it has")
        name = member.decode("ascii")
        prefix = receipts.facts.get("idempotency_prefix")
        key = None if prefix is None else f"{prefix}-{name}"
        if keys:
            key = keys[0].decode("ascii")
        receipts.attempts[int(no)] = Attempt(receipts, name, int(attempt), int(at_us), key)
    elif kind == b"A":
        _, no, at_us, status, code, body = line.split(b"\t", 5)
        attempt_of = receipts.attempts[int(no)]
        attempt_of.answered_at_us = int(at_us)
        attempt_of.status = int(status)
        attempt_of.code = code.decode("ascii")
        attempt_of.body = body
    elif kind == b"L":
        _, no, _at_us, _reason = line.split(b"\t")
        if int(no) not in receipts.attempts:
            raise ValueError("a loss without its request")
    elif kind == b"C":
        receipts.clocks.append(ServerClock(**orjson.loads(line[2:])))
    elif kind == b"H":
        facts = orjson.loads(line[2:])
        if facts["format"] != FORMAT:
            raise ValueError(f"format {facts['format']} is not known here")
        receipts.facts = facts
    else:
        raise ValueError(f"no kind of line: {kind!r}")
