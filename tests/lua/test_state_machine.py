"""The rules do what a plain model does, for all questions in any order."""

import os

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.lua.machine import machine_in
from tests.lua.walker import Laboratory

# Explaining a failure line by line is left out: it slows every step down tenfold.
PHASES = (Phase.reuse, Phase.generate, Phase.shrink)
# The small profile is the same every time; `GRAB_MACHINE=thorough` looks for what it has not seen before, for minutes.
PROFILES = {
    "small": settings(max_examples=100, stateful_step_count=33, derandomize=True, database=None, phases=PHASES),
    "thorough": settings(max_examples=5000, stateful_step_count=60, phases=PHASES),
}


@pytest.mark.timeout(3600)
def test_wherever_chance_leads_the_rules_do_what_the_model_does(lab: Laboratory) -> None:
    profile = PROFILES[os.environ.get("GRAB_MACHINE", "small")]
    run_state_machine_as_test(
        machine_in(lab), settings=settings(profile, deadline=None, suppress_health_check=list(HealthCheck))
    )
    answers = {outcome for command, outcome in lab.met if command == "grab"}
    assert answers >= {"won", "held", "sold_out", "paused", "ended", "member_unknown", "per_member_limit"}, "too timid a walk"
