"""docs/PERFORMANCE.md, made of the JSON of the experiments alone: tables, pictures, and what they mean.

The words stand in `performance_page.md`, with a blank for each table and picture; the figures in them come from nowhere else.
"""

import re
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from bench.figures import Curve, Figure, Results
from bench.ladder import RUNGS

PAGE: Final = "PERFORMANCE.md"
PICTURES: Final = Path("performance")
RESULTS: Final = PICTURES / "results"
SHOWN: Final = ("peers", "growth_members", "growth_connections")
"""Pictures that the page shows and that git keeps. The others are drawn, too; the page has tables of their medians."""
WORDS: Final = Path(__file__).with_suffix(".md")
SHARE_MIN: Final = 0.01
_BLANK: Final = re.compile(r"^<!-- (\w+)(?: (.+))? -->$", re.MULTILINE)
_DECIMALS: Final = ((100, 0), (10, 1), (1, 2), (0, 3))

Found = dict[str, Results]


def write(docs: Path) -> Path:
    """Write `<docs>/PERFORMANCE.md` and its pictures from `<docs>/performance/results`; the path of the page."""
    found = read(docs / RESULTS)
    from bench.plots import draw_curves  # noqa: PLC0415 -- it takes a second, and only pictures need it

    draw_curves(list(found.values()), docs / PICTURES)
    _draw_peers(found, docs / PICTURES)
    path = docs / PAGE
    path.write_text(page(found), encoding="utf-8")
    return path


def read(folder: Path) -> Found:
    """All results in a folder, by experiment."""
    results = [Results.read(path) for path in sorted(folder.glob("*.json"))]
    return {one.experiment: one for one in results}


def page(found: Found) -> str:
    """The page, as text."""

    def fill(blank: re.Match[str]) -> str:
        experiment, _, command = (blank[2] or "").partition(" ")
        lines = _FILL[blank[1]](found, experiment)
        return "\n".join(lines) if lines else f"*Not measured: `make bench ARGS={command or experiment or blank[1]}`.*"

    return _BLANK.sub(fill, WORDS.read_text(encoding="utf-8"))


def _machine(found: Found, _: str) -> list[str]:
    if not found:
        return []
    apart = ("load", "others", "open_files")
    said = {
        experiment: ", ".join(
            f"{name.replace('_', ' ')} {value}" for name, value in one.machine.items() if not name.startswith(apart)
        )
        for experiment, one in found.items()
    }
    usual = statistics.mode(said.values())
    shares = [one.machine.get("others_share", 0.0) for one in found.values()]
    return [
        f"Machine: {usual}. Others used {min(shares):.0%} to {max(shares):.0%} of its processors when an experiment began.",
        *(f"`{experiment}` ran on another machine: {one}." for experiment, one in said.items() if one != usual),
    ]


def _targets(found: Found, _: str) -> list[str]:
    rows = [figure for one in found.values() for figure in one.figures if figure.reached is not None]
    order = [
        "won_per_plain_fastapi",
        "won_per_nginx",
        "won_per_node",
        "won_per_redis_benchmark",
        "refused_per_nginx_cache",
        "won_per_constant",
        "refused_per_constant",
        "won_always_per_none",
        "open_p99_per_nginx",
        "redis_us_per_win",
        "rush_per_nginx",
        "winners_p99_per_plain",
        "drain_one_core",
        "drain_visible",
    ]
    rows.sort(key=lambda figure: order.index(figure.name) if figure.name in order else len(order))
    lines = ["| figure | target | median | lowest – highest | rounds | |", "|---|---|---|---|---|---|"]
    return [*lines, *map(_row, rows), *_notes(rows)] if rows else []


def _row(figure: Figure) -> str:
    target = f"≥ {_text_of(figure.at_least)}" if figure.at_least is not None else f"≤ {_text_of(figure.at_most or 0)}"
    verdict = "too noisy to tell" if figure.is_noisy else "reached" if figure.reached else "**missed**"
    unit = f" {figure.unit}" if figure.unit else ""
    span = f"{_text_of(min(figure.samples))} – {_text_of(max(figure.samples))}"
    return f"| {figure.title} | {target}{unit} | {_text_of(figure.median)} | {span} | {len(figure.samples)} | {verdict} |"


def _figures(found: Found, experiment: str) -> list[str]:
    if experiment not in found:
        return []
    lines = ["| figure | median | lowest – highest | rounds |", "|---|---|---|---|"]
    for figure in found[experiment].figures:
        unit = f" {figure.unit}" if figure.unit else ""
        span = f"{_text_of(min(figure.samples))} – {_text_of(max(figure.samples))}"
        lines.append(f"| {figure.title} | {_text_of(figure.median)}{unit} | {span} | {len(figure.samples)} |")
    return [*lines, *_notes(found[experiment].figures)]


def _notes(figures: Sequence[Figure]) -> list[str]:
    """The notes of a table's figures, as a list below it: in the table they would make it too wide to read."""
    notes = [f"- *{figure.title}*: {figure.note}." for figure in figures if figure.note]
    return ["", *notes] if notes else []


