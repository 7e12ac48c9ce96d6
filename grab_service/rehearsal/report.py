"""The report of a rehearsal for ops: forecast and verdict."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from grab_service.demo.report import moments_of
from grab_service.demo.timeline import bars
from grab_service.rehearsal.audience import Standing
from grab_service.rehearsal.goals import Goal
from grab_service.rehearsal.load import Load
from grab_service.rehearsal.shadow import Shadow

LATE_MS: Final = 50
"""A start this much after the opening is worth a word."""


def preview(shadow: Shadow, load: Load, workers: int) -> str:
    """The plan of a rehearsal, before it begins."""
    original = shadow.original
    campaign, definition, counts = original.campaign, original.definition, original.counts
    limit = definition.limit_per_member
    kind = definition.benefit.kind + (", codes made up" if shadow.needs_codes else "")
    later = f"; later releases, {len(shadow.releases) - 1}, come at their distance" if len(shadow.releases) > 1 else ""
    near = ", ".join(dict.fromkeys(original.near))
    barred = ", ".join(
        f"{counts[standing]:,} {standing.value}"
        for standing in (Standing.NOT_ELIGIBLE, Standing.BLOCKED)
        if counts.get(standing)
    )
    lines = [
        f"A rehearsal of {campaign.campaign_id}, {definition.title} ({campaign.state}):",
        f"  stock     {shadow.opening.quantity:,} units ({kind}), at most {limit:,} a member{later}",
        f"  audience  {counts.get(Standing.ELIGIBLE, 0):,} members who may win" + (f", and {barred}" if barred else ""),
        f"  load      {load.eligible:,} of them tap" + (f", and {load.others:,} who may not win" if load.others else ""),
        f"            within {load.spread_s:g} s of the opening, over {load.connections:,} connections",
        f"  here      servers, service ({workers} worker(s)) and crowd share the {os.cpu_count()} cores of this machine",
        "It runs on servers of its own, which are thrown away. The real ones are only read, and only PostgreSQL:",
        "rules of members (no names, no ids) and the campaign. No real unit and no real code is given out.",
    ]
    if near:
        lines.append(f"Mind: open now or within half an hour: {near}. Wait if this machine serves it.")
    return "\n".join(lines)


def document_of(shadow: Shadow, load: Load, goals: Sequence[Goal], figures: Mapping[str, Any]) -> dict[str, Any]:
    """The report for programs."""
    original = shadow.original
    return {
        "passed": passed(goals),
        "rehearsed": {
            "campaign_id": original.campaign.campaign_id,
            "version": original.campaign.version,
            "state": original.campaign.state.value,
            "title": original.definition.title,
            "units": shadow.opening.quantity,
        },
        "audience": {standing.value: count for standing, count in original.counts.items()},
        "load": {
            "eligible": load.eligible,
            "others": load.others,
            "spread_s": load.spread_s,
            "connections": load.connections,
        },
        "goals": [{"name": goal.name, "measured": goal.measured, "wanted": goal.wanted, "met": goal.met} for goal in goals],
        "figures": dict(figures),
    }


def passed(goals: Sequence[Goal]) -> bool:
    """Whether every goal was reached."""
    return all(goal.met for goal in goals)


def show(document: Mapping[str, Any], goals: Sequence[Goal], console: Console) -> None:
    """The verdict, goal by goal, and the rush as bars."""
    rehearsed, load = document["rehearsed"], document["load"]
    taps = load["eligible"] + load["others"]
    title = f"Rehearsal of {rehearsed['title']}: {taps:,} members, {rehearsed['units']:,} units"
    table = Table(title=title, title_justify="left", pad_edge=False)
    for heading in ("", "goal", "measured", "wanted"):
        table.add_column(heading)
    for goal in goals:
        mark = "[green]ok[/green]" if goal.met else "[bold red]MISSED[/bold red]"
        table.add_row(mark, goal.name, goal.measured, goal.wanted)
    console.print(table)
    console.print("\n".join(bars(moments_of(document["figures"]))), highlight=False, markup=False)
    refused = document["figures"]["refused"]
    console.print(f"refused: {', '.join(f'{count:,} {code}' for code, count in sorted(refused.items())) or 'nobody'}")
    figures = document["figures"]
    delay_ms, share = figures["send_delay_ms"]["p99"] or 0.0, figures["senders_cpu_share"]
    console.print(f"the crowd: 99 of 100 taps left within {delay_ms:,.0f} ms of their moment; it used {share:.0%} of a core")
    if figures["late_ms"] > LATE_MS:
        console.print(f"the crowd began {figures['late_ms']:,.0f} ms after the opening: this machine was not ready in time")
    verdict = "[bold green]PASSED[/bold green]" if passed(goals) else "[bold red]NOT PASSED[/bold red]"
    console.print(f"\n{verdict}  on this machine; yours for the real day may differ.")
