"""The counters of the rules, and how Postgres counts the same.

A counter is a field of a campaign's hash that a rule of `lua/rules/` names in its header; a test compares the names. The audit
reads and compares, and the rebuild writes, whatever stands in this table.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from grab_service.audit.report import Invariant


@dataclass(frozen=True, slots=True)
class Counter:
    """One counter.

    Attributes:
        sql: an aggregate over the claims of one campaign, of the columns of `claims` and `active`: whether the cell holds it.
        invariant: broken where the cell has another number. None: claims alone do not tell what it should be.
        what: the number in words, for a finding.
    """

    sql: str
    invariant: Invariant | None = None
    what: str = ""


COUNTERS: Final = {
    "active": Counter("count(*) FILTER (WHERE active)", Invariant.NO_LOST_ACK, "active claims"),
    # A smaller stock takes units away that were issued: the invariants bound it, and the rebuild takes the total for its bound.
    "issued": Counter("coalesce(max(unit_no), 0)"),
    "unit_sum": Counter(
        "coalesce(sum(unit_no) FILTER (WHERE active), 0)", Invariant.UNIQUE_UNIT, "the sum of active claims' unit_no"
    ),
    "seq_sum": Counter("coalesce(sum(seq) FILTER (WHERE active), 0)", Invariant.NO_LOST_ACK, "the sum of active claims' seq"),
}
COMPARED: Final = {name: counter.invariant for name, counter in COUNTERS.items() if counter.invariant is not None}


def columns_of(names: Iterable[str]) -> str:
    """The counters as columns of one query over claims."""
    return ", ".join(f"{COUNTERS[name].sql} AS {name}" for name in names)
