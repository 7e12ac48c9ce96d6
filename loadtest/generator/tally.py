"""The counts and samples of one process, in a form that adds up."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Self

BUCKET_MS = 100


@dataclass(slots=True)
class Tally:
    """Counts and samples of one process, or of several added up.

    All moments are microseconds after the start of the rush, negative before it.

    Attributes:
        latency_us: final answers by outcome ("won", "held", "entered") or problem code, from the intended moment of the
            tap to the answer.
        refusals: which of those names are problem codes.
        errors: taps without a final answer, by reason.
        retries: repeats, by what made them necessary.
        send_delay_us: how long after its intended moment each tap was first sent.
        grants: 201 answers by bucket of 100 ms.
        answers: all answers by bucket.
        sent: requests by bucket.
        first_sold_out_us: when the first sold-out answer came.
        last_win_us: when the last 201 came.
        last_final_us: when the last final answer came.
        connections: how many were open at the start.
        cpu_s: processor time of the process during the rush.
        wall_s: how long the rush took.
    """

    latency_us: dict[str, list[int]] = field(default_factory=dict)
    refusals: set[str] = field(default_factory=set)
    errors: Counter[str] = field(default_factory=Counter)
    retries: Counter[str] = field(default_factory=Counter)
    send_delay_us: list[int] = field(default_factory=list)
    grants: Counter[int] = field(default_factory=Counter)
    answers: Counter[int] = field(default_factory=Counter)
    sent: Counter[int] = field(default_factory=Counter)
    first_sold_out_us: int | None = None
    last_win_us: int | None = None
    last_final_us: int | None = None
    connections: int = 0
    cpu_s: float = 0.0
    wall_s: float = 0.0

    def add(self, other: Self) -> None:
        """Add another process's tally to this one."""
        for name, values in other.latency_us.items():
            self.latency_us.setdefault(name, []).extend(values)
        self.refusals |= other.refusals
        self.errors += other.errors
        self.retries += other.retries
        self.send_delay_us.extend(other.send_delay_us)
        self.grants += other.grants
        self.answers += other.answers
        self.sent += other.sent
        self.first_sold_out_us = _first(min, self.first_sold_out_us, other.first_sold_out_us)
        self.last_win_us = _first(max, self.last_win_us, other.last_win_us)
        self.last_final_us = _first(max, self.last_final_us, other.last_final_us)
        self.connections += other.connections
        self.cpu_s += other.cpu_s
        self.wall_s = max(self.wall_s, other.wall_s)

    def to_document(self) -> dict[str, Any]:
        """As JSON can carry it from one process to the other."""
        return {
            "latency_us": self.latency_us,
            "refusals": sorted(self.refusals),
            "errors": dict(self.errors),
            "retries": dict(self.retries),
            "send_delay_us": self.send_delay_us,
            "grants": sorted(self.grants.items()),
            "answers": sorted(self.answers.items()),
            "sent": sorted(self.sent.items()),
            "first_sold_out_us": self.first_sold_out_us,
            "last_win_us": self.last_win_us,
            "last_final_us": self.last_final_us,
            "connections": self.connections,
            "cpu_s": self.cpu_s,
            "wall_s": self.wall_s,
        }

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        """Read what `to_wire` wrote."""
        return cls(
            latency_us=document["latency_us"],
            refusals=set(document["refusals"]),
            errors=Counter(document["errors"]),
            retries=Counter(document["retries"]),
            send_delay_us=document["send_delay_us"],
            grants=_buckets(document["grants"]),
            answers=_buckets(document["answers"]),
            sent=_buckets(document["sent"]),
            first_sold_out_us=document["first_sold_out_us"],
            last_win_us=document["last_win_us"],
            last_final_us=document["last_final_us"],
            connections=document["connections"],
            cpu_s=document["cpu_s"],
            wall_s=document["wall_s"],
        )


def bucket_of(after_start_us: int) -> int:
    """Index of the timeline's bucket for a moment; negative before the start."""
    return after_start_us // (BUCKET_MS * 1000)


def _buckets(pairs: Iterable[tuple[int, int]]) -> Counter[int]:
    return Counter(dict(pairs))


def _first(choose: Any, one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return other if one is None else one
    chosen: int = choose(one, other)
    return chosen
