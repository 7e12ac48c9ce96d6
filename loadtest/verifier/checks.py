"""All checks of the clients' receipts against the ledger, by the invariant that each of them checks."""

from collections.abc import Callable
from typing import Any

import orjson

from loadtest.verifier.answer_checks import no_lost_ack, no_stranger, one_answer
from loadtest.verifier.evidence import Evidence, RunFinding
from loadtest.verifier.stock_checks import no_oversell, no_undersell, unique_unit, window_only
from loadtest.verifier.time_checks import honest_refusal
from loadtest.verifier.witness import witness_order

CHECKS: dict[str, Callable[[Evidence], RunFinding]] = {
    "I1 NoOversell": no_oversell,
    "I2 NoUndersell": no_undersell,
    "I3 NoLostAck": no_lost_ack,
    "I4 OneAnswer": one_answer,
    "I5 UniqueUnit": unique_unit,
    "I7 NoStranger": no_stranger,
    "I8 WindowOnly": window_only,
    "I10 HonestRefusal": honest_refusal,
    "Witness": witness_order,
}

# Made only when somebody says who must not win: receipts and ledger alone cannot know.
BARRED = "I7 TurnedAway"


def verify(evidence: Evidence) -> dict[str, RunFinding]:
    """Make all checks; a finding that checked nothing says nothing."""
    return {name: check(evidence) for name, check in CHECKS.items()}


def to_document(findings: dict[str, RunFinding]) -> dict[str, Any]:
    """As it is written to JSON."""
    return {
        name: {
            "holds": finding.holds,
            "checked": finding.checked,
            "found": finding.found,
            "counterexamples": finding.counterexamples,
        }
        for name, finding in findings.items()
    }


def table_lines(findings: dict[str, RunFinding]) -> list[str]:
    """A table for a person, with the first counterexamples below it."""
    lines = [f"{'invariant':<18} {'':<8} {'checked':>10} {'broken':>8}"]
    for name, finding in findings.items():
        verdict = "holds" if finding.holds else "BROKEN"
        if finding.checked == 0 and finding.holds:
            verdict = "–"
        lines.append(f"{name:<18} {verdict:<8} {finding.checked:>10,} {finding.found:>8,}")
    for name, finding in findings.items():
        lines.extend(f"{name}: {orjson.dumps(example).decode()}" for example in finding.counterexamples)
    return lines
