"""Exclusive runs of tests that claim a time.

Marked `alone`, it comes last (see `order`) and waits until no other worker runs a test; the others wait until it has ended.
"""

import fcntl
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.hookimpl(wrapper=True, tryfirst=True)  # before the clock of a test's timeout starts
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Hold the run's lock, together with others or alone."""
    shared = getattr(item.config, "workerinput", {}).get("shared_dir")
    if shared is None:
        return (yield)
    with Path(shared, "running").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if item.get_closest_marker("alone") else fcntl.LOCK_SH)
        return (yield)
