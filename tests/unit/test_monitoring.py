"""The alerting rules and the dashboard: every expression can be read, and speaks of figures that there are."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml  # type: ignore[import-untyped]  # has no types

from tests.unit.test_docs import OPERATIONS, ROOT, section, text_of

PROMETHEUS, GRAFANA = ROOT / "deploy/prometheus", ROOT / "deploy/grafana"
EVENING = ROOT / "docs/EVENING.md"
BOARDS = sorted(GRAFANA.glob("*.json"))


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(text_of(PROMETHEUS / "rules.yml"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels(board: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(text_of(board))["panels"]
    return found


def expressions() -> list[str]:
    of_boards = [target["expr"] for board in BOARDS for panel in panels(board) for target in panel["targets"]]
    return [*(rule["expr"] for rule in rules()), *of_boards]


@pytest.mark.parametrize("expression", expressions())
def test_every_expression_can_be_read_and_names_figures_that_are_shown(expression: str) -> None:
    promql_parser.parse(expression)
    # The table is held to the pages of metrics by a test of its own.
    shown = set(re.findall(r"`((?:grab|ledger)_\w+)", section(OPERATIONS, "Monitoring")))
    named = set(re.findall(r"\b(?:grab|ledger)_\w+", expression))
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in named} <= shown


def test_an_expression_that_cannot_be_read_is_noticed() -> None:
    with pytest.raises(ValueError, match="parenthesis"):
        promql_parser.parse("sum(rate(grab_answers_total[1m])")


def test_no_two_panels_of_a_dashboard_lie_on_each_other() -> None:
    assert BOARDS
    for board in BOARDS:
        places = [panel["gridPos"] for panel in panels(board)]
        cells = [(x, y) for at in places for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])]
        assert len(cells) == len(set(cells))
        assert max(x for x, _ in cells) < 24


def test_every_alert_is_tried_says_what_it_means_in_both_languages_and_stands_on_the_page_of_the_evening() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names)) > 10
    assert all({"summary", "summary_zh"} == rule["annotations"].keys() for rule in rules())
    tried = yaml.safe_load(text_of(PROMETHEUS / "rules_test.yml"))["tests"]
    fired = {step["alertname"] for test in tried for step in test["alert_rule_test"] if step["exp_alerts"]}
    assert fired == set(names)
    assert set(re.findall(r"^\| `(\w+)` \|", text_of(EVENING), re.MULTILINE)) == set(names)


def test_every_alert_fires_when_it_should() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not there (Debian: the package prometheus)")
    for words in (("check", "rules", "rules.yml"), ("test", "rules", "rules_test.yml")):
        run = subprocess.run([promtool, *words], cwd=PROMETHEUS, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stdout + run.stderr
