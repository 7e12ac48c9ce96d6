"""The rules keep in step with the model on walks through every corner."""

import pytest

from grab_service.cell.scripts import ScriptSources
from tests.lua.headers import Command
from tests.lua.walker import TIME, Laboratory
from tests.lua.walks import WALKS, Walk, walk_in

READERS = {"tail", "snapshot", "scan_holders", "read_claims", "read_campaigns"}


@pytest.mark.parametrize("walk", WALKS, ids=lambda walk: walk.__name__)
def test_on_every_walk_the_rules_do_what_the_model_does(walk: Walk, lab: Laboratory) -> None:
    walk_in(lab, walk)


def test_the_walks_meet_every_outcome_of_every_command(lab: Laboratory, sources: ScriptSources) -> None:
    for walk in WALKS:
        walk_in(lab, walk)
    for name, source in sources.by_name.items():
        command = Command.parse(name, source)
        assert command is not None
        outcomes = {"went_back"} | (set(command.outcomes) if name not in READERS else set())
        assert outcomes - {outcome for met, outcome in lab.met if met == name} == set(), name


def test_every_reading_of_the_clock_is_of_the_one_that_a_walk_sets(lab: Laboratory, sources: ScriptSources) -> None:
    for name, source in lab.sources.by_name.items():
        assert "TIME'" not in source
        assert (source != sources.by_name[name]) == (TIME in sources.by_name[name])
