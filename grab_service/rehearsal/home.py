"""The temporary directory and servers of a rehearsal, and their removal.

A rehearsal that was killed removes nothing: the next one does it. A lock tells which ones still run.
"""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

PREFIX: Final = "rehearsal-"
LOCK: Final = "rehearsing"
YOUNG_S: Final = 60.0
"""A directory this young may belong to somebody who has not locked it yet."""


@contextmanager
def temporary_home(var_dir: Path) -> Iterator[Path]:
    """A directory of its own below `var_dir`, gone afterwards with all that is in it.

    It lies beside the real data and not where the system keeps temporary files: that may be memory, which syncs for nothing.
    """
    var_dir.mkdir(parents=True, exist_ok=True)
    clear_what_was_left(var_dir)
    home = Path(tempfile.mkdtemp(prefix=PREFIX, dir=var_dir.absolute()))
    with (home / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield home
        finally:
            shutil.rmtree(home, ignore_errors=True)


def clear_what_was_left(var_dir: Path) -> None:
    """Remove what rehearsals have left that were killed."""
    for home in var_dir.glob(f"{PREFIX}*"):
        try:
            if time.time() - home.stat().st_mtime < YOUNG_S:
                continue
            lock = os.open(home / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            continue  # somebody else is about to remove it, or it is no directory of ours
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            shutil.rmtree(home, ignore_errors=True)
        finally:
            os.close(lock)
