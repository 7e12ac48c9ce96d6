"""The goals of a rehearsal, and their verdict."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from grab_service.rehearsal.load import Load

P99_MS: Final = 1_000.0
AFTER_TAPS_S: Final = 1.0
LAG_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Limits:
    """The goals that are a matter of taste.

    Attributes:
        p99_ms: of all answers, from when a member meant to tap, in milliseconds.
        sold_out_s: seconds from the opening to the last unit; None: while members still tap, and AFTER_TAPS_S beyond.
        lag_s: seconds from the last unit won to the last one on record.
    """

    p99_ms: float = P99_MS
    sold_out_s: float | None = None
    lag_s: float = LAG_S


@dataclass(frozen=True, slots=True)
class Goal:
    """One of them: the measured and the wanted value, in words, and whether it was reached."""

    name: str
    measured: str
    wanted: str
    met: bool


@dataclass(frozen=True, slots=True)
class Expected:
    """The outcome required by the rules: so many units won at least and at most.

    They differ only if a later release comes while members still tap: members too early for it do not come back.
    `sells_out` says whether as many may win as there are units at the opening.
    """

    least: int
    most: int
    sells_out: bool = True


def judged(figures: Mapping[str, Any], load: Load, expected: Expected, limits: Limits) -> list[Goal]:
    """All goals, in the order in which they matter.

    Args:
        figures: the report of the rush.
        load: the crowd of the run.
        expected: how many had to win.
        limits: see there.
    """
    return [*_of_exactness(figures, load, expected), *_of_speed(figures, load, expected, limits)]


def _of_exactness(figures: Mapping[str, Any], load: Load, expected: Expected) -> Iterator[Goal]:
    broken = [name for name, holds in figures["invariants"].items() if not holds]
    held = f"all {len(figures['invariants'])} hold" if not broken else ", ".join(broken)
    yield Goal("no invariant broken", held, "all that was checked", not broken and bool(figures["invariants"]))
    won, least, most = figures["won"], expected.least, expected.most
    wanted = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    yield Goal("every unit won, and no other", f"{won:,} won", wanted, least <= won <= most)
    answered = figures["members"] - figures["errors"]
    yield Goal("everybody answered", f"{answered:,}", f"{load.taps:,}", answered == load.taps)
    refused = figures["refused"]
    told = sum(refused.get(code, 0) for code in ("not-eligible", "member-blocked", "member-unknown"))
    right = figures["invariants"].get("I7 TurnedAway")
    if load.others:
        measured = f"{told:,} told why, {_rightly(right)}"
        yield Goal("turned away rightly", measured, "nobody else, and none of them won", right is True)
    claims, equal = figures["distinct_winners"], figures["redis_equals_postgres"]
    yield Goal(
        "Postgres agrees",
        f"{claims:,} claims, Redis {'equal' if equal else 'DIFFERS'}",
        f"{won:,} claims, equal",
        bool(equal) and claims == won and not figures["duplicate_units"],
    )


def _of_speed(figures: Mapping[str, Any], load: Load, expected: Expected, limits: Limits) -> Iterator[Goal]:
    p99s = [latency["p99"] for latency in figures["latency_ms"].values() if latency["p99"] is not None]
    p99_ms = max(p99s, default=None)
    yield _within("99 of 100 answered", p99_ms, limits.p99_ms)
    last_ms = figures["last_win_after_ms"]
    if expected.sells_out:
        limit_ms = 1000 * (load.spread_s + AFTER_TAPS_S if limits.sold_out_s is None else limits.sold_out_s)
        yield _within("last unit won", last_ms, limit_ms)
    drained_ms = figures["drained_after_ms"]
    # The crowd counts from its own start, the ledger from the opening.
    lag_ms = None if drained_ms is None or last_ms is None else max(0.0, drained_ms - last_ms - figures["late_ms"])
    yield _within("on record after the last", lag_ms, limits.lag_s * 1000)


def _within(name: str, measured_ms: float | None, limit_ms: float) -> Goal:
    """A goal of time; what never happened misses it."""
    return Goal(name, _ms(measured_ms), f"within {limit_ms:,.0f} ms", measured_ms is not None and measured_ms <= limit_ms)


def _rightly(right: bool | None) -> str:
    return {True: "all rightly", False: "NOT rightly", None: "nothing to check"}[right]


def _ms(value: float | None) -> str:
    return "never" if value is None else f"{value:,.0f} ms"
