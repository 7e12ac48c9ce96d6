r"""How does a locust run of the members start, count and end?

    locust -f loadtest/locustfile.py --headless --host http://127.0.0.1:8000 --campaign ID --passes passes.tsv \
        --shape spike --users 2000 --spawn-rate 500 --run-time 2m --html var/locust.html

Start it some time before the opening: members arrive, set their clocks, watch, grab when it opens, repeat where the
answer asks for it, and look at what they got. It ends when everyone is done, or after the run time. With
`--processes N` the members are shared out. Exit status is 0 if nothing failed, what clients heard is what the service
holds, and no cheater gained anything; a business refusal is no failure.
"""

import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import gevent  # type: ignore[import-untyped]
import orjson
from locust import events
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.html import process_html_filename
from locust.runners import MasterRunner, WorkerRunner

from loadtest import truth_page
from loadtest.callers import Caller, Scene
from loadtest.cheaters import Hammerer, Replayer, Sharer
from loadtest.course import ShapeName
from loadtest.crowd import read_passes
from loadtest.outcomes import Outcomes
from loadtest.recorder import Recorder
from loadtest.server_side import Counters, ServerSide
from loadtest.service import Service, ServiceError
from loadtest.shapes import Shape
from loadtest.users import Member, Refresher
from loadtest.verdict import Verdict, as_csv, conclude

# What locust looks for here.
__all__ = ["Hammerer", "Member", "Refresher", "Replayer", "Shape", "Sharer"]

LOOK_S = 2.0
LAST_REPORTS_S = 0.5


def add_options(parser: LocustArgumentParser) -> None:
    """Add what a run needs to know beyond locust's own options."""
    add = parser.add_argument
    add("--campaign", required=True, env_var="GRAB_CAMPAIGN", help="the campaign's id")
    add("--passes", help="file with lines member_id<TAB>pass")
    add("--member-ids", help="file with a member_id a line: passes by /v1/dev/sessions")
    add("--shape", choices=list(ShapeName), default=ShapeName.SPIKE.value, help="how they come, and who")
    add("--reaction-ms", type=int, default=200, help="a member takes up to so long to tap")
    add("--think-s", type=float, default=0.0, help="members look at what came for so long, on average")
    add("--waves", type=int, default=3, help="of --shape waves: how many")
    add("--wave-every-s", type=float, default=5.0, help="of --shape waves: from one to the next, from the opening on")
    add("--ramp-s", type=float, default=30.0, help="of --shape slow-arrivals: all have come after so long")
    add("--refresh-ms", type=int, default=200, help="of --shape refresh-storm: how often each reloads, on average")
    add("--linger-s", type=float, default=3.0, help="reloading and cheating goes on for so long")
    add("--old-passes", help="of --shape cheaters: passes good no more, or elsewhere, as --passes")
    # Without a default of its own the page would show a token to all who can see it.
    add("--ops-token", env_var="GRAB_OPS_TOKEN", include_in_web_ui=False, help="to ask for claims and audit")
    add("--ledger-url", include_in_web_ui=False, help="where the ledger shows its metrics")
    receipts = f"var/locust/{time.strftime('%Y%m%dT%H%M%S')}"
    add("--receipts", default=receipts, include_in_web_ui=False, help="folder for the receipts (%(default)s)")
    add("--verdict", include_in_web_ui=False, help="where to write what came of it, JSON")
    # Whoever reaches the page can send a crowd anywhere: it is this machine's alone unless --web-host says otherwise.
    parser.set_defaults(web_host="127.0.0.1")


def set_the_scene(environment: Environment, **_: Any) -> None:
    """Give the members of this process what they share, and the run its end."""
    options = environment.parsed_options
    assert options is not None
    if options.passes is None and options.member_ids is None:
        raise SystemExit("either --passes or --member-ids is needed")
    runner = environment.runner
    _without_slash(environment)
    _on(environment.events.test_start, lambda **_: _without_slash(environment))  # the page may have named another host
    if environment.host and not isinstance(runner, WorkerRunner):
        _see_that_the_campaign_is_there(environment.host, options.campaign)
    outcomes = Outcomes()
    if not isinstance(runner, MasterRunner):
        _on(environment.events.test_start, lambda **_: _open_the_doors(environment, outcomes))
        _on(environment.events.test_stop, lambda **_: _close_the_doors())
    if isinstance(runner, WorkerRunner):
        _on(environment.events.report_to_master, lambda data, **_: data.update(grab=outcomes.take()))
        return
    _on(environment.events.worker_report, lambda data, **_: outcomes.add(data.get("grab", {})))
    _Bench(environment, outcomes).listen()


