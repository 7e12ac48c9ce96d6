"""A command takes from the run in its directory the settings that its environment leaves open, and nothing else."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from grab_service.embedded.saved_run import SERVERS, join_run, remembering, run_here
from grab_service.settings import Settings

URL = "http://127.0.0.1:8123"
OF_THE_RUN = {
    "REDIS_URL": "redis://127.0.0.1:1/0",
    "DATABASE_URL": "postgresql://127.0.0.1:2/grab",
    "GRAB_GUARD_REDIS_URL": "",
    "GRAB_CELL": "quarter",
    "GRAB_SECRETS": "k1:a secret of the run which is long enough",
    "GRAB_OPS_SECRETS": "o1:another secret of the run for ops alone",
    "GRAB_HOST": "127.0.0.1",
    "GRAB_PORT": "8123",
    "GRAB_WORKERS": "1",
    "GRAB_DEV": "1",
}
AS_OWNER = OF_THE_RUN | {"DATABASE_URL": "postgresql://owner@127.0.0.1:2/grab"}


@pytest.fixture(autouse=True)
def clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*OF_THE_RUN, *(name for name in os.environ if name.startswith("GRAB_"))]:
        monkeypatch.setenv(name, "")  # so that it is put back afterwards
        monkeypatch.delenv(name)
    monkeypatch.setenv("GRAB_VAR_DIR", str(tmp_path))


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Path]:
    with remembering(tmp_path, URL, {"api": OF_THE_RUN, "owner": AS_OWNER}):
        yield tmp_path / "run" / "environments.json"


def test_all_that_is_left_open_is_taken_from_the_run(run: Path) -> None:
    joined = join_run(Settings())
    assert joined is not None
    assert (joined.pid, joined.url) == (os.getpid(), URL)
    assert Settings().database_url == AS_OWNER["DATABASE_URL"]
    assert (Settings().cell, Settings().port, Settings().dev, set(Settings().secrets)) == ("quarter", 8123, True, {"k1"})


def test_a_second_service_takes_the_servers_and_not_the_port(run: Path) -> None:
    join_run(Settings(), "api", SERVERS)
    assert Settings().database_url == OF_THE_RUN["DATABASE_URL"]
    assert (Settings().port, Settings().dev) == (8000, False)


def test_what_the_environment_says_stays(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAB_PORT", "9000")
    monkeypatch.setenv("GRAB_SECRETS", "k7:another secret which is long enough")
    assert join_run(Settings()) is not None
    assert (Settings().port, set(Settings().secrets)) == (9000, {"k7"})


@pytest.mark.parametrize("named", ["REDIS_URL", "DATABASE_URL", "GRAB_DATABASE_URL"])
def test_half_of_the_run_is_never_mixed_with_other_servers(run: Path, named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(named, f"{'redis' if named == 'REDIS_URL' else 'postgresql'}://elsewhere")
    assert join_run(Settings()) is None
    assert Settings().cell != "quarter"


def test_a_run_of_another_cell_is_left_alone(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAB_CELL", "another")
    assert join_run(Settings()) is None
    assert Settings().redis_url == ""


def test_nobody_else_may_read_what_a_run_has_written_down(run: Path) -> None:
    assert stat.S_IMODE(run.stat().st_mode) == 0o600


def test_a_run_that_has_ended_is_none(tmp_path: Path) -> None:
    with remembering(tmp_path, URL, {"owner": AS_OWNER}):
        left = (tmp_path / "run" / "environments.json").read_text()
    assert run_here(tmp_path) is None
    # Killed, it leaves the file; its number may belong to another process by now.
    for pid in (1, 2**22 + 1):
        (tmp_path / "run" / "environments.json").write_text(left.replace(f'"pid": {os.getpid()}', f'"pid": {pid}'))
        assert run_here(tmp_path) is None
    (tmp_path / "run" / "environments.json").write_text(left[:40])
    assert run_here(tmp_path) is None
