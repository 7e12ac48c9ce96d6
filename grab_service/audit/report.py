"""The report of an audit."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

COUNTEREXAMPLES_MAX: Final = 20


class Invariant(StrEnum):
    """What must hold at every moment, as far as the cell and Postgres can tell."""

    NO_OVERSELL = "I1 NoOversell"
    NO_UNDERSELL = "I2 NoUndersell"
    NO_LOST_ACK = "I3 NoLostAck"
    ONE_ANSWER = "I4 OneAnswer"
    UNIQUE_UNIT = "I5 UniqueUnit"
    CONSERVED = "I6 Conserved"


@dataclass(frozen=True, slots=True)
class AuditFinding:
    """One thing that is not as it must be.

    Attributes:
        invariant: what it breaks.
        what: in words.
        example: the figures, or the record, that show it.
        differs: it is a difference between the cell and Postgres, not a fault that both agree on.
    """

    invariant: Invariant
    what: str
    example: Mapping[str, Any] = field(default_factory=dict)
    differs: bool = True


@dataclass(frozen=True, slots=True)
class InvariantCheck:
    """One invariant: whether it could be judged, and whether it holds. What was not judged counts as holding."""

    holds: bool
    checked: bool
    detail: str
    counterexamples: tuple[Mapping[str, Any], ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {
            "holds": self.holds,
            "checked": self.checked,
            "detail": self.detail,
            "counterexamples": [dict(example) for example in self.counterexamples],
        }


@dataclass(frozen=True, slots=True)
class CampaignFigures:
    """One campaign in both books, as of the cut. Units; `available` is what the cell would grant now if it is open."""

    campaign_id: str
    state: str
    total: int
    released: int
    active: int
    available: int
    returned: int
    issued: int
    free_units: int
    codes_loaded: int
    free_codes: int
    postgres_active: int
    postgres_held: int
    postgres_returned: int

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What the cell and Postgres say at one cut of the log.

    Attributes:
        seq: the cut; both books are compared as of it.
        epoch: the life of the cell.
        at_ms: Redis' clock at the cut.
        records_compared: claims and bindings of the cell that were compared one by one with Postgres.
        records_left: those that were not, because the bound was reached.
        invariants: by name, all of them.
        campaigns: the figures, in the order of their ids.
        redis_equals_postgres: nothing was found that differs between the two.
        oldest_comparison_at_ms: when the claims of each campaign were last compared one by one, the one longest ago; None if
            those of one never were.
    """

    seq: int
    epoch: int
    at_ms: int
    records_compared: int
    records_left: int
    invariants: Mapping[Invariant, InvariantCheck]
    campaigns: tuple[CampaignFigures, ...]
    redis_equals_postgres: bool
    oldest_comparison_at_ms: int | None = None

    @property
    def share_compared(self) -> float:
        """Which part of the records this audit has compared one by one, from 0 to 1."""
        known = self.records_compared + self.records_left
        return self.records_compared / known if known else 1.0

    @property
    def holds(self) -> bool:
        """Whether everything that was judged holds."""
        return all(check.holds for check in self.invariants.values())

    @property
    def faults(self) -> list[str]:
        """What does not hold, in words."""
        return [f"{name.value}: {check.detail}" for name, check in self.invariants.items() if not check.holds]

    def as_json(self) -> dict[str, Any]:
        """The report as the calls of ops and the command line show it."""
        return {
            "seq": self.seq,
            "epoch": self.epoch,
            "at_ms": self.at_ms,
            "holds": self.holds,
            "redis_equals_postgres": self.redis_equals_postgres,
            "records_compared": self.records_compared,
            "records_left": self.records_left,
            "share_compared": round(self.share_compared, 4),
            "oldest_comparison_at_ms": self.oldest_comparison_at_ms,
            "invariants": {name.value: check.as_json() for name, check in self.invariants.items()},
            "campaigns": [figures.as_json() for figures in self.campaigns],
        }


def check_of(invariant: Invariant, findings: list[AuditFinding], sound: str, *, checked: bool = True) -> InvariantCheck:
    """The verdict on one invariant; `sound` is what to say if nothing was found against it."""
    against = [finding for finding in findings if finding.invariant is invariant]
    if not against:
        return InvariantCheck(holds=True, checked=checked, detail=sound)
    kinds = list(dict.fromkeys(finding.what for finding in against))
    return InvariantCheck(
        holds=False,
        checked=True,
        detail="; ".join(kinds[:COUNTEREXAMPLES_MAX]),
        counterexamples=tuple({"what": finding.what, **finding.example} for finding in against[:COUNTEREXAMPLES_MAX]),
    )
