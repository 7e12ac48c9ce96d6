"""The page about performance says what the results say, and nothing by hand."""

import re
from pathlib import Path

from bench import performance_page
from bench.figures import SPREAD_MAX, Curve, Figure, Point, Results

CURVES = {"won": (Point(10, (1.0, 2.0, 9.0)), Point(1_000, (3.0,))), "refused": (Point(1_000, (7.0, 8.0)),)}
DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_made_of_the_results() -> None:
    found = performance_page.read(DOCS / performance_page.RESULTS)
    assert found, "nothing was measured"
    assert performance_page.page(found) == (DOCS / performance_page.PAGE).read_text(encoding="utf-8"), (
        "run `make bench ARGS=--report`"
    )


def test_the_page_shows_the_pictures_that_git_keeps() -> None:
    pictures = re.findall(r"\]\((performance/[^)]+)\)", (DOCS / performance_page.PAGE).read_text(encoding="utf-8"))
    assert set(pictures) == {f"performance/{name}.svg" for name in performance_page.SHOWN}
    rules = (DOCS.parent / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert "docs/performance/*.svg" in rules
    assert {rule for rule in rules if rule.startswith("!docs/")} == {f"!docs/{picture}" for picture in pictures}
    for picture in pictures:
        assert (DOCS / picture).exists(), picture


def test_a_curve_that_is_not_shown_is_a_table_of_its_medians() -> None:
    won, refused = (Curve("memory", "Memory", series, "claims", "MB", points, note="n") for series, points in CURVES.items())
    page = performance_page.page({"growth_stock": Results("growth_stock", {}, curves=(won, refused))})
    assert "Memory (MB):\n\n| claims | won | refused |\n|---|---|---|\n| 10 | 2.00 |  |\n| 1,000 | 3.00 | 7.50 |\n\nn\n" in page


def figure(*samples: float, at_least: float | None = None, at_most: float | None = None) -> Figure:
    return Figure("won_per_node", "won ÷ Node", "", samples, at_least=at_least, at_most=at_most)


def test_a_target_that_is_missed_is_called_so_and_one_that_cannot_be_told_too() -> None:
    for said, one in {
        "| reached |": figure(2.0, 2.2, 2.4, at_least=2),
        "| **missed** |": figure(1.0, 1.1, 1.2, at_least=2),
        "| too noisy to tell |": figure(1.0, 3.0, 9.0, at_least=2),
    }.items():
        page = performance_page.page({"x": Results("x", {"cores": 2}, (one,))})
        assert said in page, (said, one.spread, SPREAD_MAX)
    assert "| ≤ 0.500 |" in performance_page.page({"x": Results("x", {}, (figure(0.4, at_most=0.5),))})


def test_an_experiment_on_another_machine_is_named_with_its_machine() -> None:
    usual, other = {"processor": "A", "load_before": 1.0}, {"processor": "B", "load_before": 1.0}
    page = performance_page.page({name: Results(name, machine) for name, machine in (("x", other), ("y", usual), ("z", usual))})
    assert "Machine: processor A. " in page
    assert "`x` ran on another machine: processor B." in page
    assert "`y`" not in page


def test_what_was_not_measured_is_said_to_be_missing_with_the_command_that_measures_it() -> None:
    page = performance_page.page({})
    assert "*Not measured: `make bench ARGS=ladder`.*" in page
    assert "*Not measured: `make bench ARGS=members`.*" in page


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    curve = Curve("c", "title", "series", "x", "y", (Point(1.0, (2.0, 3.0)),), note="n")
    written = Results("x", {"cores": 2}, (figure(1.0, 2.0, at_least=1.5),), (curve,), {"rows": {}})
    assert Results.read(written.write(tmp_path)) == written
