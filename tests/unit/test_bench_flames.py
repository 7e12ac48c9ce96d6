"""A flame graph carries its figures as numbers, too."""

from pathlib import Path

import pytest

from bench.flames import LOOP, Flames, FlamesError


def box(name: str, depth: int, x: int, samples: int) -> str:
    """As py-spy draws it."""
    return (
        f'<g><title>{name} ({samples} samples, 1.00%)</title><rect x="0.2506%" y="{52 + 16 * depth}" width="1.0000%" '
        f'height="15" fill="rgb(227,0,7)" fg:x="{x}" fg:w="{samples}"/><text x="0.5006%" y="94.50">cut..</text></g>'
    )


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "flames.svg"
    path.write_text(
        "<svg>"
        + box("all", 0, 0, 100)
        + box("Runner.run (asyncio/runners.py:86)", 1, 0, 90)
        + box("GrabProtocol.read (grab_service/server/protocol.py:97)", 2, 0, 60)
        + box("new (hmac.py:20)", 3, 5, 10)
        + box("&lt;lambda&gt; (grab_service/grabpath/gate.py:3)", 3, 20, 15)
        + box("send (redis/asyncio/connection.py:12)", 2, 70, 5)
        + box("EpollSelector.select (selectors.py:451)", 1, 90, 10)
        + "</svg>"
    )
    return path


def test_every_sample_counts_where_its_stack_ended(picture: Path) -> None:
    found = Flames.read(picture)
    assert found.samples == 100
    assert found.functions() == {
        "GrabProtocol.read (grab_service/server/protocol.py)": 35,
        "Runner.run (asyncio/runners.py)": 25,
        "<lambda> (grab_service/grabpath/gate.py)": 15,
        "new (hmac.py)": 10,
        "EpollSelector.select (selectors.py)": 10,
        "send (redis/asyncio/connection.py)": 5,
    }


def test_work_of_the_standard_library_counts_for_its_caller(picture: Path) -> None:
    assert Flames.read(picture).busy.modules() == {
        "grab_service/server/protocol.py": 35 + 10,
        LOOP: 25,
        "grab_service/grabpath/gate.py": 15,
        "redis": 5,
    }


def test_waiting_is_told_apart_from_work(picture: Path) -> None:
    summary = Flames.read(picture).summary()
    assert (summary["samples"], summary["samples_waiting"]) == (90, 10)
    assert sum(share for _, share in summary["modules"]) == pytest.approx(1)


def test_a_picture_of_nothing_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty.svg").write_text("<svg></svg>")
    with pytest.raises(FlamesError, match="no samples"):
        Flames.read(tmp_path / "empty.svg")
