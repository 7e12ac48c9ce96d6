"""How long a worker that was told to end may take."""

import pytest

from grab_service.service.serve import configured
from grab_service.settings import Settings


@pytest.mark.parametrize("deadline_s", [0.5, 2.0, 8.4, 30.0])
def test_a_worker_that_ends_stays_past_the_deadline_of_every_grab(deadline_s: float) -> None:
    config = configured(Settings(drain_s=3, grab_deadline_s=deadline_s), "app:made")
    assert config.timeout_graceful_shutdown is not None
    assert config.timeout_graceful_shutdown > 3 + deadline_s
