"""Every fault is found that the walks and the machine are there to find."""

import contextlib
import io
import os
from collections.abc import Iterator

import orjson
import pytest
from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis.stateful import run_state_machine_as_test

from grab_service.cell.scripts import GRAB, ScriptSources
from tests.harness.lua_mutants import Mutant
from tests.harness.results import LUA_MUTANTS
from tests.lua.invariants import INVARIANTS
from tests.lua.machine import machine_in
from tests.lua.walker import BrokenError, Laboratory
from tests.lua.walks import WALKS, walk_in
from tests.rules import MUTANTS

BY_CHANCE = ("sold out", "claims are counted", "what the caller has seen", "a unit given again is taken from the free")


@contextlib.contextmanager
def laboratory(valkey_url: str, sources: ScriptSources) -> Iterator[Laboratory]:
    lab = Laboratory(valkey_url, sources)
    try:
        yield lab
    finally:
        lab.close()


def test_every_mutant_is_one_fault_of_its_own(sources: ScriptSources) -> None:
    assert len({mutant.of(sources).by_name[mutant.script] for mutant in MUTANTS}) == len(MUTANTS)


def found_on(lab: Laboratory) -> tuple[str, tuple[str, ...]]:
    """(the first walk on which something broke, what broke); nothing: it survived."""
    for walk in WALKS:
        try:
            walk_in(lab, walk)
        except BrokenError as error:
            return walk.__name__, error.names
    return "", ()


@pytest.mark.slow
def test_every_mutant_is_found_on_a_walk(valkey_url: str, sources: ScriptSources, capsys: pytest.CaptureFixture[str]) -> None:
    found: dict[Mutant, tuple[str, tuple[str, ...]]] = {}
    for mutant in MUTANTS:
        with laboratory(valkey_url, mutant.of(sources)) as lab:
            found[mutant] = found_on(lab)
    if os.environ.get("GRAB_MUTANTS") == "all":
        LUA_MUTANTS.parent.mkdir(parents=True, exist_ok=True)
        said = {
            str(mutant): f"{walk}: {', '.join(names)}" if walk else "**SURVIVED**" for mutant, (walk, names) in found.items()
        }
        LUA_MUTANTS.write_bytes(orjson.dumps(said))
    with capsys.disabled():
        print(f"\n\n  {'script: guard':<60} {'found on':<25} by")  # noqa: T201  # the table is what this is for
        for mutant, (walk, names) in found.items():
            print(f"  {mutant!s:<60} {walk or 'SURVIVED':<25} {', '.join(names)}")  # noqa: T201
    assert [str(mutant) for mutant, (walk, _) in found.items() if not walk] == []
    assert {name for _, names in found.values() for name in names} >= INVARIANTS.keys(), "an invariant that nothing breaks"


@pytest.mark.slow
@pytest.mark.parametrize("guard", BY_CHANCE)
def test_chance_finds_mutants_too(guard: str, valkey_url: str, sources: ScriptSources) -> None:
    hunt = settings(
        max_examples=200,
        stateful_step_count=30,
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.generate,),
        verbosity=Verbosity.quiet,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    (mutant,) = [mutant for mutant in MUTANTS if (mutant.script, mutant.guard) == (GRAB, guard)]
    with (
        laboratory(valkey_url, mutant.of(sources)) as lab,
        contextlib.redirect_stdout(io.StringIO()),
        pytest.raises(BrokenError),
    ):
        run_state_machine_as_test(machine_in(lab), settings=hunt)
