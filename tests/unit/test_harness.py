"""Does the suite run the same however it is started, and beside what else?"""

import subprocess
import sys
from pathlib import Path

from tests.harness.order import LONGEST
from tests.harness.signals import NOT_INHERITED

CHECKOUT = Path(__file__).parents[2]
ASK = f"import signal; print(*(signal.getsignal(number) is signal.SIG_IGN for number in {[*map(int, NOT_INHERITED)]}))"


def test_a_program_that_a_test_starts_hears_the_signals_of_a_terminal() -> None:
    said = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["False"] * len(NOT_INHERITED)


def test_so_it_does_where_the_run_itself_ignores_them_as_under_nohup() -> None:
    this = (
        f"{Path(__file__).relative_to(CHECKOUT)}::{test_a_program_that_a_test_starts_hears_the_signals_of_a_terminal.__name__}"
    )
    ignoring = ["sh", "-c", 'trap "" INT HUP QUIT; exec "$@"', "sh"]
    inner = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", this]
    done = subprocess.run([*ignoring, *inner], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


def test_a_run_that_ignores_a_hang_up_is_not_ended_by_one() -> None:
    code = (
        "import os, signal; from tests.harness import signals\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN); signals.pytest_configure(); os.kill(os.getpid(), signal.SIGHUP)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, check=False).returncode == 0


def test_the_longest_tests_that_come_first_are_there() -> None:
    for name in LONGEST:
        path, _, function = name.partition("::")
        assert f"def {function}(" in (CHECKOUT / path).read_text(encoding="utf-8"), name
