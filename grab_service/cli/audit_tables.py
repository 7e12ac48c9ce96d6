"""Audits as terminal tables."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from grab_service.audit import AuditReport

EXAMPLES_MAX = 5


def show_report(report: AuditReport, console: Console) -> None:
    """The invariants, what speaks against them, and the figures of each campaign."""
    console.print(_invariants(report))
    for name, check in report.invariants.items():
        for example in check.counterexamples[:EXAMPLES_MAX]:
            words = ", ".join(f"{key} {value}" for key, value in example.items())
            console.print(Text.assemble((f"{name.value}: ", "red"), words))
    console.print()
    if report.campaigns:
        console.print(_campaigns(report))
    equal = Text("yes", "green") if report.redis_equals_postgres else Text("NO", "bold red")
    console.print(Text.assemble("\nRedis equals Postgres: ", equal, f", at epoch {report.epoch}, seq {report.seq:,}"))
    left = f", {report.records_left:,} or more left out" if report.records_left else ""
    console.print(f"{report.records_compared:,} records compared one by one ({report.share_compared:.0%}){left}")
    oldest_ms = report.oldest_comparison_at_ms
    if oldest_ms is not None:
        console.print(f"The oldest comparison of a campaign is {max(0, report.at_ms - oldest_ms) // 60_000:,} min old")
    elif report.records_compared:
        console.print("Some campaigns were not compared to their end yet")


def _invariants(report: AuditReport) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("invariant", "holds", "seen from"):
        table.add_column(heading, no_wrap=heading != "seen from", overflow="fold")
    for name, check in report.invariants.items():
        holds = Text("yes", "green") if check.holds else Text("NO", "bold red")
        table.add_row(name.value, holds if check.checked else Text("not judged", "dim"), Text(check.detail))
    return table


def _campaigns(report: AuditReport) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("campaign", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for heading in ("total", "released", "given out", "available", "returned", "on record", "codes free"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in report.campaigns:
        figures = (one.total, one.released, one.active, one.available, one.returned, one.postgres_active, one.free_codes)
        table.add_row(one.campaign_id, one.state, *(f"{figure:,}" for figure in figures))
    return table
