"""Which changes of a sample change nothing that anybody could notice, and why?"""

from collections.abc import Mapping
from typing import Final

EQUIVALENTS: Final[Mapping[tuple[str, str], str]] = {}
"""(file, what `Change.shown` says) to the reason, which somebody who doubts it can check."""
