"""The order of tests among several workers: the longest first, so that no worker is left with one at the end.

The longest come first, then the other slow ones, each for the next free worker; then the quick ones, a module at a time,
which keeps what a module sets up with one worker; and last those that run alone. A module whose slow tests share what it sets
up says so itself: `xdist_group`.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

GROUPS: Final = "groups.json"
"""In the directory that workers share: the group of each test that has one, for `schedule`."""

LONGEST: Final = tuple(
    line.partition(" ")[2] for line in (Path(__file__).parent / "longest.txt").read_text(encoding="utf-8").splitlines() if line
)
"""Tests that take more than a second, the longest first; `make test-fast` leaves them out."""


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Iterator[None]:
    """Mark long tests as slow, before tests are chosen, and put the chosen ones in order.

    Each worker does the same; where there are no workers, the order stays.
    """
    longest = frozenset(LONGEST)
    for item in items:
        if item.nodeid.partition("[")[0] in longest:
            item.add_marker(pytest.mark.slow)
    yield
    shared_dir = getattr(config, "workerinput", {}).get("shared_dir")
    if shared_dir is None:
        return
    items.sort(key=_turn)
    groups = {item.nodeid: group for item in items if (group := _group(item))}
    new = Path(shared_dir, f"{GROUPS}.{os.getpid()}")
    new.write_text(json.dumps(groups), encoding="utf-8")
    new.replace(new.with_name(GROUPS))


def _turn(item: pytest.Item) -> tuple[int, int]:
    function = item.nodeid.partition("[")[0]
    if item.get_closest_marker("alone"):
        return 3, 0
    if function in LONGEST:
        return 0, LONGEST.index(function)
    return (1 if item.get_closest_marker("slow") else 2), 0


def _group(item: pytest.Item) -> str | None:
    asked = item.get_closest_marker("xdist_group")
    if asked:
        return str(asked.args[0])
    if any(map(item.get_closest_marker, ("slow", "alone"))):
        return None
    return item.nodeid.partition("::")[0]
