"""`python -m tests.faults.prerequisites`: what the fault suite needs on this machine, and how to get it.

A C compiler, for the power cut and the other faults of disks; the right to mount a small disk, for the full one; programs of
Debian, for the recipes. Without one of them its faults are left out, and the run says so.
"""

import os
import shutil
import subprocess
from typing import Final

from tests.harness.powercut import NO_COMPILER, compiler
from tests.harness.recipes import Recipe, lacks
from tests.harness.tmpfs import NO_MOUNT, may_mount

_INSTALL: Final = ("apt-get", "install", "-y", "--no-install-recommends", "gcc", "libc6-dev")
_INSTALL_TIMEOUT_S: Final = 300


def main() -> None:
    """Install the compiler where that is possible, and say what is left out."""
    if compiler() is None and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(_INSTALL, check=False, timeout=_INSTALL_TIMEOUT_S)
        compiler.cache_clear()
    missing = ["" if compiler() else NO_COMPILER, "" if may_mount() else NO_MOUNT]
    missing += [f"the recipe {recipe} {why}" for recipe in Recipe if (why := lacks(recipe))]
    for what in filter(None, missing):
        print(f"left out: {what}")  # noqa: T201


if __name__ == "__main__":
    main()
