"""The judge of locust runs: it watches each run and compares it with the service afterwards, one run after the other.

Importing this imports locust: see `loadtest.behaviour.callers`.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gevent  # type: ignore[import-untyped]
import orjson
from locust.env import Environment
from locust.html import process_html_filename

from loadtest.behaviour import pages
from loadtest.behaviour.outcomes import Outcomes
from loadtest.verifier.service_figures import Counters, ServiceFigures
from loadtest.verifier.verdict import RunVerdict, as_csv, conclude

LOOK_S = 2.0
LAST_REPORTS_S = 0.5


@dataclass(slots=True)
class _Run:
    """One run, with the options as they were when it began: the page can change them while it goes on.

    Attributes:
        server: where the service is asked.
        before: the service's counters at the begin; None if it shows none.
        receipts: the folder of the receipts, those of earlier runs included.
        earlier: answers to earlier runs at the same campaign, by name.
        judged: the verdict is out.
    """

    server: ServiceFigures
    before: Counters | None
    receipts: Path
    earlier: Counter[str]
    judged: bool = False


@dataclass(slots=True)
class Judge:
    """The place where runs are watched and judged: the only process, or the master of several.

    Attributes:
        environment: locust's.
        outcomes: what the clients of the run count.
    """

    environment: Environment
    outcomes: Outcomes
    _run: _Run | None = None
    _seen: RunVerdict | None = None
    _answers: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)
    _watching: Any = None
    _judging: Any = None

    def listen(self) -> None:
        """Hear of the begin and the end of each run."""
        hooks = self.environment.events
        _on(hooks.test_start, lambda **_: self._begin())
        _on(hooks.test_stop, lambda **_: self._stop())
        _on(hooks.quitting, lambda **_: self._finish())
        _on(hooks.quit, lambda **_: print("\n".join(["", *self.outcomes.table_lines(), "", *self._verdict().lines()])))
        if self.environment.web_ui is not None:
            pages.add_to(
                self.environment.web_ui, rows=lambda: self._verdict().shown(), busy=lambda: self.busy, settle=self.settle
            )

    @property
    def busy(self) -> bool:
        """Whether a run goes on, was asked for, or is not judged yet."""
        runner = self.environment.runner
        asked_for = runner is not None and bool(runner.shape_greenlet)
        return asked_for or (self._run is not None and not self._run.judged)

    def settle(self) -> None:
        """Wait until a run that is over is judged: the next one begins to count anew."""
        if self._judging is not None:
            self._judging.join()

    @property
    def _options(self) -> Any:
        return self.environment.parsed_options

    def _verdict(self) -> RunVerdict:
        """The verdict so far."""
        return self._seen or RunVerdict(self.outcomes.to_document())

    def _begin(self) -> None:
        self.settle()
        self.outcomes.clear()
        options = self._options
        url = self.environment.host or ""
        server = ServiceFigures(url, options.campaign, options.ops_token, options.ledger_url)
        earlier = self._answers.setdefault((url.rstrip("/"), options.campaign), Counter())
        self._run = _Run(server, server.counters(), Path(options.receipts).absolute(), Counter(earlier))
        self._seen = None
        if self.environment.web_ui is not None:
            self._watching = gevent.spawn(self._watch, self._run)

    def _watch(self, run: _Run) -> None:
        """Keep an interim verdict to show; counters that are collected in batches are a moment behind."""
        while True:
            counters = run.server.counters()
            seen = RunVerdict(self.outcomes.to_document(), run.earlier)
            seen.counters = counters if counters is None or run.before is None else counters.since(run.before)
            self._seen = seen
            gevent.sleep(LOOK_S)

    def _stop(self) -> None:
        if self._watching is not None:
            self._watching.kill(block=False)
        run = self._run
        if self.environment.web_ui is not None and run is not None and not run.judged:
            self._judging = gevent.spawn(self._judge, run)

    def _finish(self) -> None:
        """Locust ends: judge what is not judged yet, and add the table to the report that locust has just written."""
        self.settle()
        run = self._run
        if run is None:
            return
        if not run.judged:
            self._judge(run)
        options = self._options
        if options.html_file:
            process_html_filename(options)
            if Path(options.html_file).exists():
                pages.add_to_report(Path(options.html_file), self._verdict().rows())

    def _judge(self, run: _Run) -> None:
        """Look at everything; a run that must not pass gives locust its exit status."""
        try:
            gevent.sleep(LAST_REPORTS_S)  # the service hands its counters on twice a second, and workers report once more
            verdict = conclude(run.server, run.before, self.outcomes.to_document(), run.receipts, run.earlier)
            self._seen = verdict
            self._answers[run.server.url.rstrip("/"), run.server.campaign].update(verdict.outcomes["answers"])
            if verdict.faults:
                self.environment.process_exit_code = 1
            self._write(verdict)
        finally:
            run.judged = True

    def _write(self, verdict: RunVerdict) -> None:
        options = self._options
        if options.verdict:
            _written(Path(options.verdict), orjson.dumps(verdict.to_document(), option=orjson.OPT_INDENT_2) + b"\n")
        if options.csv_prefix:
            _written(Path(f"{options.csv_prefix}_server_truth.csv"), as_csv(verdict.rows()).encode())


def _written(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _on(event: Any, listener: Callable[..., object]) -> None:
    event.add_listener(listener)
