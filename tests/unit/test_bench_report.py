"""The page about performance says what the results say, and nothing by hand."""

import re
from pathlib import Path

from loadtest.bench import report
from loadtest.bench.figures import SPREAD_MAX, Curve, Figure, Point, Results

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_made_of_the_results() -> None:
    found = report.read(DOCS / report.RESULTS)
    assert found, "nothing was measured"
    assert report.page(found) == (DOCS / report.PAGE).read_text(encoding="utf-8"), "run `make bench ARGS=--report`"


def test_every_picture_of_the_page_is_there() -> None:
    pictures = re.findall(r"\]\((performance/[^)]+)\)", (DOCS / report.PAGE).read_text(encoding="utf-8"))
    assert pictures
    for picture in pictures:
        assert (DOCS / picture).exists(), picture


def figure(*samples: float, at_least: float | None = None, at_most: float | None = None) -> Figure:
    return Figure("won_per_node", "won ÷ Node", "", samples, at_least=at_least, at_most=at_most)


def test_a_target_that_is_missed_is_called_so_and_one_that_cannot_be_told_too() -> None:
    for said, one in {
        "| reached |": figure(2.0, 2.2, 2.4, at_least=2),
        "| **missed** |": figure(1.0, 1.1, 1.2, at_least=2),
        "| too noisy to tell |": figure(1.0, 3.0, 9.0, at_least=2),
    }.items():
        page = report.page({"x": Results("x", {"cores": 2}, (one,))})
        assert said in page, (said, one.spread, SPREAD_MAX)
    assert "| ≤ 0.500 |" in report.page({"x": Results("x", {}, (figure(0.4, at_most=0.5),))})


def test_an_experiment_on_another_machine_is_named_with_its_machine() -> None:
    usual, other = {"processor": "A", "load_before": 1.0}, {"processor": "B", "load_before": 1.0}
    page = report.page({name: Results(name, machine) for name, machine in (("x", other), ("y", usual), ("z", usual))})
    assert "Machine: processor A. " in page
    assert "`x` ran on another machine: processor B." in page
    assert "`y`" not in page


def test_what_was_not_measured_is_said_to_be_missing_with_the_command_that_measures_it() -> None:
    page = report.page({})
    assert "*Not measured: `make bench ARGS=ladder`.*" in page
    assert "*Not measured: `make bench ARGS=members`.*" in page


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    curve = Curve("c", "title", "series", "x", "y", (Point(1.0, (2.0, 3.0)),), note="n")
    written = Results("x", {"cores": 2}, (figure(1.0, 2.0, at_least=1.5),), (curve,), {"rows": {}})
    assert Results.read(written.write(tmp_path)) == written
