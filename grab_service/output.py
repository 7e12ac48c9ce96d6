"""Replacement of characters that a terminal or the encoding of a pipe lacks."""

import io
import sys


def replace_what_cannot_be_shown() -> None:
    """From now on it is written as `?`, and is no error: a name of a campaign may hold anything."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