def _without_slash(environment: Environment) -> None:
    """A browser shows an address with a slash behind it; locust would send two."""
    if environment.host:
        environment.host = environment.host.rstrip("/")


class _Bench:
    """The place where a run is watched and judged: the only process, or the master of several."""

    def __init__(self, environment: Environment, outcomes: Outcomes) -> None:
        self._environment = environment
        self._outcomes = outcomes
        if isinstance(environment.shape_class, Shape):
            environment.shape_class.outcomes = outcomes
        self._before: Counters | None = None
        self._now: Verdict | None = None
        self._concluded = False
        self._judged = True
        self._watching: gevent.Greenlet | None = None

    def listen(self) -> None:
        """Hear of the run's begin and end."""
        hooks = self._environment.events
        _on(hooks.test_start, lambda **_: self._begin())
        _on(hooks.test_stop, lambda **_: self._stop())
        _on(hooks.quitting, lambda **_: self._judge())
        _on(hooks.quit, lambda **_: print("\n".join(["", *self._outcomes.table_lines(), "", *self._verdict().lines()])))
        if self._environment.web_ui is not None:
            truth_page.add_to(self._environment.web_ui, lambda: self._verdict().rows(), lambda: self._judged)

    def _verdict(self) -> Verdict:
        """What is known by now."""
        return self._now or Verdict(self._outcomes.to_document())

    def _server(self) -> ServerSide:
        options = self._options
        return ServerSide(self._environment.host or "", options.campaign, options.ops_token, options.ledger_url)

    @property
    def _options(self) -> Any:
        return self._environment.parsed_options

    def _begin(self) -> None:
        self._outcomes.clear()
        self._concluded, self._judged, self._now = False, False, None
        self._before = self._server().counters()
        if self._environment.web_ui is not None:
            self._watching = gevent.spawn(self._watch)

    def _watch(self) -> None:
        """Have something to show while it goes on; whoever counts in batches is a moment behind."""
        while True:
            counters = self._server().counters()
            seen = Verdict(self._outcomes.to_document())
            seen.counters = counters if counters is None or self._before is None else counters.since(self._before)
            self._now = seen
            gevent.sleep(LOOK_S)

    def _stop(self) -> None:
        if self._watching is not None:
            self._watching.kill(block=False)
        if self._environment.web_ui is not None:
            gevent.spawn(self._judge)

    def _judge(self) -> None:
        """Look at everything, once a run; a run that must not pass gives locust its exit status."""
        if self._concluded or not self._environment.host:
            return
        self._concluded = True
        gevent.sleep(LAST_REPORTS_S)  # the service hands its counters on twice a second, and workers report once more
        options = self._options
        try:
            self._now = conclude(self._server(), self._before, self._outcomes, Path(options.receipts).absolute())
            if self._now.faults:
                self._environment.process_exit_code = 1
            self._write(self._now)
        finally:
            self._judged = True

    def _write(self, verdict: Verdict) -> None:
        options = self._options
        if options.verdict:
            _written(Path(options.verdict), orjson.dumps(verdict.to_document(), option=orjson.OPT_INDENT_2) + b"\n")
        if options.csv_prefix:
            _written(Path(f"{options.csv_prefix}_server_truth.csv"), as_csv(verdict.rows()).encode())
        if options.html_file:
            process_html_filename(options)
            if Path(options.html_file).exists():
                truth_page.add_to_report(Path(options.html_file), verdict.rows())


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
    if options.passes is not None:
        everyone = [(m.member_id.decode("ascii"), m.bearer.decode("ascii")) for m in read_passes(Path(options.passes))]
    else:
        everyone = [(line, None) for line in Path(options.member_ids).read_text(encoding="utf-8").split()]
    runner = environment.runner
    place = runner.worker_index if isinstance(runner, WorkerRunner) else 0
    yield from islice(everyone, place, None, max(1, options.processes or 1))


def _old_passes(file: str | None) -> tuple[str, ...]:
    return () if file is None else tuple(member.bearer.decode("ascii") for member in read_passes(Path(file)))


def _written(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _on(event: Any, listener: Callable[..., object]) -> None:
    event.add_listener(listener)


_on(events.init_command_line_parser, add_options)
_on(events.init, set_the_scene)
