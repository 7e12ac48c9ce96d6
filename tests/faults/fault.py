"""A fault: it strikes and is lifted; its possible consequences are declared beforehand."""

import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from tests.harness.district import District, Site

Act = Callable[[District, random.Random], AsyncIterator[None]]
"""Strikes; yields at the moment from which the district may recover; does what is left to do so that it can."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault.

    Attributes:
        name: by which `-k` finds it.
        says: what the table calls it.
        server: on what servers, as the table of durability calls them; empty: it stands in the other table.
        act: strikes and lifts.
        site: what it takes.
        closes: whether Redis' life is in doubt, so that nobody may win before an audit.
        may_lose: whether what was acknowledged may be lost: where nothing else is promised.
        must_lose: whether it has to be: then it shows that the suite would see a loss.
        rounds_max: no more than these, however many are asked for.
        short: whether `make test` runs it, too.
        patience_s: how long the sale may take to resume.
        resumes_s: how soon it resumes as a rule, if that is promised: the median of a series on a quiet machine.
        units_a_round: about how many units are sold in a round.
    """

    name: str
    says: str
    act: Act
    site: Site = field(default_factory=Site)
    closes: bool = False
    may_lose: bool = False
    must_lose: bool = False
    rounds_max: int = 1000
    short: bool = False
    patience_s: float = 30.0
    resumes_s: float | None = None
    units_a_round: int = 600
    server: str = ""
