"""How does a fresh checkout become something that runs?

Run by its path with any Python >= 3.11, before anything is installed: `python bootstrap.py run` or `dev` makes `.venv` from the
hashed lock of that name, `clean` takes away what this and the runs have made. The standard library is all it may use.

The checkout itself is not installed but named in a .pth file: that needs no build tool, and what is edited is what runs.
"""

import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
PYTHON_MIN = (3, 11)
FREE_BYTES_MIN = 1024**3
COVERED_BY = {"run": ("run", "dev"), "dev": ("dev",)}
"""Which locks hold all that a lock holds: whoever can test can also run."""

MADE = ("var", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis", ".import_linter_cache", "dist", ".venv")
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
        "No matching distribution|Could not find a version",
        "The package index has no ready-made package for this Python and machine.",
        "Try another Python, as in `make demo PYTHON=python3.12`, or an index that is up to date (`pip config list`).",
    ),
    (
        "NewConnectionError|Temporary failure in name resolution|ProxyError|ConnectTimeout|Network is unreachable",
        "The package index cannot be reached.",
        "Check the network; behind a proxy set HTTPS_PROXY, for a mirror set PIP_INDEX_URL.",
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
    venv = CHECKOUT / ".venv"
    python = venv / "bin" / "python"
    works = Path(sys.prefix) == venv or _works(python)
    if works and any(
        _stamp(venv, name).is_file() and _stamp(venv, name).read_text() == _key(name) for name in COVERED_BY[profile]
    ):
        return
    check_machine()
    with _only_one("bootstrap.lock", "Another `make` is setting up this checkout. Wait for it."):
        # pip takes a package for installed of which a killed run has left a half.
        killed_half_way = venv / ".installing"
        if not works or killed_half_way.exists():
            maker = getattr(sys, "_base_executable", sys.executable)  # not the Python in `.venv`, which is cleared
            say(f"Making .venv with Python {sys.version.split()[0]} ({maker})")
            _run([maker, "-I", "-m", "venv", "--clear", str(venv)])
        for name in COVERED_BY:
            _stamp(venv, name).unlink(missing_ok=True)
        killed_half_way.touch()
        _install(python, CHECKOUT / "requirements" / f"{profile}.lock")
        _point_to_checkout(venv, python)
        _stamp(venv, profile).write_text(_key(profile))
        killed_half_way.unlink()


def clean() -> None:
    """Take away what was made here: environment, caches, and the servers' data.

    Raises:
        SetupError: a run is using the data.
    """
    if (CHECKOUT / "var").is_dir():
        with _only_one("lock", "Something is running on var/. End it first (Ctrl-C in its terminal)."):
            pass
    for name in MADE:
        shutil.rmtree(CHECKOUT / name, ignore_errors=True)


def say(text: str) -> None:
    """Tell whoever waits what is going on."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _install(python: Path, lock: Path) -> None:
    wanted = len(re.findall(r"^[\w.-]+==", lock.read_text(encoding="utf-8"), re.MULTILINE))
    say(f"Installing what {lock.relative_to(CHECKOUT)} names, at most {wanted} packages; the first time takes a minute or two")
    pip = [str(python), "-I", "-m", "pip", "install", "--no-input", "--progress-bar=off", "--require-hashes", "-r", str(lock)]
    environment = os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    said: list[str] = []
    with subprocess.Popen(pip, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment) as running:
        assert running.stdout is not None
        collected = 0
        for line in running.stdout:
            said = [*said[-SAID_LINES_MAX:], line.rstrip()]
            if line.startswith("Collecting "):
                collected += 1
                if collected % 10 == 0:
                    say(f"  {collected} packages ...")
            elif line.startswith("Installing collected"):
                say("  unpacking ...")
    if running.returncode != 0:
        text = "\n".join(said)
        for pattern, what, mend in WHY_PIP_FAILED:
            if re.search(pattern, text):
                raise SetupError(f"{text}\n\n{what} {mend}")
        raise SetupError(f"{text}\n\npip could not install {lock.name}; its last words are above.")


def _point_to_checkout(venv: Path, python: Path) -> None:
    (site_packages,) = venv.glob("lib/python3*/site-packages")
    # Relative, so that it holds wherever the checkout is moved and whatever letters its path has.
    (site_packages / "grab_service_checkout.pth").write_text(os.path.relpath(CHECKOUT, site_packages) + "\n", encoding="ascii")
    grab = venv / "bin" / "grab"
    grab.write_text(GRAB.format(python=python), encoding="utf-8")
    grab.chmod(0o755)


def _works(python: Path) -> bool:
    """Whether `.venv` is whole and of the version that was asked for; what an interrupted run leaves has no pip."""
    question = f"import pip, sys; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})"
    try:
        return subprocess.run([python, "-I", "-c", question], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _run(command: list[str]) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        raise SetupError(f"{done.stdout.strip()}\n`{' '.join(command)}` failed; its words are above.")


def _stamp(venv: Path, profile: str) -> Path:
    return venv / f".installed-{profile}"


def _key(profile: str) -> str:
    """What an installation depends on: the lock, this file, and where the checkout is."""
    lock = CHECKOUT / "requirements" / f"{profile}.lock"
    return hashlib.sha256(lock.read_bytes() + Path(__file__).read_bytes() + os.fsencode(CHECKOUT)).hexdigest()


@contextmanager
def _only_one(name: str, refusal: str) -> Iterator[None]:
    (CHECKOUT / "var").mkdir(mode=0o700, exist_ok=True)
    with (CHECKOUT / "var" / name).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as problem:
            raise SetupError(refusal) from problem
        yield


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
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