def _peers(found: Found, _: str) -> list[str]:
    if "speed" not in found:
        return []
    details = found["speed"].details
    lines = [
        "| | won/s | refused/s | µs of its processor per win | per refusal | µs of Redis per win | p99 of a win, ms |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in details["rows"].values():
        cells = [_middle(row[key]) for key in ("won", "refused", "won_us", "refused_us", "redis_us")]
        lines.append(f"| {row['title']} | {' | '.join(cells)} | {_middle([1000 * one for one in row['won_p99_s']])} |")
    if "redis_benchmark" in details:
        lines.append(f"| redis-benchmark, the script alone, without HTTP | {_middle(details['redis_benchmark'])} | | | | | |")
    missing = [f"{name} was not measured: {why}." for name, why in details["missing"].items()]
    return [*lines, "", "![won and refused a second](performance/peers.svg)", *missing]


def _rushes(found: Found, _: str) -> list[str]:
    if "rushes" not in found:
        return []
    lines = [
        "| | all answered after, s | sold out after, s | p99 of winners, ms | p99 of all, ms | p99 at 27,500/s, ms |",
        "|---|---|---|---|---|---|",
    ]
    for row in found["rushes"].details["rows"].values():
        cells = [_middle(row[key]) for key in ("answered_s", "sold_out_s")]
        cells += [_middle([1000 * one for one in row[key]]) for key in ("winners_p99_s", "p99_s", "open_p99_s")]
        lines.append(f"| {row['title']} | {' | '.join(cells)} |")
    return lines


def _ladder(found: Found, _: str) -> list[str]:
    if "ladder" not in found:
        return []
    by_name = {figure.name: figure for figure in found["ladder"].figures}
    lines = ["| technique | won/s with it ÷ without | refused/s with it ÷ without |", "|---|---|---|"]
    for name, title in RUNGS.items():
        cells = [_span(one) for one in (by_name[f"{kind}_with_{name}"] for kind in ("won", "refused"))]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    of_many = [figure for figure in found["ladder"].figures if figure.name.endswith("_of_many")]
    return lines + [""] * bool(of_many) + [f"- {figure.title}, with it ÷ without: {_span(figure)}" for figure in of_many]


def _indexes(found: Found, _: str) -> list[str]:
    if "claims_indexes" not in found:
        return []
    by_name = {figure.name: figure for figure in found["claims_indexes"].figures}
    lines = ["| table of claims | claims/s | µs of PostgreSQL per claim | bytes of its log per claim |", "|---|---|---|---|"]
    for name, figure in by_name.items():
        if f"{name}_postgres" in by_name:
            lines.append(
                f"| {figure.title} | " + " | ".join(_span(by_name[name + end]) for end in ("", "_postgres", "_wal")) + " |"
            )
    ratios = [figure for figure in by_name.values() if not figure.unit]
    return [*lines, "", *(f"- {figure.title}: {_span(figure)}, {len(figure.samples)} rounds" for figure in ratios)]


def _modules(found: Found, _: str) -> list[str]:
    if "profile" not in found:
        return []
    scenes = found["profile"].details
    lines = ["| where the time goes | " + " | ".join(scenes) + " |"]
    lines.append("|---" * (len(scenes) + 1) + "|")
    shares = [dict(scene["modules"]) for scene in scenes.values()]
    owners = sorted({owner for each in shares for owner in each}, key=lambda owner: -max(each.get(owner, 0) for each in shares))
    return lines + [
        f"| {owner} | " + " | ".join(f"{each.get(owner, 0):.0%}" for each in shares) + " |"
        for owner in owners
        if max(each.get(owner, 0) for each in shares) >= SHARE_MIN
    ]


def _curves(found: Found, experiment: str) -> list[str]:
    by_name: dict[str, list[Curve]] = {}
    for curve in found[experiment].curves if experiment in found else ():
        by_name.setdefault(curve.name, []).append(curve)
    lines: list[str] = []
    for name, curves in by_name.items():
        first = curves[0]
        shown = [f"![{first.title}](performance/{name}.svg)"] if name in SHOWN else _medians(curves)
        lines += [*shown, "", *((first.note, "") if first.note else ())]
    return lines[:-1]


def _medians(curves: Sequence[Curve]) -> list[str]:
    """The medians of a picture's curves as a table, a row for each place on its x axis."""
    first = curves[0]
    by_x = [{point.x: _middle(point.samples) for point in curve.points} for curve in curves]
    return [
        f"{first.title} ({first.y_label}):",
        "",
        f"| {first.x_label} | {' | '.join(curve.series for curve in curves)} |",
        "|---" * (len(curves) + 1) + "|",
        *(f"| {x:,.0f} | {' | '.join(each.get(x, '') for each in by_x)} |" for x in sorted(set().union(*by_x))),
    ]


_FILL: Final[dict[str, Callable[[Found, str], list[str]]]] = {
    "machine": _machine,
    "targets": _targets,
    "peers": _peers,
    "rushes": _rushes,
    "ladder": _ladder,
    "indexes": _indexes,
    "modules": _modules,
    "figures": _figures,
    "curves": _curves,
}


def _draw_peers(found: Found, folder: Path) -> None:
    if "speed" in found:
        from bench.plots import draw_bars  # noqa: PLC0415 -- the same

        rows = {
            row["title"]: {kind: row[kind] for kind in ("won", "refused")} for row in found["speed"].details["rows"].values()
        }
        draw_bars("Grabs a second by one core", rows, "answers/s (in brackets: grab-service ÷ this one)", folder / "peers.svg")


def _span(figure: Figure) -> str:
    return f"{_text_of(figure.median)} ({_text_of(min(figure.samples))} – {_text_of(max(figure.samples))})"


def _middle(samples: Sequence[Any]) -> str:
    return _text_of(statistics.median(samples)) if samples else ""


def _text_of(value: float) -> str:
    decimals = next(number for least, number in _DECIMALS if abs(value) >= least)
    return f"{value:,.{decimals}f}"
