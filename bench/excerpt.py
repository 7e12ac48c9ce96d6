"""The excerpt in the README: it runs `grab demo --once` and puts the end of its output between the marks there."""

import io
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import orjson
from rich.console import Console

from bench import machine
from grab_service.demo import report as reports
from grab_service.embedded.programs import grab
from grab_service.settings import Settings

PAGE: Final = Path("README.md")
BEGIN: Final = "<!-- demo-excerpt:begin -->"
END: Final = "<!-- demo-excerpt:end -->"
WIDTH: Final = 100
BARS_MAX: Final = 12
OTHERS_SHARE_MAX: Final = 0.1
LOOK_S: Final = 3.0


class ExcerptError(Exception):
    """No excerpt can be made; says why."""


def excerpt(report: Mapping[str, Any]) -> str:
    """The block: on what it ran, who shared it, and the end of the run as the terminal shows it."""
    on, versions, load = report["machine"], report["versions"], report["load"]
    redis = "Valkey" if "valkey" in versions else "Redis"
    said = io.StringIO()
    reports.show(report, Console(file=said, width=WIDTH, no_color=True))
    table, ruler, bars = said.getvalue().rpartition("┘\n")
    lines = bars.splitlines()
    shown = [*lines[:BARS_MAX], *(["   …"] if len(lines) > BARS_MAX else [])]
    screen = "\n".join(line.rstrip() for line in [*f"{table}{ruler}".splitlines(), *shown])
    return (
        f"The end of one run, on {on['cores']} cores ({on['system'].split()[0]}, Python {versions['python']}, "
        f"{redis} {versions[redis.lower()]}, PostgreSQL {versions['postgres']}).\n"
        f"All of it shares these cores: the service ({report['workers']} worker), the ledger, {redis}, PostgreSQL,\n"
        f"and the crowd of {report['members']:,}, which taps over {load['spread_s']:g} s. Nothing else ran.\n"
        "Times differ from machine to machine and from run to run; the counts do not:\n\n"
        f"```text\n{screen}\n```"
    )


def write(report: Mapping[str, Any], page: Path = PAGE) -> None:
    """Put the block between its marks, and leave the rest of the page alone.

    Raises:
        ExcerptError: the page has no marks, or the run was not exact.
    """
    if found := reports.failures(report):
        raise ExcerptError(f"The run was not exact: {'; '.join(found)}.")
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ExcerptError(f"{page} lacks {BEGIN} … {END}.")
    page.write_text(f"{before}{BEGIN}\n{excerpt(report)}\n{END}{after}", encoding="utf-8")


def see_that_it_is_quiet() -> None:
    """Times of a busy machine are those of its other work.

    Raises:
        ExcerptError: something else is running.
    """
    share = machine.busy_share(LOOK_S)
    if share > OTHERS_SHARE_MAX:
        raise ExcerptError(f"Others use {share:.0%} of the processors. Try again when nothing else runs.")


def main() -> None:
    """Run the demo on a quiet machine and show its end in the README."""
    try:
        see_that_it_is_quiet()
        subprocess.run([*grab(), "demo", "--once"], check=True)
        write(orjson.loads((Settings().var_dir / "demo/report.json").read_bytes()))
    except (ExcerptError, subprocess.CalledProcessError) as problem:
        sys.exit(str(problem))


if __name__ == "__main__":
    main()
