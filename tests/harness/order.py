"""In which order do several workers take the tests, so that none is left with a long one while the others have nothing to do?

The longest come first, then the other slow ones, each for whichever worker is free; then the quick ones, a module at a time,
which keeps what a module sets up with one worker; and last those that run alone. A module whose slow tests share what it sets
up says so itself: `xdist_group`.
"""

from pathlib import Path
from typing import Final

import pytest

LONGEST: Final = tuple(
    line.partition(" ")[2] for line in (Path(__file__).parent / "longest.txt").read_text(encoding="utf-8").splitlines() if line
)


@pytest.hookimpl(tryfirst=True)  # before the groups become parts of the tests' names
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Each worker does the same, and no more is done where there are none."""
    if not hasattr(config, "workerinput"):
        return
    for item in items:
        if not any(map(item.get_closest_marker, ("slow", "alone", "xdist_group"))):
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> tuple[int, int]:
    function = item.nodeid.partition("[")[0]
    if item.get_closest_marker("alone"):
        return 3, 0
    if function in LONGEST:
        return 0, LONGEST.index(function)
    return (1 if item.get_closest_marker("slow") else 2), 0
