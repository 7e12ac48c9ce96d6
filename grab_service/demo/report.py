"""The report of a rush: as JSON, and as a table with bars in the terminal."""

import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import orjson
from rich.console import Console
from rich.table import Table

from grab_service.demo.crowd import RushOutcome
from grab_service.demo.rush import RushPlan
from grab_service.demo.timeline import Moment, bars

LIBRARIES: Final = ("grab-service", "fastapi", "uvicorn", "redis", "sqlalchemy", "asyncpg", "orjson")


def build_report(plan: RushPlan, outcome: RushOutcome, servers: Mapping[str, str], workers: int) -> dict[str, Any]:
    """The report; an invariant stands in it only if somebody checked it, and holds if all who checked it say so."""
    stampede, verified, audit = outcome.stampede, outcome.verified, outcome.audit
    invariants: dict[str, bool] = {}
    for checks in (audit["invariants"], verified):
        for name, check in checks.items():
            if check["checked"]:
                invariants[name] = invariants.get(name, True) and bool(check["holds"])
    return {
        "campaign_id": outcome.campaign_id,
        "stock": plan.stock,
        "members": stampede["members"],
        # Each member taps once: who holds a claim already won it by a try whose answer never arrived.
        "won": stampede["won"] + stampede["held"],
        "heard_by_repeating": stampede["held"],
        "refused": stampede["refused"],
        "errors": stampede["errors"],
        "distinct_winners": outcome.distinct_winners,
        "duplicate_units": outcome.duplicate_units,
        "sold_out_after_ms": stampede["sold_out_after_ms"],
        "last_win_after_ms": stampede["last_win_after_ms"],
        "all_answered_after_ms": stampede["all_answered_after_ms"],
        "drained_after_ms": outcome.drained_after_ms,
        "postgres_claims": outcome.postgres_claims,
        "redis_equals_postgres": audit["redis_equals_postgres"],
        "invariants": dict(sorted(invariants.items(), key=lambda check: _place(check[0]))),
        "latency_ms": stampede["latency_ms"],
        "retries": stampede["retries"],
        "timeline": stampede["timeline"],
        "load": {
            "connections": stampede["connections"],
            "spread_s": plan.spread_s,
            "requests": stampede["requests"],
            "sent_per_s_peak": stampede["sent_per_s_peak"],
        },
        "workers": workers,
        "machine": machine(),
        "versions": {"python": platform.python_version(), **servers, **libraries()},
    }


def failures(report: Mapping[str, Any]) -> list[str]:
    """Everything in the report that must not be; empty when the rush was exact."""
    found = [f"{name} does not hold" for name, holds in report["invariants"].items() if not holds]
    expected = min(report["stock"], report["members"])
    if report["won"] != expected:
        found.append(f"{report['won']} won, {expected} should have")
    if report["errors"]:
        found.append(f"{report['errors']} members heard no final answer")
    if not report["redis_equals_postgres"]:
        found.append("Redis and Postgres differ")
    if report["postgres_claims"] != expected:
        found.append(f"Postgres holds {report['postgres_claims']} claims, {expected} were expected")
    if report["duplicate_units"]:
        found.append(f"{report['duplicate_units']} units were given out twice")
    return found


def machine() -> dict[str, Any]:
    """What this ran on."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    }


def libraries() -> dict[str, str]:
    """The versions of what the engine stands on."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def write(report: Mapping[str, Any], home: Path) -> Path:
    """Write `report.json`; returns its path."""
    home.mkdir(parents=True, exist_ok=True)
    document = home / "report.json"
    document.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2) + b"\n")
    return document


def moments_of(report: Mapping[str, Any]) -> list[Moment]:
    """The timeline of the report."""
    return [Moment(moment["at_ms"], moment["grants"], moment["answers"]) for moment in report["timeline"]]


def show(report: Mapping[str, Any], console: Console) -> None:
    """The table and the bars, in the terminal."""
    table = Table(title=_title(report), show_header=False, title_justify="left", pad_edge=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column(style="dim")
    refused = ", ".join(f"{count:,} {code}" for code, count in sorted(report["refused"].items()))
    expected = min(report["stock"], report["members"])
    rows = [
        ("won", f"{report['won']:,}", f"of {expected:,}; {report['distinct_winners']:,} different members"),
        ("refused", f"{sum(report['refused'].values()):,}", refused),
        ("without an answer", f"{report['errors']:,}", ""),
        ("units given twice", f"{report['duplicate_units']:,}", ""),
        ("sold out after", _ms(report["sold_out_after_ms"]), "first time somebody was told so"),
        ("last unit after", _ms(report["last_win_after_ms"]), ""),
        ("everybody answered after", _ms(report["all_answered_after_ms"]), ""),
        ("all in Postgres after", _ms(report["drained_after_ms"]), f"{report['postgres_claims']:,} claims"),
        ("Redis equals Postgres", _yes(report["redis_equals_postgres"]), ""),
    ]
    for word in ("won", "refused"):
        latency = report["latency_ms"].get(word)
        if latency and latency["p50"] is not None:
            figures = f"p50 {latency['p50']:.1f}   p99 {latency['p99']:.1f}   max {latency['max']:.1f} ms"
            rows.append((f"latency, {word}", "", figures))
    rows += [(name, _yes(holds), "") for name, holds in report["invariants"].items()]
    for row in rows:
        table.add_row(*row)
    console.print(table)
    console.print("\n".join(bars(moments_of(report))), highlight=False, markup=False)


def _place(invariant: str) -> tuple[int, str]:
    """I2 before I10; names without a number come last."""
    number = invariant.split(" ", 1)[0].removeprefix("I")
    return (int(number) if number.isdigit() else 99, invariant)


def _title(report: Mapping[str, Any]) -> str:
    return f"{report['members']:,} members, {report['stock']:,} units, {report['workers']} worker(s)"


def _ms(value: float | None) -> str:
    return "never" if value is None else f"{value:,.0f} ms"


def _yes(holds: bool) -> str:
    return "[green]yes[/green]" if holds else "[bold red]NO[/bold red]"
