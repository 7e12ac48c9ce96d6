"""The shape of a locust run: it brings the users in by the course, and ends the run.

Importing this imports locust: see `loadtest.behaviour.callers`.
"""

import logging
import time

from locust import LoadTestShape, User
from locust.env import Environment

from loadtest.behaviour.cheaters import Hammerer, Replayer, Sharer
from loadtest.behaviour.course import Course, ShapeName
from loadtest.behaviour.outcomes import Outcomes
from loadtest.behaviour.users import Member, Refresher
from loadtest.service import Service, ServiceError

USERS_DEFAULT = 100
RATE_DEFAULT = 200.0

log = logging.getLogger(__name__)

CAST: dict[ShapeName, list[type[User]]] = {
    ShapeName.SPIKE: [Member],
    ShapeName.WAVES: [Member],
    ShapeName.REFRESH_STORM: [Refresher],
    ShapeName.SLOW_ARRIVALS: [Member],
    ShapeName.CHEATERS: [Member, Hammerer, Sharer, Replayer],
}


class Shape(LoadTestShape):
    """Follows the course that the options name; ends when all who were to come have gone, or when the time is over."""

    use_common_options = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # of locust
        self._course: Course | None = None
        self.outcomes = Outcomes()  # of the run, where there is one

    def reset_time(self) -> None:
        """Begin anew, by the options as they are now; those who have gone are of the run before."""
        super().reset_time()  # type: ignore[no-untyped-call]  # of locust
        self._course = None
        self.outcomes.clear()

    def tick(self) -> tuple[int, float, list[type[User]] | None] | None:
        """Number of users now, their rate of arrival, and their classes; None at the end."""
        assert self.runner is not None
        if self._course is None:
            try:
                self._course = course_of(self.runner.environment)
            except ServiceError as error:
                # To raise it would end the greenlet, and locust would take no other run from its page.
                log.error("there is no run: %s", error)  # noqa: TRY400  # the sentence says it all
                self.runner.environment.process_exit_code = 1
                return None
        course = self._course
        run_s: float = self.get_run_time()  # type: ignore[no-untyped-call]  # of locust
        if course.run_time_s is not None and run_s > course.run_time_s:
            return None
        if self.outcomes.gone.total() >= course.users:
            return None
        return course.arrived(run_s), course.rate, CAST[course.name]


def course_of(environment: Environment) -> Course:
    """The course that the options name; asks the service how long it is until the opening.

    Raises:
        ServiceError: the service does not say.
    """
    options = environment.parsed_options
    assert options is not None
    with Service(environment.host or "") as service:
        away_s = (service.campaign(options.campaign).opens_at_ms - service.now_ms()) / 1000
    opens_at_s = time.monotonic() + away_s
    return Course(
        name=ShapeName(options.shape),
        users=options.num_users or USERS_DEFAULT,
        rate=options.spawn_rate or RATE_DEFAULT,
        run_time_s=options.run_time,
        waves=max(1, options.waves),
        wave_every_s=options.wave_every_s,
        ramp_s=options.ramp_s,
        opens_in_s=lambda: opens_at_s - time.monotonic(),
    )
