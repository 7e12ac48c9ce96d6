"""Guards of the figures: what is counted together, and what keeps their number within bounds."""

from functools import partial
from typing import Final

from tests.mutants.mutant import Mutant

_FIGURES: Final = "tests/integration/test_figures.py::test_"
_TWO: Final = "tests/acceptance/test_figures.py::test_"
_of_worker = partial(Mutant, "grab_service/server/figures.py")

MUTANTS: Final = (
    Mutant(
        "grab_service/service/serve.py",
        "workers_count_apart",
        "several workers count together",
        "each counts for itself, and a scraper sees one of them",
        "    if workers == 1 or MULTIPROCESS in os.environ:",
        "    if workers:",
        (f"{_TWO}two_workers_count_together_to_the_last_answer",),
    ),
    Mutant(
        "grab_service/server/supervisor.py",
        "dead_workers_are_counted",
        "a worker that is gone has no connections any more",
        "its last readings are added up for ever",
        'if "PROMETHEUS_MULTIPROC_DIR" in os.environ:',
        "if False:",
        (f"{_TWO}a_worker_that_was_killed_is_no_longer_there_and_what_it_counted_is",),
    ),
    _of_worker(
        "campaigns_without_bound",
        "no more than 50 campaigns are shown",
        "all that are not over are",
        "for campaign in going[:CAMPAIGNS_SHOWN_MAX]:",
        "for campaign in going:",
        (f"{_FIGURES}campaigns_that_are_not_over_are_shown_up_to_a_bound_and_others_are_gone",),
    ),
    _of_worker(
        "campaigns_of_the_past",
        "a campaign that is over is not shown",
        "it is, for good",
        " if campaign.phase(now_ms) not in OVER]",
        "]",
        (f"{_FIGURES}campaigns_that_are_not_over_are_shown_up_to_a_bound_and_others_are_gone",),
    ),
    Mutant(
        "grab_service/measures/calls.py",
        "methods_that_callers_make_up",
        "no label holds what a caller has made up",
        "each made-up method is a figure of its own",
        "method = method if method in METHODS else OTHER",
        "method = str(method)",
        (f"{_FIGURES}ordinary_calls_are_counted_by_their_route_and_never_by_what_callers_make_up",),
    ),
)
