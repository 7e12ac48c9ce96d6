"""Does a fresh checkout set itself up, and say what it lacks where it cannot?"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from grab_service.servers import bootstrap
from grab_service.servers.bootstrap import SetupError

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
    ("said", "mend"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "TMPDIR"),
        ("ERROR: No matching distribution found for uvloop==0.23.0", "PYTHON="),
        ("WARNING: Retrying after connection broken by 'NewConnectionError(...)'", "PIP_INDEX_URL"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", "between you and the index"),
        ("ERROR: something new", "last words"),
    ],
)
def test_what_pip_says_is_shown_with_how_to_mend_it(tmp_path: Path, said: str, mend: str) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "{said}"\nexit 1\n')
    python.chmod(0o755)
    with pytest.raises(SetupError) as failed:
        bootstrap._install(python, CHECKOUT / "requirements" / "run.lock")
    assert said in str(failed.value)
    assert mend in str(failed.value)


def test_the_checkout_is_found_and_grab_runs_where_the_path_has_blanks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "CHECKOUT", tmp_path / "a checkout 仓")
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


def locked(profile: str) -> dict[str, str]:
    text = (CHECKOUT / "requirements" / f"{profile}.lock").read_text()
    return dict(re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE))


def test_whoever_can_test_can_run() -> None:
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


def test_the_compose_file_is_valid() -> None:
    schema = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    subprocess.run([*schema, CHECKOUT / "docker-compose.yml"], check=True, stdout=subprocess.DEVNULL)
