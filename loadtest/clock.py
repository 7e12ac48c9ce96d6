"""The clock of a run, and how far the server's clock is ahead of it.

All processes of one run share the machine's monotonic clock, anchored once to the wall clock, so that times of
different processes compare and no step of the wall clock tears a run apart.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

SAMPLES = 15

# The server's stamp is a whole millisecond: the truth lies between it and the next one.
_STAMP_US = 1000


class Sample(NamedTuple):
    """One question for the time: wall microseconds here before and after, the server's milliseconds between."""

    asked_at_us: int
    heard_at_us: int
    server_ms: int


@dataclass(frozen=True, slots=True)
class ServerClock:
    """Lead of the server's clock over ours.

    Attributes:
        offset_us: server minus ours, best guess.
        error_us: the truth is at most this far from the guess, by the samples.
        rtt_us: the shortest round trip seen.
    """

    offset_us: int
    error_us: int
    rtt_us: int


def anchor_ns() -> int:
    """Wall clock minus monotonic clock, taken once per run."""
    return time.time_ns() - time.monotonic_ns()


def estimate(samples: Iterable[Sample]) -> ServerClock:
    """Place the server's clock, by the sample with the shortest round trip, narrowed by the others.

    Each sample says: the offset lies between `stamp - heard` and `stamp + 1 ms - asked`. Samples are taken in order of
    their round trip; one that contradicts the better ones (a clock that was stepped, another worker) is left out.

    Raises:
        ValueError: there is no sample.
    """
    ordered = sorted(samples, key=lambda s: s.heard_at_us - s.asked_at_us)
    if not ordered:
        raise ValueError("no sample of the server's clock")
    low, high = _bounds(ordered[0])
    for sample in ordered[1:]:
        sample_low, sample_high = _bounds(sample)
        if max(low, sample_low) <= min(high, sample_high):
            low, high = max(low, sample_low), min(high, sample_high)
    best = ordered[0]
    return ServerClock(
        offset_us=(low + high) // 2,
        error_us=(high - low + 1) // 2,
        rtt_us=best.heard_at_us - best.asked_at_us,
    )


def synchronise(ask_now_ms: Callable[[], int], anchor: int, samples: int = SAMPLES) -> ServerClock:
    """Ask the server for its time several times; takes about `samples` round trips and a few milliseconds each."""
    taken = []
    for number in range(samples):
        asked = time.monotonic_ns()
        server_ms = ask_now_ms()
        heard = time.monotonic_ns()
        taken.append(Sample((asked + anchor) // 1000, (heard + anchor) // 1000, server_ms))
        # Uneven pauses, so that the samples fall on different parts of the server's millisecond.
        time.sleep(0.001 + 0.00037 * (number % 7))
    return estimate(taken)


def _bounds(sample: Sample) -> tuple[int, int]:
    stamp_us = sample.server_ms * 1000
    return stamp_us - sample.heard_at_us, stamp_us + _STAMP_US - sample.asked_at_us
