"""The distribution of tests to workers: xdist, group after group in the sequence of `order`.

Its own way to tell groups apart is by the names of tests, which pytest 9 no longer lets it change.
"""

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.harness.order import GROUPS


class InGroups(LoadScopeScheduling):  # type: ignore[misc]  # xdist says nothing of its types
    """A worker that is nearly done gets the next group, or the next test without one."""

    def __init__(self, config: pytest.Config, log: Any, shared_dir: Path) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False
        self._file = shared_dir / GROUPS

    @cached_property
    def _groups(self) -> dict[str, str]:
        groups: dict[str, str] = json.loads(self._file.read_text(encoding="utf-8"))
        return groups

    def _split_scope(self, nodeid: str) -> str:
        return self._groups.get(nodeid, nodeid)
