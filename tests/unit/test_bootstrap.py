"""A fresh checkout sets itself up, or names what it lacks."""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from grab_service.embedded import bootstrap
from grab_service.embedded.bootstrap import SetupError

CHECKOUT = Path(__file__).parents[2]


def test_it_needs_nothing_but_the_standard_library() -> None:
    asked = subprocess.run([sys.executable, "-I", "-S", bootstrap.__file__], capture_output=True, text=True, check=False)
    assert (asked.returncode, asked.stderr) == (2, "bootstrap.py run | dev | clean\n")


def test_an_old_python_is_refused_by_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 4, "final", 0))
    with pytest.raises(SetupError, match=r"Python >= 3\.11 is needed, and .* is 3\.10\.4.*PYTHON="):
        bootstrap.check_machine()


@pytest.mark.parametrize("missing", ["venv", "ensurepip"])
def test_a_python_without_venv_names_the_package_that_brings_it(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == missing else object())
    with pytest.raises(SetupError, match=r"apt install python3-venv"):
        bootstrap.check_machine()


def test_a_full_disk_is_said_before_anything_is_written() -> None:
    bootstrap.check_machine(free_bytes_min=1)
    with pytest.raises(SetupError, match=r"MiB of disk free, and 1099511627776 MiB are needed"):
        bootstrap.check_machine(free_bytes_min=1 << 60)


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "TMPDIR"),
        ("ERROR: No matching distribution found for uvloop==0.23.0", "PYTHON="),
        ("WARNING: Retrying after connection broken by 'NewConnectionError(...)'", "PIP_INDEX_URL"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", "between you and the index"),
        ("ERROR: Could not install packages due to an OSError: Missing dependencies for SOCKS support.", "unset ALL_PROXY"),
        ("ERROR: something new", "last words"),
    ],
)
def test_what_pip_says_is_shown_with_how_to_mend_it(tmp_path: Path, said: str, hint: str) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "{said}"\nexit 1\n')
    python.chmod(0o755)
    with pytest.raises(SetupError) as failed, (tmp_path / "lock").open("a") as lock:
        bootstrap._install(python, CHECKOUT / "requirements" / "run.lock", lock)
    assert said in str(failed.value)
    assert hint in str(failed.value)


def test_the_checkout_is_found_and_grab_runs_where_the_path_has_blanks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "CHECKOUT", tmp_path / "a checkout 仓")
    monkeypatch.delenv("PYTHONPATH", raising=False)  # a checkout that the tests of mutants name would be found first
    venv = bootstrap.CHECKOUT / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    (bootstrap.CHECKOUT / "grab_service" / "cli").mkdir(parents=True)
    (bootstrap.CHECKOUT / "grab_service" / "cli" / "main.py").write_text("main = lambda: print('it is', __file__)\n")
    bootstrap._point_to_checkout(venv, venv / "bin" / "python")
    ran = subprocess.run([venv / "bin" / "grab"], capture_output=True, text=True, check=True, cwd="/")
    assert ran.stdout == f"it is {bootstrap.CHECKOUT}/grab_service/cli/main.py\n"
    # The workers that `grab serve` spawns import the script by this name.
    imported = f"import runpy; runpy.run_path({str(venv / 'bin' / 'grab')!r}, run_name='__mp_main__')"
    ran = subprocess.run([venv / "bin" / "python", "-c", imported], capture_output=True, text=True, check=True, cwd="/")
    assert ran.stdout == ""


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Path]:
    """One whose locks name a single package, which an index on this machine has."""
    home = tmp_path / "checkout"
    (home / "grab_service/embedded").mkdir(parents=True)
    shutil.copy(bootstrap.__file__, home / "grab_service/embedded")
    (home / "packages").mkdir()
    wheel = home / "packages/tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny.py", "")
        archive.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("tiny-1.0.dist-info/RECORD", "")
    (home / "requirements").mkdir()
    for profile in bootstrap.COVERED_BY:
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        (home / f"requirements/{profile}.lock").write_text(f"tiny==1.0 --hash=sha256:{digest}\n")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=home / "packages")) as index:
        threading.Thread(target=index.serve_forever).start()
        (home / "index").write_text(f"http://127.0.0.1:{index.server_port}/")
        yield home
        index.shutdown()


