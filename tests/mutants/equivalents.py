"""Changes of a sample that alter nothing observable, each with the reason."""

from collections.abc import Mapping
from typing import Final

EQUIVALENTS: Final[Mapping[tuple[str, str], str]] = {
    (
        "grab_service/cell/store.py",
        "- self._reload_not_before = 0.0\n+ self._reload_not_before = 1.0",
    ): "a moment of a monotonic clock that has passed when the process starts: the machine has run for more than a second",
    (
        "grab_service/grabpath/gate.py",
        "- if high_ms < campaign.opens_at_ms:\n+ if high_ms <= campaign.opens_at_ms:",
    ): "the verdict would end before it is judged (`until_s` lies 2 ms before the opening), so Lua is asked as well",
}
"""(file, what `Change.shown` says) to the reason, which somebody who doubts it can check."""
