"""The start of a child process: its user, and the parent with which it ends.

This file is run by its path as a program of its own, between the parent's fork and the server's exec, and needs nothing but
the standard library. A program in between, and not a function run after fork, because code between fork and exec of a threaded
parent may deadlock. It keeps its process id through exec, so the pid file it writes is the server's.

The order matters: a process that changes its identity loses its parent-death signal (the kernel clears it), so that is set
last, and then the parent is looked for once more.
"""

import ctypes
import json
import os
import platform
import pwd
import signal
import subprocess
import sys
from enum import StrEnum
from pathlib import Path
from typing import NoReturn, TypedDict

LAUNCH_FAILED = 125
"""Exit status when the child never became the server."""

_CLONE_NEWUSER = 0x10000000
_PR_SET_PDEATHSIG = 1
_PR_SET_KEEPCAPS = 8
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAP_DAC_OVERRIDE = 1
_CAPABILITY_VERSION_3 = 0x20080522


class RunAs(StrEnum):
    """As whom a server runs."""

    SELF = "self"
    USER_NAMESPACE = "user_namespace"  # root outside, somebody else in its own eyes
    NOBODY = "nobody"


class Order(TypedDict):
    """The parent's order to this program, as JSON in its only argument."""

    argv: list[str]
    parent_pid: int
    death_signal: int
    pid_path: str | None
    run_as: str


def started_at(pid: int) -> str | None:
    """Start time of the process with this id, as a text fit for comparison only; None if it is dead, reaped or not."""
    if platform.system() == "Linux":
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        except OSError:
            return None
        state, *fields = stat.rpartition(")")[2].split()
        return None if state in {"Z", "X"} else fields[18]
    shown = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)  # noqa: S607 -- ps stands elsewhere on every system
    state, _, began = shown.stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else began.strip()


def somebody() -> pwd.struct_passwd | None:
    """The user to be instead of root: it needs a name, for PostgreSQL looks itself up."""
    others = [entry for entry in pwd.getpwall() if entry.pw_uid != 0]
    return next((entry for entry in others if entry.pw_name == "nobody"), others[0] if others else None)


def write_pid_file(path: Path, pid: int) -> None:
    """Write process id and start time so that a reader sees all of it or nothing."""
    new = path.with_name(path.name + ".new")
    new.write_text(f"{pid} {started_at(pid)}\n", encoding="ascii")
    new.replace(path)


def enter_user_namespace() -> None:
    """Be somebody else in one's own eyes: the kernel still checks files as before, but geteuid() is not 0 any more."""
    uid, gid, other = os.geteuid(), os.getegid(), somebody()
    if other is None:
        raise OSError("no user but root in the list of users")
    _call("unshare", _CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"{other.pw_uid} {uid} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"{other.pw_gid} {gid} 1", encoding="ascii")


def drop_to_nobody() -> None:
    """Become another user for good.

    It keeps the one right to pass closed doors, if root had it here: programs and data may lie under /root, where nobody else
    gets.
    """
    other = somebody()
    if other is None:
        raise OSError("no user but root in the list of users")
    _call("prctl", _PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setgid(other.pw_gid)
    os.setuid(other.pw_uid)
    try:
        _keep_capabilities(1 << _CAP_DAC_OVERRIDE)
        _call("prctl", _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_OVERRIDE, 0, 0)
    except PermissionError:
        _keep_capabilities(0)


def die_with(parent_pid: int, death_signal: int) -> None:
    """Ask for a signal at the parent's death (Linux; the death of the thread that forked), or end now if it is dead."""
    if platform.system() == "Linux":
        _call("prctl", _PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent_pid:
        raise OSError(f"the parent, process {parent_pid}, is gone")


def become(order: Order) -> NoReturn:
    """Turn this process into the server."""
    if order["pid_path"] is not None:
        write_pid_file(Path(order["pid_path"]), os.getpid())
    if order["run_as"] == RunAs.USER_NAMESPACE:
        enter_user_namespace()
    elif order["run_as"] == RunAs.NOBODY:
        drop_to_nobody()
    # Python ignores these for itself, and ignored signals stay so through exec.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    die_with(order["parent_pid"], order["death_signal"])
    os.execv(order["argv"][0], order["argv"])  # noqa: S606 -- no shell is wanted


def _keep_capabilities(mask: int) -> None:
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    # (effective, permitted, inheritable), for the lower and the upper 32 capabilities
    data = (ctypes.c_uint32 * 6)(mask, mask, mask, 0, 0, 0)
    _call("capset", header, data)


def _call(function: str, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, function)(*arguments) != 0:
        errno = ctypes.get_errno()
        raise OSError(errno, f"{function}: {os.strerror(errno)}")


def main() -> int:
    """Run the order in the only argument, or a command that ends with its caller; return only if that failed."""
    try:
        if sys.argv[1] == "with-parent":
            die_with(os.getppid(), signal.SIGTERM)
            os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606 -- no shell is wanted
        become(json.loads(sys.argv[1]))
    except OSError as problem:
        sys.stderr.write(f"launch: {problem}\n")
        return LAUNCH_FAILED


if __name__ == "__main__":
    sys.exit(main())
