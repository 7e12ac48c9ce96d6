"""The stampede's command line, and its line of progress."""

import argparse
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import orjson

from loadtest.generator.config import StampedeConfig
from loadtest.generator.processes import ShardError
from loadtest.generator.result import summary_lines
from loadtest.generator.schedule import Shape
from loadtest.generator.stampede import StampedeError, run
from loadtest.passes import PassesError
from loadtest.service import ServiceError

PROCESSES_MAX = 64
CONNECTIONS_MAX = 60_000
TAPS_MAX = 1_000

_LINE_EVERY_S = 1.0


def parse_arguments(arguments: Sequence[str] | None = None) -> tuple[StampedeConfig, Path | None]:
    """Read the command line: what to do, and where the figures go."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.stampede",
        description="Let a whole crowd tap at the opening of a campaign, each with their own pass, and report.",
        epilog="Exit status: 0 if everyone had a final answer, 1 if not, 2 if it could not be done.",
    )
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="base URL of the service (%(default)s)")
    parser.add_argument("--campaign", required=True, help="the campaign's id")
    parser.add_argument("--passes", required=True, type=Path, help="file with lines member_id<TAB>pass")
    parser.add_argument("--receipts", required=True, type=Path, help="directory for the receipts")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--connections", type=_count(CONNECTIONS_MAX), default=256, help="over all (%(default)s)")
    parser.add_argument("--processes", type=_count(PROCESSES_MAX), default=1, help="that share the crowd (%(default)s)")
    parser.add_argument(
        "--schedule",
        type=Shape,
        choices=list(Shape),
        default=Shape.INSTANT,
        help="instant: everybody at opening; ramp: evenly over the spread; exp: most of them early (%(default)s)",
    )
    parser.add_argument("--spread-s", type=_seconds, default=2.0, help="of ramp and exp (%(default)s)")
    parser.add_argument("--timeout-s", type=_seconds, default=60.0, help="after the start, for everyone (%(default)s)")
    parser.add_argument("--answer-timeout-s", type=_seconds, default=5.0, help="for one answer, then asked again (%(default)s)")
    parser.add_argument("--connect-s", type=_seconds, default=15.0, help="to open the connections (%(default)s)")
    parser.add_argument("--wait-s", type=_seconds, default=900.0, help="how far off the opening may be (%(default)s)")
    parser.add_argument("--start-at-ms", type=int, help="start then, server clock, and not at the opening")
    parser.add_argument("--lead-ms", type=int, default=0, help="start this much too early (%(default)s)")
    parser.add_argument("--taps", type=_count(TAPS_MAX), default=1, help="by each member (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="shuffles the crowd (%(default)s)")
    parser.add_argument("--idempotency-prefix", help="send Idempotency-Keys PREFIX-member")
    found = vars(parser.parse_args(arguments))
    figures: Path | None = found.pop("json")
    return StampedeConfig(**found), figures


class ProgressLine:
    """Shows progress on standard error: a live line on a terminal, a line a second elsewhere."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._last_s = 0.0

    def show(self, figures: dict[str, int]) -> None:
        """Show the figures, or not yet."""
        now_s = time.monotonic()
        if not self._live and now_s - self._last_s < _LINE_EVERY_S:
            return
        self._last_s = now_s
        text = "  ".join(f"{name} {figures[name]:,}" for name in figures)
        if self._live:
            sys.stderr.write(f"\r\033[K{text}")
        else:
            sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    def clear(self) -> None:
        """Leave the terminal clean for what follows."""
        if self._live:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stampede; returns the exit status."""
    config, figures = parse_arguments(arguments)
    progress = ProgressLine()
    try:
        result = run(config, progress.show)
    except (StampedeError, PassesError, ServiceError, ShardError, OSError) as error:
        progress.clear()
        print(f"stampede: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stampede: called off before the start", file=sys.stderr)
        return 130
    progress.clear()
    if figures is not None:
        figures.parent.mkdir(parents=True, exist_ok=True)
        figures.write_bytes(orjson.dumps(result.to_document(), option=orjson.OPT_INDENT_2) + b"\n")
    print("\n".join(summary_lines(result)))
    return 1 if result.errors else 0


def _count(most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        value = int(text)
        if not 1 <= value <= most:
            raise argparse.ArgumentTypeError(f"{value} is not between 1 and {most}")
        return value

    read.__name__ = "number"
    return read


def _seconds(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and 0 <= value <= 86_400):
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds")
    return value


if __name__ == "__main__":
    raise SystemExit(main())
