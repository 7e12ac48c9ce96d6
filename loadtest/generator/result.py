"""The result of a rush, in figures for people and for the demo."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from loadtest.contract import SOLD_OUT, Meaning
from loadtest.generator.tally import BUCKET_MS, Tally

# A start this much after the opening is worth a word.
LATE_MS = 50


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Of a set of durations, in milliseconds; None where there was none."""

    p50: float | None
    p99: float | None
    max: float | None


@dataclass(frozen=True, slots=True)
class Moment:
    """Counts of 100 ms; `at_ms` is their beginning, counted from the start of the rush."""

    at_ms: int
    grants: int
    answers: int


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Under which a rush was made.

    Attributes:
        run: names the run and its receipts.
        url: of the service.
        campaign: its id.
        members: how many tapped.
        taps: how often each.
        processes: how many sent.
        schedule: how they arrived.
        spread_s: over how long.
        connections_wanted: over all processes.
        opens_at_ms: the campaign's opening, server clock.
        start_ms: the start of the rush, server clock; every `*_after_ms` counts from here.
        clock_offset_ms: server's clock minus ours.
        clock_error_ms: how wrong that may be.
        rtt_ms: the shortest round trip.
    """

    run: str
    url: str
    campaign: str
    members: int
    taps: int
    processes: int
    schedule: str
    spread_s: float
    connections_wanted: int
    opens_at_ms: int
    start_ms: float
    clock_offset_ms: float
    clock_error_ms: float
    rtt_ms: float


@dataclass(frozen=True, slots=True)
class StampedeResult:
    """The figures of a rush.

    `won + held + entered + sum(refused) + errors` is `members * taps`. Latency counts from the moment a member meant to
    tap to their final answer, repeats and waiting for a connection included.

    Attributes:
        circumstances: under which.
        won: 201 answers.
        held: 200 answers: the asker held a claim already.
        entered: 202 answers: entered into a draw.
        refused: final refusals, by problem code.
        errors: taps without a final answer, and answers the contract does not know.
        errors_by_reason: the same, apart.
        retries: repeats, by what made them necessary.
        sold_out_after_ms: the first sold-out answer.
        last_win_after_ms: the last 201.
        all_answered_after_ms: the last final answer; None if someone has none.
        latency_ms: by "won", "held", "refused".
        send_delay_ms: from the intended moment to the first sending: what the crowd's own connections cost it.
        timeline: by 100 ms.
        connections: open at the start.
        requests: sent, repeats included.
        sent_per_s_peak: over the busiest 100 ms.
        cpu_share: processor time of all sending processes over the duration of the rush; 1.0 is one core.
    """

    circumstances: Circumstances
    won: int
    held: int
    entered: int
    refused: dict[str, int]
    errors: int
    errors_by_reason: dict[str, int]
    retries: dict[str, int]
    sold_out_after_ms: float | None
    last_win_after_ms: float | None
    all_answered_after_ms: float | None
    latency_ms: dict[str, Quantiles]
    send_delay_ms: Quantiles
    timeline: tuple[Moment, ...]
    connections: int
    requests: int
    sent_per_s_peak: int
    cpu_share: float

    def to_document(self) -> dict[str, Any]:
        """As it is written to JSON: the circumstances lie flat beside the figures."""
        document = asdict(self)
        return {**document.pop("circumstances"), **document}


def quantiles(values_us: Sequence[int]) -> Quantiles:
    """Nearest-rank quantiles of microseconds, in milliseconds."""
    if not values_us:
        return Quantiles(None, None, None)
    ordered = sorted(values_us)

    def rank(share: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))] / 1000, 3)

    return Quantiles(rank(0.50), rank(0.99), round(ordered[-1] / 1000, 3))


def conclude(tally: Tally, circumstances: Circumstances) -> StampedeResult:
    """Turn the tally of all processes into figures.

    Raises:
        AssertionError: the books do not balance: someone was counted twice or forgotten.
    """
    counts = {name: len(values) for name, values in tally.latency_us.items()}
    refused = {name: count for name, count in sorted(counts.items()) if name in tally.refusals}
    errors = tally.errors.total()
    taps = circumstances.members * circumstances.taps
    assert sum(counts.values()) + errors == taps, f"{counts} and {dict(tally.errors)} are not {taps} taps"
    refusals = [value for name in refused for value in tally.latency_us[name]]
    return StampedeResult(
        circumstances=circumstances,
        won=counts.get(Meaning.WON, 0),
        held=counts.get(Meaning.HELD, 0),
        entered=counts.get(Meaning.ENTERED, 0),
        refused=refused,
        errors=errors,
        errors_by_reason=dict(tally.errors.most_common()),
        retries=dict(tally.retries.most_common()),
        sold_out_after_ms=_ms(tally.first_sold_out_us) if SOLD_OUT in refused else None,
        last_win_after_ms=_ms(tally.last_win_us),
        all_answered_after_ms=None if errors else _ms(tally.last_final_us),
        latency_ms={
            "won": quantiles(tally.latency_us.get(Meaning.WON, ())),
            "held": quantiles(tally.latency_us.get(Meaning.HELD, ())),
            "refused": quantiles(refusals),
        },
        send_delay_ms=quantiles(tally.send_delay_us),
        timeline=_timeline(tally),
        connections=tally.connections,
        requests=tally.sent.total(),
        sent_per_s_peak=max(tally.sent.values(), default=0) * 1000 // BUCKET_MS,
        cpu_share=round(tally.cpu_s / tally.wall_s, 3) if tally.wall_s else 0.0,
    )


def summary_lines(result: StampedeResult) -> list[str]:
    """A few lines for a person."""
    said = result.circumstances
    refused = ", ".join(f"{count:,} {code}" for code, count in result.refused.items()) or "none"
    lines = [
        f"members     {said.members:,} in {said.processes} process(es) over {result.connections:,} connections",
        f"won         {result.won:,}   already held {result.held:,}",
        f"refused     {refused}",
        f"errors      {result.errors:,}  {_named(result.errors_by_reason)}".rstrip(),
        f"repeats     {sum(result.retries.values()):,}  {_named(result.retries)}".rstrip(),
        f"sold out    {_after(result.sold_out_after_ms)}",
        f"last win    {_after(result.last_win_after_ms)}",
        f"all heard   {_after(result.all_answered_after_ms)}",
    ]
    late_ms = said.start_ms - said.opens_at_ms
    if late_ms > LATE_MS:
        lines.append(f"started     {late_ms:,.0f} ms after the opening; all moments count from the start")
    lines += [
        f"latency     {name}: p50 {q.p50:,} ms, p99 {q.p99:,} ms, max {q.max:,} ms"
        for name, q in result.latency_ms.items()
        if q.p50 is not None
    ]
    lines.append(f"sent        {result.requests:,}, at most {result.sent_per_s_peak:,}/s")
    lines.append(f"senders     used {result.cpu_share:.0%} of a core")
    return lines


def _timeline(tally: Tally) -> tuple[Moment, ...]:
    seen = tally.answers.keys() | tally.grants.keys()
    if not seen:
        return ()
    return tuple(
        Moment(bucket * BUCKET_MS, tally.grants[bucket], tally.answers[bucket])
        for bucket in range(min(0, *seen), max(0, *seen) + 1)
    )


def _named(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _after(after_ms: float | None) -> str:
    return "–" if after_ms is None else f"after {after_ms:,.0f} ms"


def _ms(microseconds: int | None) -> float | None:
    return None if microseconds is None else round(microseconds / 1000, 3)
