"""The figures of an experiment: their rounds, the spread of these, and the target.

Every experiment leaves a file of JSON with its figures and curves; the report is made from these files and from nothing else.
"""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

SPREAD_MAX: Final = 0.35
"""Half the distance of the quartiles, relative to the median; beyond it, a figure is called too noisy to tell."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of a table: a value measured in several rounds.

    Attributes:
        name: by which it is found, `won_per_plain_fastapi`.
        title: what the reader sees.
        unit: of the samples; empty for a ratio.
        samples: one per round, in order.
        at_least: the target, if more is better.
        at_most: the target, if less is better.
        note: what one must know to read it.
    """

    name: str
    title: str
    unit: str
    samples: tuple[float, ...]
    at_least: float | None = None
    at_most: float | None = None
    note: str = ""

    @property
    def median(self) -> float:
        """The middle of the rounds."""
        return statistics.median(self.samples)

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles, relative to the median; 0 for a single round."""
        if len(self.samples) < 2 or self.median == 0:
            return 0.0
        low, _, high = statistics.quantiles(self.samples, n=4, method="inclusive")
        return (high - low) / 2 / abs(self.median)

    @property
    def is_noisy(self) -> bool:
        """Whether the rounds differ so much that the median says little."""
        return self.spread > SPREAD_MAX

    @property
    def reached(self) -> bool | None:
        """Whether the median reaches the target; None without one."""
        if self.at_least is not None:
            return self.median >= self.at_least
        if self.at_most is not None:
            return self.median <= self.at_most
        return None


@dataclass(frozen=True, slots=True)
class Point:
    """One place on a curve."""

    x: float
    samples: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Curve:
    """One value as a function of another.

    Attributes:
        name: by which it is found; the picture is called so.
        title: what the reader sees.
        series: which of several lines in one picture this is.
        x_label, y_label: with their units.
        x_is_log, y_is_log: how the axes are drawn.
        points: by x.
        note: what one must know to read it.
    """

    name: str
    title: str
    series: str
    x_label: str
    y_label: str
    points: tuple[Point, ...]
    x_is_log: bool = True
    y_is_log: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class Results:
    """Results of one experiment, and the kind of machine."""

    experiment: str
    machine: dict[str, Any]
    figures: tuple[Figure, ...] = ()
    curves: tuple[Curve, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        """Leave `<folder>/<experiment>.json`."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.experiment}.json"
        path.write_bytes(orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2))
        return path

    @classmethod
    def read(cls, path: Path) -> "Results":
        """The file that `write` left."""
        found = orjson.loads(path.read_bytes())
        figures = tuple(Figure(**{**figure, "samples": tuple(figure["samples"])}) for figure in found["figures"])
        curves = tuple(
            Curve(**{**curve, "points": tuple(Point(point["x"], tuple(point["samples"])) for point in curve["points"])})
            for curve in found["curves"]
        )
        return cls(found["experiment"], found["machine"], figures, curves, found["details"])


def ratios(above: Sequence[float], below: Sequence[float]) -> tuple[float, ...]:
    """The figures measured side by side, round by round."""
    return tuple(one / other for one, other in zip(above, below, strict=True))
