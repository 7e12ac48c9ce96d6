r"""The options of a locust run of the members, its begin and its end.

    locust -f loadtest/locustfile.py --headless --host http://127.0.0.1:8000 --campaign ID --passes passes.tsv \
        --shape spike --users 2000 --spawn-rate 500 --run-time 2m --html var/locust.html

The campaign should have fewer units than there are users, or nobody is refused. Start it some time before the opening:
members arrive, set their clocks, watch, grab when it opens, repeat where the answer asks for it, and look at what they
got. It ends when everyone is done, or after the run time. With `--processes N` the members are shared out. Exit status
is 0 if nothing failed, the clients' answers agree with the service's record, and no cheater gained anything; a business refusal
is no failure.
"""

import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from locust import events
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

from loadtest.behaviour.callers import Caller, Scene
from loadtest.behaviour.cheaters import Hammerer, Replayer, Sharer
from loadtest.behaviour.course import ShapeName
from loadtest.behaviour.judge import Judge
from loadtest.behaviour.outcomes import Outcomes
from loadtest.behaviour.recorder import Recorder
from loadtest.behaviour.shapes import Shape
from loadtest.behaviour.users import Member, Refresher
from loadtest.passes import read_passes
from loadtest.service import Service, ServiceError

# The names that locust looks for here.
__all__ = ["Hammerer", "Member", "Refresher", "Replayer", "Shape", "Sharer"]

WEB_HOST = "127.0.0.1"


def add_options(parser: LocustArgumentParser) -> None:
    """Add what a run needs to know beyond locust's own options."""
    add = parser.add_argument
    add("--campaign", required=True, env_var="GRAB_CAMPAIGN", help="the campaign's id")
    add("--passes", help="file with lines member_id<TAB>pass")
    add("--member-ids", help="file with one member_id a line; each gets a pass from /v1/dev/sessions")
    add("--shape", choices=list(ShapeName), default=ShapeName.SPIKE.value, help="who comes, and when")
    add("--reaction-ms", type=int, default=200, help="longest time between the opening and a tap")
    add("--think-s", type=float, default=0.0, help="average pause of a member between two requests")
    add("--waves", type=int, default=3, help="number of waves, for --shape waves")
    add("--wave-every-s", type=float, default=5.0, help="time from one wave to the next, for --shape waves")
    add("--ramp-s", type=float, default=30.0, help="time until all have come, for --shape slow-arrivals")
    add("--refresh-ms", type=int, default=200, help="average time between two reloads, for --shape refresh-storm")
    add("--linger-s", type=float, default=3.0, help="how long reloading and cheating go on after the opening")
    add("--old-passes", help="file of expired or foreign passes, same format as --passes, for --shape cheaters")
    # Without a default of its own the page would show a token to all who can see it.
    add(
        "--ops-token",
        env_var="GRAB_OPS_TOKEN",
        include_in_web_ui=False,
        help="token of an operator or admin, for the claims and the audit",
    )
    add("--ledger-url", include_in_web_ui=False, help="base URL of the ledger's metrics")
    receipts = f"var/locust/{time.strftime('%Y%m%dT%H%M%S')}"
    add("--receipts", default=receipts, include_in_web_ui=False, help="folder for the receipts (%(default)s)")
    add("--verdict", include_in_web_ui=False, help="file for the verdict, JSON")
    _stay_on_this_machine(parser)


def _stay_on_this_machine(parser: LocustArgumentParser) -> None:
    """Let the web page listen on loopback unless something else is asked for: everybody who reaches it can start a rush."""
    parser.set_defaults(web_host=WEB_HOST)
    for action in parser._actions:  # noqa: SLF001  # argparse has no other way to an option's help
        if action.dest == "web_host":
            action.help = f"where the web page listens; '*' is all interfaces (default: {WEB_HOST})"


def set_the_scene(environment: Environment, **_: Any) -> None:
    """Give the members of this process what they share, and the run its end."""
    options = environment.parsed_options
    assert options is not None
    if not options.passes and not options.member_ids:
        raise SystemExit("either --passes or --member-ids is needed")
    runner = environment.runner
    if environment.host and not isinstance(runner, WorkerRunner):
        _see_that_the_campaign_is_there(environment.host, options.campaign)
    outcomes = Outcomes()
    if isinstance(runner, WorkerRunner):
        _on(environment.events.report_to_master, lambda data, **_: data.update(grab=outcomes.take()))
    else:
        _on(environment.events.worker_report, lambda data, **_: outcomes.add(data.get("grab", {})))
        if isinstance(environment.shape_class, Shape):
            environment.shape_class.outcomes = outcomes
        Judge(environment, outcomes).listen()
    if not isinstance(runner, MasterRunner):
        # After the judge, which waits at the begin of a run until the one before is judged.
        _on(environment.events.test_start, lambda **_: _open_the_doors(environment, outcomes))
        _on(environment.events.test_stop, lambda **_: _close_the_doors())


def _see_that_the_campaign_is_there(url: str, campaign: str) -> None:
    try:
        with Service(url) as service:
            service.campaign(campaign)
    except ServiceError as error:
        raise SystemExit(f"locust: {error}") from error


def _open_the_doors(environment: Environment, outcomes: Outcomes) -> None:
    """Give the members of this process what they share: at the begin of each run anew."""
    options = environment.parsed_options
    assert options is not None
    outcomes.clear()
    Caller.scene = Scene(
        campaign=options.campaign,
        members=_members(environment),
        reaction_s=options.reaction_ms / 1000,
        think_s=options.think_s,
        refresh_s=options.refresh_ms / 1000,
        linger_s=options.linger_s,
        outcomes=outcomes,
        recorder=Recorder(Path(options.receipts), environment.host or "", options.campaign),
        old_passes=_old_passes(options.old_passes),
    )


def _close_the_doors() -> None:
    scene = getattr(Caller, "scene", None)
    if scene is not None:  # it never came so far where the service does not answer
        scene.recorder.note_clock()


def _members(environment: Environment) -> Iterator[tuple[str, str | None]]:
    """Everyone, or this worker's share of everyone.

    A worker learns its place only when it joins its master, so nothing is read before the first member arrives.
    """
    options = environment.parsed_options
    assert options is not None
    everyone: list[tuple[str, str | None]]
    # A field left empty on the web page comes as an empty text.
    if options.passes:
        everyone = [(m.member_id.decode("ascii"), m.bearer.decode("ascii")) for m in read_passes(Path(options.passes))]
    else:
        everyone = [(line, None) for line in Path(options.member_ids).read_text(encoding="utf-8").split()]
    runner = environment.runner
    place = runner.worker_index if isinstance(runner, WorkerRunner) else 0
    yield from islice(everyone, place, None, max(1, options.processes or 1))


def _old_passes(file: str | None) -> tuple[str, ...]:
    return () if not file else tuple(member.bearer.decode("ascii") for member in read_passes(Path(file)))


def _on(event: Any, listener: Callable[..., object]) -> None:
    event.add_listener(listener)


_on(events.init_command_line_parser, add_options)
_on(events.init, set_the_scene)
