"""Checks of the machine: Python, open files, waiting connections, disk."""

import platform
import resource
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from grab_service.doctor.finding import DoctorFinding, fail, ok, warn
from grab_service.embedded.stack import FREE_BYTES_MIN
from grab_service.settings import Settings

PYTHON_MIN: Final = (3, 11)
FILES_FEW: Final = 1024
FILES_PLENTY: Final = 16_384
"""One connection is one open file; so many phones at once are no surprise at an opening."""
FREE_BYTES_PLENTY: Final = 4 * FREE_BYTES_MIN
_SOMAXCONN: Final = Path("/proc/sys/net/core/somaxconn")


def look_at_machine(settings: Settings) -> Iterator[DoctorFinding]:
    """The findings about this machine, without a call to any server."""
    yield _python()
    yield _open_files()
    yield from _waiting_connections(settings.backlog)
    yield _disk(settings.var_dir)


def _python() -> DoctorFinding:
    found = f"{platform.python_implementation()} {platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.version_info < PYTHON_MIN:
        return fail("python", found, "Use Python 3.11 or newer.")
    return ok("python", found)


def _open_files() -> DoctorFinding:
    # The service raises its own limit as far as it may, so the hard one counts.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = hard == resource.RLIM_INFINITY
    found = "no limit to open files" if unlimited else f"{hard:,} open files at most"
    hint = f"Raise it to {FILES_PLENTY:,} or more: `LimitNOFILE=` in systemd, `ulimits: nofile` in compose, limits.conf(5)."
    if unlimited or hard >= FILES_PLENTY:
        return ok("open-files", found)
    return warn("open-files", found, hint) if hard >= FILES_FEW else fail("open-files", found, hint)


def _waiting_connections(backlog: int) -> Iterator[DoctorFinding]:
    try:
        most = int(_SOMAXCONN.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return  # another system, where this cannot be read
    found = f"{min(most, backlog):,} connections may wait to be accepted"
    if most < backlog:
        hint = f"`sysctl -w net.core.somaxconn={backlog}`: at an opening thousands knock in the same instant."
        yield warn("accept-queue", f"{found}, {backlog:,} are wanted", hint)
    else:
        yield ok("accept-queue", found)


def _disk(var_dir: Path) -> DoctorFinding:
    place = var_dir.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    found = f"{free / 1024**3:.1f} GiB free at {place}"
    if free < FREE_BYTES_MIN:
        return fail("disk", found, f"Make room: less than {FREE_BYTES_MIN // 1024**2} MiB, and embedded servers do not start.")
    if free < FREE_BYTES_PLENTY:
        return warn("disk", found, "Make room before the next rush.")
    return ok("disk", found)
