"""The curves and bars of the results as pictures.

From `Results` alone, to SVG: small, with text that stays text, the same bytes for the same results, and colours that differ
for everybody.
"""

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from bench.figures import Curve, Results

WIDTH_IN: Final = 7.2
HEIGHT_IN: Final = 4.0
BAR_IN: Final = 0.27
LABEL_MAX: Final = 26
COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""After Okabe and Ito: told apart by colour-blind readers, and by lightness on paper."""
MARKERS: Final = "osD^vPX"
_STYLE: Final[Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "grab",
    "font.family": "sans-serif",
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "path.simplify": True,
}
_STEPS: Final = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def draw_curves(results: Sequence[Results], folder: Path) -> list[Path]:
    """One picture `<name>.svg` for each name of a curve, with all series of that name; their paths, by name."""
    by_name: dict[str, list[Curve]] = {}
    for result in results:
        for curve in result.curves:
            by_name.setdefault(curve.name, []).append(curve)
    folder.mkdir(parents=True, exist_ok=True)
    return [_draw(curves, folder / f"{name}.svg") for name, curves in sorted(by_name.items())]


def draw_bars(title: str, rows: Mapping[str, Mapping[str, Sequence[float]]], x_label: str, path: Path) -> Path:
    """Horizontal bars: a group for each row, a colour for each series; in brackets: the first row's median ÷ this one.

    Args:
        title: of the picture.
        rows: samples by row and series, the first row on top; a series without samples has no bar.
        x_label: with the unit.
        path: of the SVG.
    """
    names = list(next(iter(rows.values())))
    first = {name: _middle(samples) for name, samples in next(iter(rows.values())).items() if samples}
    thick = 0.8 / len(names)
    reach = max(max(samples) for series in rows.values() for samples in series.values() if samples)
    with _styled():
        canvas = Canvas(figsize=(WIDTH_IN, 1.5 + BAR_IN * len(names) * len(rows)), layout="constrained")
        axes = canvas.subplots()
        for number, name in enumerate(names):
            drawn = {
                at + (number - (len(names) - 1) / 2) * thick: one[name] for at, one in enumerate(rows.values()) if one[name]
            }
            middles = [_middle(samples) for samples in drawn.values()]
            below = [middle - min(samples) for middle, samples in zip(middles, drawn.values(), strict=True)]
            above = [max(samples) - middle for middle, samples in zip(middles, drawn.values(), strict=True)]
            error_bars = {"ecolor": "#333333", "elinewidth": 1.0, "capsize": 2}
            axes.barh(list(drawn), middles, thick, xerr=[below, above], color=COLOURS[number], error_kw=error_bars, label=name)
            for place, middle, over in zip(drawn, middles, above, strict=True):
                factor = first[name] / middle
                said = _short(middle) if factor == 1 else f"{_short(middle)}  ({factor:.3g} ×)"
                axes.text(middle + over + reach * 0.012, place, said, va="center", fontsize=9)
        axes.set_yticks(range(len(rows)), [textwrap.fill(row, LABEL_MAX, break_on_hyphens=False) for row in rows], fontsize=10)
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.xaxis.set_major_formatter(FuncFormatter(_short))
        axes.set_xlim(0, reach * 1.3)
        canvas.legend(loc="outside lower center", ncols=len(names))
        _caption(axes, title, x_label, "")
        return _save(canvas, path)


def _draw(curves: Sequence[Curve], path: Path) -> Path:
    first = curves[0]
    with _styled():
        canvas = Canvas(figsize=(WIDTH_IN, HEIGHT_IN), layout="constrained")
        axes = canvas.subplots()
        for number, curve in enumerate(curves):
            _add(axes, curve, COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)])
        if first.x_is_log:
            axes.set_xscale("log")
            _ticks_at_points(axes, curves)
        axes.xaxis.set_major_formatter(FuncFormatter(_short))
        if first.y_is_log:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1.0,)))
            axes.yaxis.set_minor_locator(NullLocator())
        else:
            axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(FuncFormatter(_short))
        if len(curves) > 1:
            # Outside, so that it hides nothing.
            canvas.legend(loc="outside lower center", ncols=min(len(curves), 4))
        _caption(axes, first.title, first.x_label, first.y_label)
        return _save(canvas, path)


def _add(axes: Axes, curve: Curve, colour: str, marker: str) -> None:
    """The medians as a line, the lowest and highest rounds as a band."""
    points = sorted(curve.points, key=lambda point: point.x)
    xs = [point.x for point in points]
    if any(len(point.samples) > 1 for point in points):
        lows, highs = ([pick(point.samples) for point in points] for pick in (min, max))
        axes.fill_between(xs, lows, highs, color=colour, alpha=0.18, linewidth=0)
    middles = [_middle(point.samples) for point in points]
    axes.plot(xs, middles, color=colour, marker=marker, markersize=5, linewidth=1.8, label=curve.series)


def _middle(samples: Sequence[float]) -> float:
    ordered = sorted(samples)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def _ticks_at_points(axes: Axes, curves: Sequence[Curve]) -> None:
    """Ticks at the measured values, as far as the labels do not touch."""
    chosen: list[float] = []
    xs = sorted({point.x for curve in curves for point in curve.points})
    apart = math.log(xs[-1] / xs[0]) / 11 if len(xs) > 1 else 0.0
    for x in xs:
        if not chosen or math.log(x / chosen[-1]) >= apart:
            chosen.append(x)
    axes.set_xticks(chosen)
    axes.xaxis.set_minor_locator(NullLocator())


def _short(value: float, _: int | None = None) -> str:
    """A number as it is said: 64, 0.25, 3.5 k, 1 M."""
    for step, letter in _STEPS:
        if abs(value) >= step:
            return f"{value / step:.3g} {letter}"
    return f"{value:.3g}"


def _caption(axes: Axes, title: str, x_label: str, y_label: str) -> None:
    axes.set_title(title, pad=10)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)


@contextmanager
def _styled() -> Iterator[None]:
    with mpl.rc_context(_STYLE):
        yield


def _save(canvas: Canvas, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.savefig(path, format=path.suffix[1:], metadata={"Date": None, "Creator": None} if path.suffix == ".svg" else None)
    return path
