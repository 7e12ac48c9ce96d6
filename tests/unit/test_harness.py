"""The suite runs the same, however it is started and beside whatever else."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from grab_service.embedded import child
from tests.harness import warm_commands
from tests.harness.command_line import GRAB, RECONCILE, CommandLine, environment, run_command
from tests.harness.order import LONGEST
from tests.harness.pace import before_a_timer, slowness
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


def test_programs_that_tests_start_are_without_the_fast_lane_if_the_run_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GRAB_FAST_LANE", raising=False)
    assert "GRAB_FAST_LANE" not in CommandLine(tmp_path).env
    monkeypatch.setenv("GRAB_FAST_LANE", "0")
    for inherited in (CommandLine(tmp_path).env, child.environment(os.environ)):
        assert inherited["GRAB_FAST_LANE"] == "0"


@pytest.mark.parametrize(
    ("module", "arguments", "status", "word"),
    [
        (GRAB, ("--version",), 0, "."),
        (GRAB, ("campaign", "list"), 1, "REDIS_URL"),
        (GRAB, ("campaign", "lsit"), 2, "lsit"),
        (GRAB, ("passes", "mint", "-"), 0, "m-1"),
        (RECONCILE, ("drain-once",), 2, "DATABASE_URL"),
        (GRAB, ("members", "generate", "--members", "5", "--orgs", "2", "--out", "-"), 0, "unions"),
    ],
)
async def test_a_command_in_a_fork_says_what_it_says_in_a_process_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, arguments: tuple[str, ...], status: int, word: str
) -> None:
    env = environment() | {"GRAB_SECRETS": "k1:a secret of tests which is long enough"}
    forked = await run_command(module, arguments, tmp_path, env, "m-1\n")
    monkeypatch.setattr(warm_commands, "fits", lambda _: False)
    started = await run_command(module, arguments, tmp_path, env, "m-1\n")
    assert forked.status == status
    assert word in forked.out + forked.err
    if "mint" not in arguments:  # a pass holds the time at which it ends
        assert forked == started


async def test_a_command_that_crashes_in_a_fork_shows_where(tmp_path: Path) -> None:
    said = await run_command("tests.harness.order", (), tmp_path, environment())
    assert said.status == 1
    assert "has no attribute 'main'" in said.err


def test_what_a_library_reads_at_its_start_takes_a_process_of_its_own() -> None:
    assert warm_commands.fits(environment())
    assert not warm_commands.fits(environment() | {"PYTHONIOENCODING": "ascii"})
    assert not warm_commands.fits(environment() | {"PROMETHEUS_MULTIPROC_DIR": "/tmp"})
    assert not warm_commands.fits(environment() | {"LC_ALL": "C"})


def test_the_longest_tests_that_come_first_are_there() -> None:
    for name in LONGEST:
        path, _, function = name.partition("::")
        assert f"def {function}(" in (CHECKOUT / path).read_text(encoding="utf-8"), name


def test_what_a_module_sets_up_is_set_up_by_one_worker(tmp_path: Path) -> None:
    """Two modules, two workers: no module is with both of them."""
    for name in ("one", "two"):
        (tmp_path / f"test_{name}.py").write_text(
            "import os, pathlib, pytest\n"
            "@pytest.mark.parametrize('number', range(9))\n"
            "def test_it(number, pytestconfig):\n"
            f"    with pathlib.Path(__file__).with_name('{name}').open('a') as seen:\n"
            "        seen.write(os.environ['PYTEST_XDIST_WORKER'] + chr(10))\n"
        )
    (tmp_path / "conftest.py").write_text("from tests.conftest import pytest_configure\n")
    run = [sys.executable, "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [*run, "--import-mode=importlib"],
        cwd=tmp_path,
        env={**env, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "18 passed" in done.stdout, done.stdout
    for name in ("one", "two"):
        seen = (tmp_path / name).read_text().split()
        assert (len(seen), len(set(seen))) == (9, 1), seen


async def test_work_that_is_late_is_told_from_a_loop_that_stood_still() -> None:
    async def stands_still() -> str:
        await asyncio.sleep(0.01)
        time.sleep(0.1)  # noqa: ASYNC251 -- as a machine does that is busy with something else
        return "done"

    assert await before_a_timer(0.05, stands_still()) == "done"
    with pytest.raises(AssertionError, match="not done"):
        await before_a_timer(0.05, asyncio.sleep(0.5))


def test_a_busy_machine_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (3.0 * (os.cpu_count() or 1), 0.0, 0.0))
    assert slowness() >= 3
