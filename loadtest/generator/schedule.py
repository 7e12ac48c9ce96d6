"""The moment at which each member means to tap, relative to the opening."""

import math
from enum import StrEnum

# How steeply the exponential crowd is front-loaded: with 5, 63 % tap in the first fifth of the spread.
_STEEPNESS = 5.0


class Shape(StrEnum):
    """Arrival of a crowd."""

    INSTANT = "instant"
    RAMP = "ramp"
    EXP = "exp"


def offsets_ns(shape: Shape, count: int, spread_s: float) -> list[int]:
    """Plan `count` taps.

    The plan is made of evenly spaced quantiles and not of random draws, so that two runs put the same load on the
    service. The members are shuffled elsewhere.

    Args:
        shape: `instant` puts everybody at the opening, `ramp` spreads them evenly, `exp` has most of them early.
        count: how many taps.
        spread_s: seconds between the opening and the last tap; `instant` ignores it.

    Returns:
        Nanoseconds after the opening, in rising order.
    """
    if shape is Shape.INSTANT or count == 0:
        return [0] * count
    spread_ns = spread_s * 1e9
    quantiles = ((i + 0.5) / count for i in range(count))
    if shape is Shape.RAMP:
        return [int(q * spread_ns) for q in quantiles]
    # The inverse of an exponential distribution cut off at the spread.
    mass = 1.0 - math.exp(-_STEEPNESS)
    return [int(-math.log1p(-q * mass) / _STEEPNESS * spread_ns) for q in quantiles]
