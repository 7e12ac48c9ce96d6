"""The help of every command is there, true, short enough to read, and quick."""

import resource
import shlex
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main

from grab_service.campaigns.definition import TOTAL_MAX
from grab_service.cli import lifecycle, rehearsing, running
from grab_service.cli.main import app
from grab_service.demo.rush import RushPlan
from grab_service.files.synthetic import MEMBERS, ORGS
from grab_service.rehearsal import goals, load
from grab_service.settings import Settings

ROOT: Any = typer.main.get_command(app)
HEAVY = ("alembic", "asyncpg", "fastapi", "httpx", "pydantic", "redis", "rich", "sqlalchemy", "structlog", "uvicorn")


def commands(command: Any = ROOT, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if hasattr(command, "commands"):
        for name, below in command.commands.items():
            yield from commands(below, (*path, name))
    else:
        yield path, command


ALL = dict(commands())


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_says_in_a_few_words_what_it_does(path: tuple[str, ...]) -> None:
    text = ALL[path].get_short_help_str(200)
    assert 10 < len(text) <= 60, text
    assert text.endswith("."), text
    for parameter in ALL[path].params:
        assert parameter.help or parameter.name == "ttl_s", f"{parameter.name} has no words"


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_example_names_a_command_and_options_that_exist(path: tuple[str, ...]) -> None:
    lines = [line.strip() for line in (ALL[path].epilog or "").splitlines() if "grab " in line]
    assert lines, "a command without an example"
    for line in lines:
        words = shlex.split(line[line.index("grab ") :].split(" | ")[0].split(" <")[0])[1:]
        assert tuple(words[: len(path)]) == path, f"{line!r} is an example of another command"
        known = {option for parameter in ALL[path].params for option in parameter.opts}
        for word in words[len(path) :]:
            if word.startswith("-") and word != "-":
                assert word in known, f"{word} of {line!r} is no option"


def test_the_commands_that_were_promised_are_there() -> None:
    named = {" ".join(path) for path in ALL}
    assert named == {
        *("serve", "reconcile", "run", "demo", "rehearse", "doctor", "audit", "provision", "migrate", "recover"),
        *(f"campaign {name}" for name in ("create", "list", "show", "explain", "preflight", "codes", "claims")),
        *(f"campaign {name}" for name in ("schedule", "pause", "resume", "close", "cancel", "stock", "make-good")),
        *("members import", "members generate", "orgs import", "passes mint", "passes ops", "passes list", "passes end"),
        *("campaign copy", "campaign edit", "campaign delete", "campaign report", "log", "block", "unblock"),
        *("secrets new", "secrets key", "alarms list", "alarms acknowledge"),
    }


def test_help_loads_none_of_the_libraries_that_only_the_work_needs() -> None:
    look = f"import sys, grab_service.cli.main; print(sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def processor_s(*arguments: str) -> tuple[float, str]:
    """Processor time that Python takes for these arguments, and what it says."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def test_help_costs_less_than_half_of_what_a_command_costs_that_loads_everything() -> None:
    help_s, said = processor_s("-m", "grab_service.cli.main", "--help")
    all_s, _ = processor_s("-c", f"import grab_service.cli.main, {', '.join(HEAVY)}")
    assert help_s < all_s / 2
    headings = [line for line in said.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert headings == ["Options:", "Run it:", "Campaigns and people:", "Look after it:"]


def test_defaults_and_bounds_that_help_shows_are_those_in_force() -> None:
    plan = RushPlan()
    assert (plan.members, plan.orgs, plan.stock) == (MEMBERS, ORGS, running.STOCK)
    assert (plan.connections, plan.spread_s) == (running.CONNECTIONS, running.SPREAD_S)
    assert lifecycle.TOTAL_MAX == TOTAL_MAX
    shown = {parameter.name: parameter for parameter in ALL["rehearse",].params}
    assert (shown["p99_ms"].default, shown["lag_s"].default) == (goals.P99_MS, goals.LAG_S)
    assert rehearsing.TAPS_MAX == load.TAPS_MAX
    assert rehearsing.SPREAD_MAX_S == load.SPREAD_MAX_S
    assert max(bound.le for bound in Settings.model_fields["workers"].metadata if hasattr(bound, "le")) == running.WORKERS_MAX


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["campain"], "Did you mean 'campaign'?"),
        (["campaign", "stock", "c"], "--expected"),
        (["serve", "--port", "70000"], "less than or equal to 65535"),
        (["members", "generate"], "--out"),
    ],
)
def test_mistakes_of_usage_end_with_status_two_and_say_where_help_is(arguments: list[str], words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "grab_service.cli.main", *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert words in done.stderr
    assert " -h' for help" in done.stderr
