"""Input and output files of commands."""

import io
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final, TextIO

import typer

from grab_service.cli.errors import CommandError

STANDARD: Final = Path("-")


def _readable(path: Path) -> Path:
    """A missing or unreadable file is a mistake of usage."""
    if path != STANDARD and not path.exists():
        raise typer.BadParameter(f"there is no file {path}")
    if path != STANDARD and (path.is_dir() or not os.access(path, os.R_OK)):
        raise typer.BadParameter(f"{path} is no file that can be read")
    return path


CsvFile = Annotated[Path, typer.Argument(metavar="FILE.csv", callback=_readable, help="CSV; - is standard input.")]
JsonFile = Annotated[Path, typer.Argument(metavar="FILE.json", callback=_readable, help="JSON; - is standard input.")]


def name_of(path: Path) -> str:
    """What messages call it."""
    return "standard input" if path == STANDARD else str(path)


def read_input(path: Path, bytes_max: int) -> bytes:
    """The whole file.

    Raises:
        CommandError: it is larger than that.
    """
    if path == STANDARD:
        data = sys.stdin.buffer.read(bytes_max + 1)
    else:
        with path.open("rb") as stream:
            data = stream.read(bytes_max + 1)
    if len(data) > bytes_max:
        raise CommandError(f"{name_of(path)} is larger than {bytes_max:,} bytes, and more is not taken at once.", "Split it.")
    return data


@contextmanager
def written(path: Path, *, private: bool = False) -> Iterator[TextIO]:
    """A text file to write, UTF-8 and line ends as they come; it takes its place only when all of it is there.

    Args:
        path: where; - is standard output.
        private: readable for its owner only, because every reader could use its content.
    """
    if path == STANDARD and not sys.stdout.isatty():
        sys.stdout.flush()
        # The same bytes as in a file, whatever this environment says of encodings.
        stream = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8", newline="", write_through=True)
        try:
            yield stream
        finally:
            stream.flush()
            stream.detach()
    elif path == STANDARD:
        yield sys.stdout
        sys.stdout.flush()
    elif path.exists() and not path.is_file():
        with path.open("w", encoding="utf-8", newline="") as stream:  # a pipe or /dev/null, which nothing may replace
            yield stream
    else:
        target = path.resolve()
        number, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
        try:
            with os.fdopen(number, "w", encoding="utf-8", newline="") as stream:
                yield stream
            if not private:
                Path(name).chmod(0o666 & ~_umask())
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def _umask() -> int:
    mask = os.umask(0o077)  # it can only be read by setting it
    os.umask(mask)
    return mask
