"""The user that PostgreSQL can run as on this machine.

It refuses to run as root. Where we are root (containers, CI, small machines), it runs in a user namespace, where root outside
is somebody else inside and every file stays reachable; where the system allows no such namespace, as `nobody`.
"""

import os
import pwd
import subprocess
import sys
from pathlib import Path

from grab_service import launch
from grab_service.embedded.errors import CannotRunAsRootError, ForeignDataError
from grab_service.launch import RunAs

_TRY_TIMEOUT_S = 10.0
_TRY = """
import os, runpy, sys
launch = runpy.run_path(sys.argv[1])
try:
    {"user_namespace": launch["enter_user_namespace"], "nobody": launch["drop_to_nobody"]}[sys.argv[2]]()
except OSError as problem:
    sys.exit(str(problem))
sys.exit(os.geteuid() == 0)
"""


def who_may_run_postgres() -> RunAs:
    """Find out by trying, each in a process of its own.

    Raises:
        CannotRunAsRootError: we are root, and neither way is open.
    """
    if os.geteuid() != 0:
        return RunAs.SELF
    problems = []
    for run_as in (RunAs.USER_NAMESPACE, RunAs.NOBODY):
        tried = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _TRY, launch.__file__, run_as],
            capture_output=True, text=True, timeout=_TRY_TIMEOUT_S, check=False,
        )  # fmt: skip
        if tried.returncode == 0:
            return run_as
        problems.append(f"{run_as}: {tried.stderr.strip()}")
    raise CannotRunAsRootError(
        f"PostgreSQL refuses to run as root, and this machine lets us be nobody else ({'; '.join(problems)}).",
        "Run this as an ordinary user, or set DATABASE_URL to a running PostgreSQL.",
    )


def give_to(run_as: RunAs, data_dir: Path) -> None:
    """Make a data directory belong to whom the server runs as, for PostgreSQL insists on it.

    Raises:
        ForeignDataError: it belongs to another user and we may not change that.
    """
    somebody = launch.somebody() if run_as == RunAs.NOBODY else None
    uid, gid = (somebody.pw_uid, somebody.pw_gid) if somebody else (os.geteuid(), os.getegid())
    owner = data_dir.stat().st_uid
    if owner == uid:
        return
    if os.geteuid() != 0:
        raise ForeignDataError(
            f"{data_dir} belongs to {_name_of(owner)}, and we are {_name_of(uid)}.",
            f"Give it over with `sudo chown -R {uid}:{gid} {data_dir}`, or remove it to begin anew.",
        )
    for folder, _, files in os.walk(data_dir):
        for path in (folder, *(os.path.join(folder, name) for name in files)):  # noqa: PTH118 -- os.walk speaks in strings
            os.lchown(path, uid, gid)


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
