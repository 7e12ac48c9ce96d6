"""Do the locust members behave, and does a run of theirs count refusals as outcomes and faults as failures?

Importing locust patches sockets, so it is only ever run as a process of its own.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STOCK = 10
MEMBERS = 40

Locust = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def locust(tmp_path: Path) -> Iterator[Locust]:
    """Run the members against the stand-in, which opens while they watch."""
    stages: list[subprocess.Popen[str]] = []

    def start(*words: str, stage: tuple[str, ...] = ()) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "loadtest.stand_in", "--stock", str(STOCK), "--opens-in-s", "4", *stage]
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        stages.append(process)
        assert process.stdout is not None
        port = json.loads(process.stdout.readline())["port"]
        base = [sys.executable, "-m", "locust", "-f", "loadtest/locustfile.py", "--headless", "--only-summary"]
        where = ["--host", f"http://127.0.0.1:{port}", "--campaign", "stand-in"]
        many = ["--users", str(MEMBERS), "--spawn-rate", str(MEMBERS), "--run-time", "30s", "--reaction-ms", "50"]
        return subprocess.run(
            [*base, *where, *many, *words],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )

    yield start
    for process in stages:
        process.communicate()


@pytest.fixture
def passes(tmp_path: Path) -> Path:
    path = tmp_path / "passes.tsv"
    path.write_text("".join(f"m{n}\tpass.m{n}\n" for n in range(MEMBERS)))
    return path


def row(output: str, name: str) -> list[str]:
    """The first line of the output that begins with the name, in words."""
    rows = [line.removeprefix(name).split() for line in output.splitlines() if line.startswith(f"{name} ")]
    assert rows, output
    return rows[0]


@pytest.mark.slow
def test_refusals_are_outcomes_and_the_run_ends_by_itself(locust: Locust, passes: Path) -> None:
    done = locust("--passes", str(passes), stage=("--trouble", "busy"))
    assert done.returncode == 0, done.stdout
    assert row(done.stdout, "won") == [str(STOCK)]
    assert row(done.stdout, "sold-out") == [str(MEMBERS - STOCK)]
    assert int(row(done.stdout, "overloaded")[0]) > 0
    assert row(done.stdout, "POST     grab: sold-out")[:2] == [str(MEMBERS - STOCK), "0(0.00%)"]
    assert row(done.stdout, "GET      /v1/claims/[id]")[:2] == [str(STOCK), "0(0.00%)"]
    assert int(row(done.stdout, "GET      /v1/campaigns/[id]/state")[0]) > MEMBERS


@pytest.mark.slow
def test_an_answer_outside_the_contract_is_a_failure(locust: Locust, passes: Path) -> None:
    done = locust("--passes", str(passes), stage=("--lie", "server-error"))
    assert done.returncode == 1
    assert "500 internal is no answer of the contract" in done.stdout


@pytest.mark.slow
def test_members_without_a_pass_ask_for_one_and_processes_share_them(locust: Locust, tmp_path: Path) -> None:
    ids = tmp_path / "ids"
    ids.write_text("".join(f"m{n}\n" for n in range(MEMBERS)))
    done = locust("--member-ids", str(ids), "--processes", "2")
    assert done.returncode == 0, done.stdout
    # Everyone came once: had two processes shared a member, one of the two would have been told that they hold.
    assert row(done.stdout, "won") == [str(STOCK)]
    assert row(done.stdout, "sold-out") == [str(MEMBERS - STOCK)]
    assert row(done.stdout, "all") == [str(MEMBERS)]


def test_a_run_without_members_says_what_is_missing(locust: Locust) -> None:
    done = locust()
    assert done.returncode == 1
    assert "either --passes or --member-ids is needed" in done.stdout


@pytest.mark.parametrize("tool", ["stampede", "verify", "shard", "stand_in"])
def test_no_other_tool_imports_locust(tool: str) -> None:
    code = f"import sys, loadtest.{tool}; sys.exit(any(name.split('.')[0] in ('locust', 'gevent') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
