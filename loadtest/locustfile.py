r"""How does a locust run of the members start, count and end?

    locust -f loadtest/locustfile.py --headless --host http://127.0.0.1:8000 --campaign ID --passes passes.tsv \
        --users 2000 --spawn-rate 500 --run-time 2m --html var/locust.html

Start it some time before the opening: members arrive, set their clocks, watch, grab when it opens, repeat where the
answer asks for it, and look at what they got. It ends when everyone is done, or after the run time. With
`--processes N` the members are shared out. Exit status is 0 if nothing failed; a business refusal is no failure.
"""

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import gevent  # type: ignore[import-untyped]
from locust import events
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

from loadtest.crowd import read_passes
from loadtest.outcomes import Outcomes
from loadtest.users import Member, Setting

__all__ = ["Member"]  # what locust looks for here

WATCH_S = 0.5


def add_options(parser: LocustArgumentParser) -> None:
    """Add what a run needs to know beyond locust's own options."""
    group = parser.add_argument_group("grab")
    group.add_argument("--campaign", required=True, env_var="GRAB_CAMPAIGN", help="the campaign's id")
    group.add_argument("--passes", help="file with lines member_id<TAB>pass")
    group.add_argument("--member-ids", help="file with a member_id a line: passes by /v1/dev/sessions")
    group.add_argument("--reaction-ms", type=int, default=200, help="a member takes up to so long to tap")


def set_the_scene(environment: Environment, **_: Any) -> None:
    """Give the members of this process what they share, and the run its end."""
    options = environment.parsed_options
    assert options is not None
    if options.passes is None and options.member_ids is None:
        raise SystemExit("either --passes or --member-ids is needed")
    outcomes = Outcomes()
    runner = environment.runner
    if not isinstance(runner, MasterRunner):
        Member.setting = Setting(
            campaign=options.campaign,
            members=_members(environment),
            reaction_s=options.reaction_ms / 1000,
            outcomes=outcomes,
        )
    if isinstance(runner, WorkerRunner):
        _on(environment.events.report_to_master, lambda data, **_: data.update(grab=outcomes.take()))
        return
    _on(environment.events.worker_report, lambda data, **_: outcomes.add(data.get("grab", {})))
    _on(environment.events.quit, lambda **_: print("\n".join(["", *outcomes.table_lines()])))
    if options.headless:
        _on(environment.events.spawning_complete, lambda **_: gevent.spawn(_end_when_done, environment))


def _members(environment: Environment) -> Iterator[tuple[str, str | None]]:
    """Everyone, or this worker's share of everyone.

    A worker learns its place only when it joins its master, so nothing is read before the first member arrives.
    """
    options = environment.parsed_options
    assert options is not None
    everyone: list[tuple[str, str | None]]
    if options.passes is not None:
        everyone = [(m.member_id.decode("ascii"), m.bearer.decode("ascii")) for m in read_passes(Path(options.passes))]
    else:
        everyone = [(line, None) for line in Path(options.member_ids).read_text(encoding="utf-8").split()]
    runner = environment.runner
    place = runner.worker_index if isinstance(runner, WorkerRunner) else 0
    yield from islice(everyone, place, None, max(1, options.processes or 1))


def _end_when_done(environment: Environment) -> None:
    runner = environment.runner
    assert runner is not None
    while runner.user_count > 0:
        gevent.sleep(WATCH_S)
    runner.quit()


def _on(event: Any, listener: Callable[..., object]) -> None:
    event.add_listener(listener)


_on(events.init_command_line_parser, add_options)
_on(events.init, set_the_scene)
