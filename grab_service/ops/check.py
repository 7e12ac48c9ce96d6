"""What does one check of readiness say?"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """Whether one thing is as it should be, in words for whoever is on call."""

    ok: bool
    detail: str
