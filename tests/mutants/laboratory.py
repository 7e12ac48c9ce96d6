"""Runs of tests on a tree with one fault in it: a copy of the checkout, and a process of their own."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
TREE: Final = ("grab_service", "reconcile", "lua", "loadtest", "bench", "tests", "tools", "pyproject.toml")
WITH_PARENT: Final = ROOT / "grab_service/launch.py"
TEST_TIMEOUT_S: Final = 90
NOT_AN_ANSWER: Final = (
    "ImportError",
    "ModuleNotFoundError",
    "SyntaxError",
    "NameError",
    "AttributeError",
    "TypeError",
    "Failed: Timeout",
)
"""A test that ends so has not judged: the mutant is broken, or nobody waited for the end; it is not found."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A test that failed, and how; `is_answer` is false where it broke rather than judged."""

    test: str
    why: str
    is_answer: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of some tests."""

    failures: tuple[Failure, ...]
    passed: int
    skipped: int
    said: str


@contextmanager
def copy_of_the_tree() -> Iterator[Path]:
    """A checkout of one's own, as far as tests need it."""
    with tempfile.TemporaryDirectory(prefix="grab-mutant-", ignore_cleanup_errors=True) as folder:
        tree = Path(folder)
        for name in TREE:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(ROOT / name, tree / name)
        yield tree


def run_tests(tree: Path, tests: Sequence[str], *, timeout_s: float, stop_at_first: bool = True) -> Outcome:
    """Run tests of that tree, each at most `TEST_TIMEOUT_S`, all at most `timeout_s`.

    Raises:
        subprocess.TimeoutExpired: not done by then; everything it started is ended.
    """
    report = tree / "junit.xml"
    # Ends when this process does, even if it is killed.
    command = [sys.executable, "-I", str(WITH_PARENT), "with-parent"]
    command += [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider"]
    command += [f"--timeout={TEST_TIMEOUT_S}", f"--junitxml={report}", *(["-x"] if stop_at_first else []), *tests]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GRAB_", "PYTEST_"))}
    environment = kept | {"PYTHONPATH": str(tree), "GRAB_FAULT_ROUNDS": "1", "GRAB_FAULT_SEED": "1"}
    process = subprocess.Popen(
        command,
        cwd=tree,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=timeout_s)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    if not report.exists():
        return Outcome((), 0, 0, said)
    return _read(report, said)


def _read(report: Path, said: str) -> Outcome:
    failures: list[Failure] = []
    passed = skipped = 0
    for case in ET.parse(report).getroot().iter("testcase"):
        name = f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"
        wrong = case.find("failure")
        broken = case.find("error")
        if wrong is not None:
            why = wrong.get("message") or ""
            failures.append(Failure(name, why, is_answer=not why.startswith(NOT_AN_ANSWER)))
        elif broken is not None:
            failures.append(Failure(name, broken.get("message") or "", is_answer=False))
        elif case.find("skipped") is not None:
            skipped += 1
        else:
            passed += 1
    return Outcome(tuple(failures), passed, skipped, said)
