"""Set-up of a fresh checkout, until it runs.

Run by its path with any Python >= 3.11, before anything is installed: `python bootstrap.py run` or `dev` makes `.venv` from the
hashed lock of that name, `clean` takes away what this and the runs have made. The standard library is all it may use.

The checkout itself is not installed but named in a .pth file: that needs no build tool, and edits take effect at once.
"""

import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

CHECKOUT = Path(__file__).resolve().parents[2]
PYTHON_MIN = (3, 11)
FREE_BYTES_MIN = 1024**3
WAIT_MAX_S = 1800.0
"""For the set-up of another `make`; a slow network takes its time."""

POLL_S = 0.2
OF_THIS_MACHINE = "127.0.0.1,localhost,::1"
"""An index here is asked directly, whatever the environment says of proxies."""

COVERED_BY = {"run": ("run", "dev"), "dev": ("dev",)}
"""For each lock, the locks that contain it: an environment that can test can also run."""

CACHES = (".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis", ".import_linter_cache")
MADE = (*CACHES, "dist", ".venv.old", ".venv", "var")  # the last holds the locks
ANOTHER = "Another `make` is setting up this checkout."
SAID_LINES_MAX = 30

# Quoted this way, it also works where the path has blanks or is longer than the kernel reads from a first line. The workers of
# `grab serve` are spawned and import the script again, so importing it does nothing.
GRAB = """#!/bin/sh
'''exec' "{python}" "$0" "$@"
' '''
import sys

from grab_service.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
"""

WHY_PIP_FAILED = (
    (
        "No space left on device",
        "The disk is full, here or where temporary files go.",
        "Make room, or set TMPDIR to a larger disk.",
    ),
    ("DO NOT MATCH THE HASHES", "A package is not the one that was locked.", "Look at what stands between you and the index."),
    (
        "Missing dependencies for SOCKS support",
        "pip does not speak SOCKS, and ALL_PROXY names such a proxy.",
        "Set HTTPS_PROXY to a proxy that speaks HTTP, or unset ALL_PROXY and all_proxy.",
    ),
    # Before what pip concludes from it: that there is no such package.
    (
        "connection broken by|NewConnectionError|Temporary failure in name resolution|ProxyError|Timeout",
        "The package index cannot be reached.",
        "Check the network; behind a proxy set HTTPS_PROXY, for a mirror set PIP_INDEX_URL.",
    ),
    (
        "No matching distribution|Could not find a version",
        "The package index has no ready-made package for this Python and machine.",
        "Try another Python, as in `make demo PYTHON=python3.12`, or an index that is up to date (`pip config list`).",
    ),
)


class SetupError(Exception):
    """Something the machine lacks; the text says what, and how to mend it."""


def check_machine(free_bytes_min: int = FREE_BYTES_MIN) -> None:
    """See that a virtual environment can be made here.

    Raises:
        SetupError: Python is too old, lacks `venv`, or the disk is full.
    """
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < PYTHON_MIN:
        raise SetupError(
            f"Python >= 3.11 is needed, and {sys.executable} is {found}. "
            "Install a newer one and name it, as in `make demo PYTHON=python3.12`."
        )
    if not all(importlib.util.find_spec(module) for module in ("venv", "ensurepip")):
        raise SetupError(
            f"Python {found} at {sys.executable} comes without the modules `venv` and `ensurepip`. "
            f"On Debian and Ubuntu: `apt install python3-venv` (or python{found.rpartition('.')[0]}-venv)."
        )
    free_bytes = shutil.disk_usage(CHECKOUT).free
    if free_bytes < free_bytes_min:
        raise SetupError(
            f"{CHECKOUT} has {free_bytes // 1024**2} MiB of disk free, "
            f"and {free_bytes_min // 1024**2} MiB are needed. Make room."
        )


def prepare(profile: str) -> None:
    """Bring `.venv` to what the lock of this profile says; do nothing if it is there already.

    Raises:
        SetupError: it cannot be done, and how to mend that.
    """
    if _is_prepared(profile):
        return
    check_machine()
    with _only_one("bootstrap.lock", ANOTHER, wait_s=WAIT_MAX_S) as lock:
        if _is_prepared(profile):
            return  # by whom we waited for
        venv = CHECKOUT / ".venv"
        python = venv / "bin" / "python"
        # Stands there as long as `.venv` is not whole: pip takes a package for installed of which a killed run has left a half.
        unfinished = venv / ".installing"
        if unfinished.exists() or not _works(python):
            maker = getattr(sys, "_base_executable", sys.executable)  # not the Python in `.venv`, which is cleared
            say(f"Making .venv with Python {sys.version.split()[0]} ({maker})")
            _put_aside(venv)
            venv.mkdir()
            unfinished.touch()
            _run([maker, "-I", "-m", "venv", str(venv)], lock)
        for name in COVERED_BY:
            _stamp(venv, name).unlink(missing_ok=True)
        unfinished.touch()
        _install(python, CHECKOUT / "requirements" / f"{profile}.lock", lock)
        _point_to_checkout(venv, python)
        _stamp(venv, profile).write_text(_key(profile))
        unfinished.unlink()


