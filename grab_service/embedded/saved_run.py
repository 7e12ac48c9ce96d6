"""The file by which commands in a directory find the servers of the run in progress there.

The run writes the environment of its own children into the file, readable for its owner alone, and deletes it at its end. The
file of a run that was killed is ignored. Reading it starts, locks and asks nothing.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from grab_service.launch import started_at
from grab_service.settings import Settings
from grab_service.sql.grants import OWNER

SERVERS: Final = ("REDIS_URL", "DATABASE_URL", "GRAB_GUARD_REDIS_URL", "GRAB_CELL", "GRAB_SECRETS", "GRAB_OPS_SECRETS")
"""Settings that another program takes from a run to work beside its own."""

OF_THE_SERVICE: Final = ("GRAB_HOST", "GRAB_PORT", "GRAB_WORKERS", "GRAB_DEV")
"""Settings of the run's own service, for those who look at it."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run that goes on.

    Attributes:
        pid: of the command that holds it together.
        url: where its service listens.
        environments: the variables of each who works with its servers: the API, the ledger, the owner of the tables.
    """

    pid: int
    url: str
    environments: Mapping[str, Mapping[str, str]]


@contextmanager
def remembering(var_dir: Path, url: str, environments: Mapping[str, Mapping[str, str]]) -> Iterator[None]:
    """While this lasts, other commands find this run."""
    path = _path(var_dir)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    new.touch(mode=0o600)
    said = {"pid": os.getpid(), "began": started_at(os.getpid()), "url": url, "environments": environments}
    new.write_text(json.dumps(said), encoding="utf-8")
    new.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def run_here(var_dir: Path) -> Run | None:
    """The run that goes on in this directory, if there is one."""
    try:
        said = json.loads(_path(var_dir).read_text(encoding="utf-8"))
        alive = said["began"] is not None and started_at(said["pid"]) == said["began"]
        return Run(said["pid"], said["url"], said["environments"]) if alive else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def join_run(settings: Settings, who: str = OWNER, names: tuple[str, ...] = SERVERS + OF_THE_SERVICE) -> Run | None:
    """Take what the environment leaves open from the run in this directory: into the environment, where it is read next.

    Servers are taken from there only if neither is named: half of this and half of that would be two different worlds.

    Args:
        settings: those of the environment so far.
        who: whose users of the servers are wanted: `api`, `ledger`, or the owner of the tables.
        names: the variables to take.

    Returns:
        The run that something was taken from.
    """
    if settings.redis_url or settings.database_url:
        return None
    run = run_here(settings.var_dir)
    if run is None:
        return None
    given = run.environments[who]
    if "cell" in settings.model_fields_set and settings.cell != given["GRAB_CELL"]:
        return None
    for name in names:
        # A run of an earlier release names fewer.
        if name in given and name.lower().removeprefix("grab_") not in settings.model_fields_set:
            os.environ[name] = given[name]
    return run


def _path(var_dir: Path) -> Path:
    return var_dir / "run" / "environments.json"
