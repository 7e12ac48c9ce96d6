"""The report of a campaign as terminal tables."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from grab_service.demo.timeline import bar
from grab_service.vocabulary.times import Clock, parse_rfc3339


def sentence_of(report: dict[str, Any]) -> str:
    """The sums of the whole campaign."""
    won = sum(org["granted"] for org in report["by_org"])
    refused = ", ".join(f"{n:,} {code}" for code, n in sorted(report["refused"].items(), key=lambda item: -item[1]))
    return f"{report['campaign_id']}: {won:,} won, {sum(report['refused'].values()):,} refused" + (refused and f" ({refused})")


def seconds_of(seconds: Sequence[dict[str, Any]], clock: Clock) -> Table:
    """A row a second, with a bar: `▇` a share of the answers that was a win, `·` the other answers."""
    table = Table(caption=f"Times are those of {clock.name}.", caption_justify="left", box=None, pad_edge=False)
    table.add_column("second", no_wrap=True)
    for name in ("won", "refused", "shed", "opened"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("answers", no_wrap=True)
    answers = [one["won"] + one["shed"] + sum(one["refused"].values()) for one in seconds]
    for one, answered in zip(seconds, answers, strict=True):
        refused = sum(one["refused"].values())
        figures = (f"{n:,}" for n in (one["won"], refused, one["shed"], one["opened"]))
        table.add_row(clock.show(parse_rfc3339(one["second"])), *figures, bar(one["won"], answered, max(answers)))
    return table


def unions_of(orgs: Sequence[dict[str, Any]]) -> Table:
    """A row a union."""
    table = Table(box=None, pad_edge=False)
    table.add_column("union", no_wrap=True)
    table.add_column("name", overflow="fold")
    for name in ("audience", "granted"):
        table.add_column(name, justify="right", no_wrap=True)
    for org in orgs:
        table.add_row(org["org_id"], Text(org["name"]), f"{org['audience']:,}", f"{org['granted']:,}")
    return table
