"""A rebuild reports its progress, and not too often."""

import time

import pytest

from reconcile.rebuild import progress
from reconcile.rebuild.progress import Progress, ProgressLog


@pytest.mark.parametrize(
    ("done", "of", "percent"), [(0, 0, 0), (0, 1, 0), (1, 1, 100), (1, 2, 50), (1, 3, 33), (999, 1000, 99), (1000, 1000, 100)]
)
def test_the_share_is_right_however_few_there_are(
    done: int, of: int, percent: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "SAY_EVERY_S", 0.0)
    ProgressLog()(Progress(done, of))
    assert f"percent={percent} " in capsys.readouterr().out.replace("\n", " ")


def test_it_is_said_once_a_second_at_most(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now_s = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    said = ProgressLog(now_s)
    for now_s in (100.5, 100.999, 101.0, 101.5, 101.999, 102.0):
        said(Progress(int(now_s * 1000), 200_000))
    lines = [line for line in capsys.readouterr().out.splitlines() if "rebuild_goes_on" in line]
    assert len(lines) == 2
    assert "101000" in lines[0]
    assert "102000" in lines[1]
