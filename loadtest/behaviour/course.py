"""The course of a locust run: how many users there are at each moment."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class ShapeName(StrEnum):
    """The behaviour of the members in a run."""

    SPIKE = "spike"
    WAVES = "waves"
    REFRESH_STORM = "refresh-storm"
    SLOW_ARRIVALS = "slow-arrivals"
    CHEATERS = "cheaters"


@dataclass(frozen=True, slots=True)
class Course:
    """The plan of a run.

    Attributes:
        name: which shape.
        users: how many come in all.
        rate: how many a second, where the shape leaves that open.
        run_time_s: after so long it is over; None: when all have gone.
        waves: how many waves.
        wave_every_s: from one wave to the next, counted from the opening.
        ramp_s: over how long those come who arrive slowly.
        opens_in_s: how long until the opening.
    """

    name: ShapeName
    users: int
    rate: float
    run_time_s: float | None
    waves: int
    wave_every_s: float
    ramp_s: float
    opens_in_s: Callable[[], float]

    def arrived(self, run_s: float) -> int:
        """Number of users who shall have come after so many seconds of the run."""
        if self.name is ShapeName.SLOW_ARRIVALS and self.ramp_s > 0:
            return min(self.users, max(1, int(self.users * (run_s + 1) / self.ramp_s)))
        if self.name is ShapeName.WAVES:
            # The first waits for the opening; each next one comes when it is its time, and taps at once.
            begun = 1 + int(max(0.0, -self.opens_in_s()) / self.wave_every_s) if self.wave_every_s > 0 else self.waves
            return self.users * min(self.waves, begun) // self.waves
        return self.users
