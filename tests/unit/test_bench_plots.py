"""Pictures of the bench are small, need no font of ours, and are the same for the same results."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from bench.figures import Curve, Point, Results


def draw_curves(*given: Any) -> list[Path]:
    # Every worker of the tests reads this file, and what draws takes a second to import.
    from bench import plots

    return plots.draw_curves(*given)


def draw_bars(*given: Any) -> Path:
    from bench import plots

    return plots.draw_bars(*given)


def curve(series: str, name: str = "rate_by_members", factor: float = 1.0) -> Curve:
    points = tuple(Point(x, (factor * 50_000, factor * 52_000, factor * 47_000)) for x in (1e3, 1e4, 1e5, 1e6))
    return Curve(name, "Grabs a second by members", series, "members in Redis", "grabs/s", points)


def words(path: Path) -> set[str]:
    """All that a reader can read, found as text."""
    return {"".join(node.itertext()).strip() for node in ET.parse(path).iter() if node.tag.endswith("}text")}


def test_each_name_is_one_picture_that_says_its_title_axes_and_series(tmp_path: Path) -> None:
    results = [
        Results("one", {}, curves=(curve("won"), curve("refused", factor=2))),
        Results("two", {}, curves=(curve("bytes", name="memory"),)),
    ]
    assert [path.name for path in draw_curves(results, tmp_path)] == ["memory.svg", "rate_by_members.svg"]
    said = words(tmp_path / "rate_by_members.svg")
    assert {"Grabs a second by members", "members in Redis", "grabs/s", "won", "refused"} <= said
    assert {"1 k", "10 k", "100 k", "1 M"} <= said, "the places that were measured"


def test_the_same_results_are_the_same_bytes(tmp_path: Path) -> None:
    result = Results("one", {}, curves=(curve("won"), curve("refused", factor=2)))
    rows = {"grab-service": {"won": [60_000.0, 61_000.0]}, "plain FastAPI": {"won": [3_000.0, 3_100.0]}}
    first, again = ([*draw_curves([result], folder), draw_bars("t", rows, "x", folder / "b.svg")] for folder in two(tmp_path))
    for one, other in zip(first, again, strict=True):
        assert one.read_bytes() == other.read_bytes()
        assert one.stat().st_size < 60_000
        assert b"<dc:date>" not in one.read_bytes()


def two(folder: Path) -> tuple[Path, Path]:
    return folder / "a", folder / "b"


def test_bars_are_grouped_by_row_and_show_medians_and_ratios(tmp_path: Path) -> None:
    rows: dict[str, dict[str, list[float]]] = {
        "grab-service": {"won": [61_234.0], "refused": [90_000.0]},
        "nginx + Lua": {"won": [30_000.0, 33_000.0, 34_000.0], "refused": []},
    }
    said = words(draw_bars("Grabs a second", rows, "grabs/s", tmp_path / "bars.svg"))
    assert {"Grabs a second", "grabs/s", "grab-service", "nginx + Lua", "won", "refused"} <= said
    assert {"61.2 k", "90 k", "33 k  (1.86 ×)"} <= said


@pytest.mark.parametrize("xs", [(1.0,), (1.0, 2.0, 4.0)])
def test_few_points_are_drawn_too(tmp_path: Path, xs: tuple[float, ...]) -> None:
    one = Curve("few", "few", "s", "x", "y", tuple(Point(x, (1.0,)) for x in xs), y_is_log=True)
    (path,) = draw_curves([Results("one", {}, curves=(one,))], tmp_path)
    assert "few" in words(path)