def clean() -> None:
    """Take away what was made here: environment, caches, and the servers' data.

    Raises:
        SetupError: a run is using the data, or `.venv` is being made.
    """
    running = "Something is running on var/. End it first (Ctrl-C in its terminal)."
    with _only_one("bootstrap.lock", f"{ANOTHER} Wait for it, or end it."), _only_one("lock", running):
        for name in MADE:
            shutil.rmtree(CHECKOUT / name, ignore_errors=True)


def say(text: str) -> None:
    """Print the progress for the user who waits."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _is_prepared(profile: str) -> bool:
    venv = CHECKOUT / ".venv"
    return (
        any(_stamp(venv, name).is_file() and _stamp(venv, name).read_text() == _key(name) for name in COVERED_BY[profile])
        and not (venv / ".installing").exists()
        and _works(venv / "bin" / "python")
    )


def _put_aside(venv: Path) -> None:
    """Take it away; cut off half-way, no half of it is left in its place."""
    old = venv.with_name(venv.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if venv.exists():
        venv.rename(old)
        shutil.rmtree(old, ignore_errors=True)


def _install(python: Path, names: Path, lock: IO[str]) -> None:
    wanted = len(re.findall(r"^[\w.-]+==", names.read_text(encoding="utf-8"), re.MULTILINE))
    say(f"Installing what {names.relative_to(CHECKOUT)} names, at most {wanted} packages; the first time takes a minute or two")
    pip = [str(python), "-I", "-m", "pip", "install", "--no-input", "--progress-bar=off", "--require-hashes", "-r", str(names)]
    directly = ",".join(filter(None, (os.environ.get("no_proxy") or os.environ.get("NO_PROXY"), OF_THIS_MACHINE)))
    environment = os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "no_proxy": directly}
    said: list[str] = []
    with subprocess.Popen(
        pip, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, pass_fds=(lock.fileno(),)
    ) as running:
        assert running.stdout is not None
        collected = 0
        cut_off = False
        for line in running.stdout:
            said = [*said[-SAID_LINES_MAX:], line.rstrip()]
            if line.startswith("Collecting "):
                collected += 1
                if collected % 10 == 0:
                    say(f"  {collected} packages ...")
            elif line.startswith("Installing collected"):
                say("  unpacking ...")
            elif "Retrying (" in line and not cut_off:
                cut_off = True
                say("  the package index does not answer; pip tries a few times more ...")
    if running.returncode != 0:
        text = "\n".join(said)
        for pattern, what, hint in WHY_PIP_FAILED:
            if re.search(pattern, text):
                raise SetupError(f"{text}\n\n{what} {hint}")
        raise SetupError(f"{text}\n\npip could not install {names.name}; its last words are above.")


def _point_to_checkout(venv: Path, python: Path) -> None:
    (site_packages,) = venv.glob("lib/python3*/site-packages")
    # Relative, so that it holds wherever the checkout is moved and whatever letters its path has.
    (site_packages / "grab_service_checkout.pth").write_text(os.path.relpath(CHECKOUT, site_packages) + "\n", encoding="ascii")
    grab = venv / "bin" / "grab"
    grab.write_text(GRAB.format(python=python), encoding="utf-8")
    grab.chmod(0o755)


def _works(python: Path) -> bool:
    """Whether this is a Python with pip, of the version that was asked for; half an environment has none."""
    if Path(sys.prefix) == python.parents[1]:
        return importlib.util.find_spec("pip") is not None
    question = f"import pip, sys; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})"
    try:
        return subprocess.run([python, "-I", "-c", question], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _run(command: list[str], lock: IO[str]) -> None:
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, pass_fds=(lock.fileno(),)
    )
    if done.returncode != 0:
        raise SetupError(f"{done.stdout.strip()}\n`{' '.join(command)}` failed; its words are above.")


def _stamp(venv: Path, profile: str) -> Path:
    return venv / f".installed-{profile}"


def _key(profile: str) -> str:
    """The inputs of an installation: the lock, this file, and the place of the checkout."""
    lock = CHECKOUT / "requirements" / f"{profile}.lock"
    return hashlib.sha256(lock.read_bytes() + Path(__file__).read_bytes() + os.fsencode(CHECKOUT)).hexdigest()


@contextmanager
def _only_one(name: str, refusal: str, wait_s: float = 0.0) -> Iterator[IO[str]]:
    """Hold a lock under `var/`; children that are given the file hold it, too, if we are killed.

    Raises:
        SetupError: another holds it, and still does after the wait.
    """
    path = CHECKOUT / "var" / name
    until_s = time.monotonic() + wait_s
    waiting = False
    while True:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with path.open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as problem:
                if time.monotonic() >= until_s:
                    raise SetupError(refusal) from problem
                if not waiting:
                    say(f"{refusal} Waiting for it ...")
                waiting = True
                time.sleep(POLL_S)
                continue
            if _is_still_there(path, lock):
                yield lock
                return


def _is_still_there(path: Path, lock: IO[str]) -> bool:
    """Whether this is the file that others will open; `make clean` takes the one that we waited for away."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(lock.fileno()), path.stat())
    return False


def main(arguments: list[str]) -> int:
    """Do what the only argument says."""
    try:
        if arguments == ["clean"]:
            clean()
        elif len(arguments) == 1 and arguments[0] in COVERED_BY:
            prepare(arguments[0])
        else:
            sys.stderr.write("bootstrap.py run | dev | clean\n")
            return 2
    except (SetupError, OSError) as problem:
        sys.stderr.write(f"\n{problem}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped. The next call makes whole what is not.\n")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
