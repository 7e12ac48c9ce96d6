"""A PostgreSQL for one test, copied from a prepared one instead of initialized.

It moves into data that another one made in this run, which have the database of a district in them, with the newest tables.
To make them takes longer than most tests of a district; tests about the making start from nothing.
"""

import asyncio
import fcntl
import shutil
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from grab_service.embedded.postgres import PostgresServer
from grab_service.sql.grants import OWNER
from tests.harness.places import quick_dir

_SHARED: Final[list[Path]] = []


def pytest_configure(config: pytest.Config) -> None:
    """Workers of one run make the data once for all of them."""
    if shared_dir := getattr(config, "workerinput", {}).get("shared_dir"):
        _SHARED.append(Path(shared_dir))


def pytest_unconfigure() -> None:
    """Take away what this process made for itself alone."""
    if not _SHARED and _own_dir.cache_info().currsize:
        shutil.rmtree(_own_dir(), ignore_errors=True)


async def move_in(home: Path) -> None:
    """Put the data into the home of a PostgreSQL that has none yet."""
    await asyncio.to_thread(_copy, home)


def _copy(home: Path) -> None:
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.copytree(_made(), home / "data")


def _made() -> Path:
    place = _SHARED[0] if _SHARED else _own_dir()
    with (place / "making").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "made").exists():
            asyncio.run(_make(place / "making.new"))
            (place / "making.new" / "data").rename(place / "made")
    return place / "made"


async def _make(home: Path) -> None:
    from reconcile.migrate import upgrade

    server = PostgresServer(home)
    await server.start()
    await asyncio.to_thread(upgrade, server.url_as(OWNER))
    await server.stop()


@cache
def _own_dir() -> Path:
    return quick_dir()