def set_up(checkout: Path, python: Path | str = sys.executable, **pip: str) -> subprocess.Popen[str]:
    """As make calls it, in a group of its own as at a terminal; the environment names proxies that are not there."""
    offline = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": (checkout / "index").read_text()}
    offline |= {"http_proxy": "http://127.0.0.1:9", "ALL_PROXY": "socks5://127.0.0.1:9"}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    return subprocess.Popen(
        [python, "-I", checkout / "grab_service/embedded/bootstrap.py", "run"],
        env=inherited | offline | pip,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def until(holds: Callable[[], bool]) -> None:
    give_up_s = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < give_up_s
        time.sleep(0.01)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    said, _ = process.communicate(timeout=120)
    return process.returncode, said


@pytest.mark.slow
def test_ctrl_c_while_the_environment_is_made_harms_nothing_and_of_two_calls_at_once_one_waits(checkout: Path) -> None:
    half = set_up(checkout)
    until((checkout / ".venv/bin/python").exists)  # and pip is not there yet
    os.killpg(half.pid, signal.SIGINT)
    status, said = ended(half)
    assert status == 130, said
    assert "Traceback" not in said
    # The Python of the half is the first that make tries.
    both = [set_up(checkout, checkout / ".venv/bin/python"), set_up(checkout)]
    results = [ended(process) for process in both]
    assert [status for status, _ in results] == [0, 0], results
    told = "".join(said for _, said in results)
    assert told.count("Making .venv") == told.count("Installing what requirements/run.lock names") == 1, told
    assert told.count("Another `make` is setting up this checkout. Waiting for it ...") == 1, told
    subprocess.run([checkout / ".venv/bin/python", "-c", "import tiny"], check=True)
    assert ended(set_up(checkout, checkout / ".venv/bin/python")) == (0, ""), "there is nothing left to do"


@pytest.mark.slow
def test_what_a_killed_call_has_left_running_is_waited_for_too(checkout: Path) -> None:
    killed = set_up(checkout)
    until((checkout / ".venv/bin/python").exists)
    killed.kill()  # its child goes on
    second = set_up(checkout)
    assert second.stdout is not None
    assert "Waiting for it" in second.stdout.readline()
    for process in (killed, second):
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.slow
def test_without_a_network_it_says_so(checkout: Path) -> None:
    nowhere = {"PIP_NO_INDEX": "0", "PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_FIND_LINKS": "", "PIP_RETRIES": "1"}
    status, said = ended(set_up(checkout, **nowhere))
    assert status == 1
    assert "the package index does not answer; pip tries a few times more" in said
    assert said.rstrip().splitlines()[-1].startswith("The package index cannot be reached. Check the network")


def test_nothing_is_taken_away_while_it_is_being_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "CHECKOUT", tmp_path)
    (tmp_path / ".venv").mkdir()
    for name, why in (("bootstrap.lock", "is setting up"), ("lock", "Something is running")):
        with bootstrap._only_one(name, ""), pytest.raises(SetupError, match=why):
            bootstrap.clean()
        assert (tmp_path / ".venv").is_dir()
    bootstrap.clean()
    assert list(tmp_path.iterdir()) == []


def locked(profile: str) -> dict[str, str]:
    text = (CHECKOUT / "requirements" / f"{profile}.lock").read_text()
    return dict(re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE))


def test_an_environment_that_can_test_can_run() -> None:
    assert locked("run").items() <= locked("dev").items()
    assert "ruff" not in locked("run")


def test_every_locked_package_has_its_hashes() -> None:
    for profile in bootstrap.COVERED_BY:
        text = (CHECKOUT / "requirements" / f"{profile}.lock").read_text()
        packages = re.split(r"^(?=[\w.-]+==)", text, flags=re.MULTILINE)[1:]
        assert packages
        assert [package.split()[0] for package in packages if "--hash=sha256:" not in package] == []


def test_make_help_lists_every_target_that_is_for_people() -> None:
    asked = ["make", "--silent", "--no-print-directory", "help"]
    shown = subprocess.run(asked, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    listed = set(re.findall(r"^  make (\S+)", shown.stdout, re.MULTILINE))
    assert listed >= {"help", "demo", "run", "test", "test-fast", "lint", "lock", "clean"}
