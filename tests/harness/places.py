"""Temporary directories of test servers.

In memory where there is room for it: a database of its own for each test is hundreds of small files, which take their time on a
disk. The directory is named after the process that made it; one of a run that was killed is cleared away by the next.
"""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from grab_service.launch import started_at

MEMORY: Final = Path("/dev/shm")
NAME: Final = "grab-tests-"
FREE_BYTES_MIN: Final = 3 * 1024**3


def quick_dir() -> Path:
    """A new directory; its maker removes it."""
    place = MEMORY if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= FREE_BYTES_MIN else Path(tempfile.gettempdir())
    for left in place.glob(f"{NAME}*-*"):
        if started_at(int(left.name.removeprefix(NAME).partition("-")[0])) is None:
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{NAME}{os.getpid()}-", dir=place))
