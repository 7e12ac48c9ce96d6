"""`python -m tests.mutants.sample`: the share of randomly drawn changes that a test notices.

1. Once, and again with `--record`: the tests run under coverage, which notes which test runs which line.
2. Changes are drawn from the modules that decide, by a seed.
3. For each, the tests that run its line are run on a changed copy of the checkout, the quickest first, until one fails. That
   test is then run on an unchanged copy: if it fails there, too, it has noticed nothing, and the others go on.

Results are kept as they come, in `var/mutants`; the same call goes on where it was cut off.
"""

import argparse
import os
import random
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Final

import orjson
from coverage import CoverageData
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.mutants.changes import Change, changes_of
from tests.mutants.equivalents import EQUIVALENTS
from tests.mutants.laboratory import ROOT, copy_of_the_tree, run_tests

MODULES: Final = (
    "grab_service/grabpath",
    "grab_service/cell",
    "grab_service/audit",
    "grab_service/campaigns",
    "grab_service/claims",
    "grab_service/files",
    "grab_service/health",
    "grab_service/members",
    "grab_service/publishing",
    "grab_service/vocabulary",
    "reconcile",
)
"""Modules that decide."""
TESTS: Final = ("tests/unit", "tests/lua", "tests/integration", "tests/security")
"""Tests whose lines are recorded. Acceptance tests start programs, whose lines are not seen from the test."""
ASKED_AT_LAST: Final = ("tests/unit", "tests/acceptance/test_restart.py", "tests/integration/test_keeping.py")
"""Asked about lines that no recorded test runs: lines run when a module is loaded, or in programs that users start."""
HOME: Final = ROOT / "var" / "mutants"
LINES: Final = HOME / "lines.coverage"
TIMES: Final = HOME / "times.xml"
REACH: Final = 8
AT_ONCE: Final = 40
"""Tests in one run; they share the started servers, and after a failure none of the rest is run."""
CHANGE_TIMEOUT_S: Final = 600.0
EQUIVALENT, SURVIVED, KILLED, HUNG, UNTESTED = "equivalent", "survived", "killed", "hung", "untested"


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a change: `how` is one of the words above, `test` the one that noticed, `why` how it failed."""

    change: Change
    shown: str
    how: str
    test: str = ""
    why: str = ""
    tried: int = 0


def population() -> list[Change]:
    """All changes of the modules that decide, in order."""
    files = sorted(file for module in MODULES for file in (ROOT / module).rglob("*.py") if "migrations" not in file.parts)
    return [change for file in files for change in changes_of(str(file.relative_to(ROOT)), file.read_bytes())]


def draw(changes: Sequence[Change], count: int, seed: int) -> list[Change]:
    """So many of them; each has the same chance, and the same seed draws the same."""
    return random.Random(seed).sample(changes, min(count, len(changes)))


def record() -> None:
    """Run the tests under coverage; a test that fails under it has run its lines all the same."""
    HOME.mkdir(parents=True, exist_ok=True)
    config = HOME / "coverage.ini"
    config.write_text(
        f"[run]\nsource = grab_service, reconcile\nconcurrency = thread, greenlet\ndata_file = {LINES}\n"
        "disable_warnings = no-data-collected, module-not-imported, module-not-measured\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-n", "3", "-p", "no:cacheprovider", *TESTS]
    command += ["--cov", "--cov-context=test", "--cov-report=", f"--cov-config={config}", f"--junitxml={TIMES}"]
    subprocess.run(command, cwd=ROOT, check=False)


class Tests:
    """The tests that run each line, and their durations."""

    def __init__(self) -> None:
        self._data = CoverageData(basename=str(LINES))
        self._data.read()
        self._lines: dict[str, dict[int, list[str]]] = {}
        self._lock = threading.Lock()
        self._seconds: dict[str, float] = {}
        for case in ET.parse(TIMES).getroot().iter("testcase"):
            name = f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}"
            self._seconds[name] = float(case.get("time", 0))

    def of(self, change: Change) -> list[str]:
        """Those that run its line, the quickest first."""
        with self._lock:
            if change.path not in self._lines:
                self._lines[change.path] = self._data.contexts_by_lineno(str(ROOT / change.path))
        lines = self._lines[change.path]
        # A statement over several lines is noted at its first ones. A line that runs when the module is loaded, or in a
        # process of its own, is noted nowhere: then all tests that run anything of the file are asked.
        near = ({*lines.get(line, ())} - {""} for line in range(change.line, change.line - REACH, -1))
        contexts = next(filter(None, near), {context for some in lines.values() for context in some} - {""})
        names = {context.rpartition("|")[0] for context in contexts}
        return sorted(names, key=lambda name: (self._seconds.get(name, 60.0), name))


def judge(change: Change, tests: Sequence[str], tree: Path, clean: Path) -> Result:
    """Run the tests on a tree with this change in it."""
    place = tree / change.path
    source = place.read_bytes()
    shown = change.shown(source)
    recorded = bool(tests)
    tests = tests or ASKED_AT_LAST
    place.write_bytes(change.of(source))
    tried = 0
    try:
        for some in _some(tests):
            try:
                outcome = run_tests(tree, some, timeout_s=CHANGE_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                return Result(change, shown, HUNG, tried=tried)
            tried += outcome.passed + len(outcome.failures)
            if not outcome.failures and outcome.passed + outcome.skipped:
                continue
            if not outcome.failures:  # nothing could be collected: the module does not even load
                return Result(change, shown, KILLED, some[0], outcome.said[-200:], tried)
            failure = outcome.failures[0]
            if _passes(clean, failure.test, some):
                how = HUNG if failure.why.startswith("Failed: Timeout") else KILLED
                return Result(change, shown, how, failure.test, failure.why[:300], tried)
    finally:
        place.write_bytes(source)
    return Result(change, shown, SURVIVED if recorded else UNTESTED, tried=tried)


def _passes(clean: Path, test: str, some: Sequence[str]) -> bool:
    """Whether the unchanged tree passes the test; `test` is as `Failure` names it, `some` are those that it is among."""
    module, _, name = test.partition("::")
    named = [one for one in some if one.partition("::")[2] == name]
    named = named or [f"{one.partition('::')[0]}::{name}" for one in some if Path(one.partition("::")[0]).stem == module]
    try:
        return not run_tests(clean, named or some, timeout_s=CHANGE_TIMEOUT_S).failures
    except subprocess.TimeoutExpired:
        return False


def _some(tests: Sequence[str]) -> Iterator[Sequence[str]]:
    """A few first, for most changes are noticed at once."""
    yield tests[:5]
    for begin in range(5, len(tests), AT_ONCE):
        yield tests[begin : begin + AT_ONCE]


def run(changes: Sequence[Change], kept: Path, workers: int) -> list[Result]:
    """Judge them all, some at once; those that `kept` knows already are not judged again."""
    known = {line["key"]: line for line in map(orjson.loads, kept.read_bytes().splitlines())} if kept.exists() else {}
    tests, lock, trees = Tests(), threading.Lock(), SimpleQueue[tuple[Path, Path]]()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)

    def one(change: Change) -> Result:
        source = (ROOT / change.path).read_bytes()
        key = f"{change.path}:{change.begin}:{change.end}:{change.instead}"
        if key in known:
            line = known[key]
            return Result(change, change.shown(source), line["how"], line["test"], line["why"], line["tried"])
        tree, clean = trees.get()
        try:
            result = judge(change, tests.of(change), tree, clean)
        finally:
            trees.put((tree, clean))
        with lock, kept.open("ab") as file:
            file.write(orjson.dumps({"key": key, **asdict(result)}) + b"\n")
        if result.how != KILLED:
            console.print(f"{result.how}: {change.path}:{change.line}\n{result.shown}", markup=False, highlight=False)
        return result

    with ExitStack() as stack, Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        for _ in range(workers):
            trees.put((stack.enter_context(copy_of_the_tree()), stack.enter_context(copy_of_the_tree())))
        pool = stack.enter_context(ThreadPoolExecutor(workers))
        return [_known_as_equivalent(one) for one in progress.track(pool.map(one, changes), total=len(changes))]


def _known_as_equivalent(result: Result) -> Result:
    reason = EQUIVALENTS.get((result.change.path, result.shown))
    if reason is None or result.how == KILLED:
        return result
    return Result(result.change, result.shown, EQUIVALENT, why=reason, tried=result.tried)


def show(results: Sequence[Result], seed: int, of: int) -> int:
    """Print what became of them; how many are neither noticed nor known as equivalent."""
    console = Console(width=150)
    table = Table("where", "change", "outcome", "by", box=None, show_lines=True)
    for result in sorted(results, key=lambda one: (one.how == KILLED, one.change)):
        by = result.test or result.why
        table.add_row(f"{result.change.path}:{result.change.line}", result.shown, result.how, by.partition("[")[0])
    console.print(table, markup=False)
    counts = {how: sum(one.how == how for one in results) for how in (KILLED, HUNG, EQUIVALENT, SURVIVED, UNTESTED)}
    said = ", ".join(f"{count} {how}" for how, count in counts.items())
    console.print(f"{len(results)} of {of:,} changes, drawn with seed {seed}: {said}.")
    return counts[SURVIVED] + counts[UNTESTED]


def main() -> None:
    """Draw, try, show; the exit status is 1 if more than one of twenty was not noticed."""
    parser = argparse.ArgumentParser(prog="make sample", description="Changes drawn by chance: does a test notice?")
    parser.add_argument("--count", type=int, default=100, help="how many are drawn (100)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed draws the same changes (1)")
    parser.add_argument("--record", action="store_true", help="record anew which test runs which line, about ten minutes")
    parser.add_argument("--workers", type=int, default=2, help="changes tried at once (2)")
    parser.add_argument("--list", action="store_true", help="show what would be drawn, and try nothing")
    given = parser.parse_args()
    os.chdir(ROOT)
    changes = population()
    drawn = draw(changes, given.count, given.seed)
    if given.list:
        for change in drawn:
            print(f"{change.path}:{change.line} {change.kind}\n{change.shown((ROOT / change.path).read_bytes())}")  # noqa: T201
        return
    if given.record or not LINES.exists():
        record()
    results = run(drawn, HOME / f"sample-{given.seed}.jsonl", given.workers)
    missed = show(results, given.seed, len(changes))
    sys.exit(missed * 20 > len(results))


if __name__ == "__main__":
    main()
