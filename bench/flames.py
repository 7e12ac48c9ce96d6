"""The figures of a flame graph: time of each function itself, and of each module.

Read from the SVG that py-spy writes, so that the numbers are those of the picture.
"""

import html
import re
import sys
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

ROOT: Final = "all"
LOOP: Final = "event loop and its system calls"
TOP: Final = 15
_WAITS: Final = "selectors.py"
_STARTS: Final = (
    *(
        "grab_service/service/serve.py",
        "grab_service/server/worker_process.py",
        "grab_service/cli/main.py",
        "grab_service/cli/running.py",
    ),
    *("reconcile/__main__.py", "uvicorn/server.py", "uvicorn/main.py", "uvicorn/_compat.py"),
)
"""Functions that only start the rest: every stack goes through them."""

_FRAME: Final = re.compile(
    r"<title>(?P<name>[^<]*) \([\d,]+ samples?, [^<]*</title>"
    r'<rect [^>]*y="(?P<y>\d+)"[^>]*fg:x="(?P<x>\d+)" fg:w="(?P<samples>\d+)"'
)
_PLACE: Final = re.compile(r"^(?P<function>.*) \((?P<file>[^()]*?)(?::\d+)?\)$")
_OURS: Final = ("grab_service/", "reconcile/")


class FlamesError(Exception):
    """The file is no flame graph, or an empty one."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One box of the picture: a function called from the box above it."""

    name: str
    depth: int
    x: int
    samples: int

    @property
    def function(self) -> str:
        """Its name."""
        place = _PLACE.match(self.name)
        return place["function"] if place else self.name

    @property
    def file(self) -> str:
        """Its file, from the top of its package; empty for a frame that is no Python."""
        place = _PLACE.match(self.name)
        return place["file"] if place else ""


@dataclass(frozen=True, slots=True)
class Flames:
    """All stacks of one picture, each from its root to its end, with the samples that ended there."""

    stacks: tuple[tuple[tuple[Frame, ...], int], ...]

    @classmethod
    def read(cls, path: Path) -> "Flames":
        """From an SVG.

        Raises:
            FlamesError: there is nothing in it.
        """
        stacks = tuple(_stacks(path.read_text(encoding="utf-8")))
        if not stacks:
            raise FlamesError(f"{path} shows no samples")
        return cls(stacks)

    @property
    def busy(self) -> "Flames":
        """Without those in which the process waited for somebody to say something."""
        return Flames(tuple(one for one in self.stacks if one[0][-1].file != _WAITS))

    @property
    def samples(self) -> int:
        """The number of samples."""
        return sum(samples for _, samples in self.stacks)

    def functions(self) -> Counter[str]:
        """Samples by function and file, each counted where the stack ended."""
        found: Counter[str] = Counter()
        for stack, samples in self.stacks:
            found[f"{stack[-1].function} ({stack[-1].file})"] += samples
        return found

    def modules(self) -> Counter[str]:
        """Samples by module of ours or package of others; the standard library's count for its caller."""
        found: Counter[str] = Counter()
        for stack, samples in self.stacks:
            found[next((owner for frame in reversed(stack) if (owner := _owner(frame.file))), LOOP)] += samples
        return found

    def summary(self) -> dict[str, Any]:
        """The largest shares of the time that it was busy, for JSON."""
        busy = self.busy
        total = busy.samples
        return {
            "samples": total,
            "samples_waiting": self.samples - total,
            "functions": [[name, samples / total] for name, samples in busy.functions().most_common(TOP)],
            "modules": [[name, samples / total] for name, samples in busy.modules().most_common(TOP)],
        }


def _owner(file: str) -> str:
    """The module or package that a file's time counts for; empty for the standard library and what only starts the rest."""
    package = file.partition("/")[0].removesuffix(".py")
    if file in _STARTS or not package or package.startswith("<") or package in sys.stdlib_module_names or package == "typer":
        return ""
    return file if file.startswith(_OURS) else package


def _stacks(svg: str) -> Iterator[tuple[tuple[Frame, ...], int]]:
    found = [
        (int(match["y"]), Frame(html.unescape(match["name"]), 0, int(match["x"]), int(match["samples"])))
        for match in _FRAME.finditer(svg)
    ]
    heights = {y: depth for depth, y in enumerate(sorted({y for y, _ in found}))}
    rows: list[list[Frame]] = [[] for _ in heights]
    for y, frame in found:
        rows[heights[y]].append(Frame(frame.name, heights[y], frame.x, frame.samples))
    for row in rows:
        row.sort(key=lambda frame: frame.x)
    parents: dict[Frame, Frame] = {}
    own = {frame: frame.samples for row in rows for frame in row}
    for above, below in pairwise(rows):
        starts = [frame.x for frame in above]
        for frame in below:
            parent = above[bisect_right(starts, frame.x) - 1]
            parents[frame] = parent
            own[parent] -= frame.samples
    for frame, samples in own.items():
        if samples > 0 and frame.name != ROOT:
            stack = [frame]
            while stack[-1] in parents:
                stack.append(parents[stack[-1]])
            yield tuple(reversed(stack[:-1] if stack[-1].name == ROOT else stack)), samples
