r"""Do the clients' receipts and the server's ledger tell the same story, and is it an honest one?

    python -m loadtest.verify --url http://127.0.0.1:8000 --campaign ID --ops-token TOKEN \
        --receipts var/receipts --json var/verdict.json

Run it once the log is drained: what is not in the ledger yet counts as lost.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson

from loadtest.answer_checks import no_lost_ack, no_stranger, one_answer
from loadtest.barred import BarredError, read_barred, turned_away
from loadtest.evidence import Evidence, Finding, gather
from loadtest.receipts import ReceiptsError
from loadtest.service import CampaignFacts, Service, ServiceError, parse_facts
from loadtest.stock_checks import no_oversell, no_undersell, unique_unit, window_only
from loadtest.time_checks import honest_refusal
from loadtest.truth import TruthClaim, TruthError, parse_claims
from loadtest.witness import witness_order

CHECKS: dict[str, Callable[[Evidence], Finding]] = {
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


def verify(evidence: Evidence) -> dict[str, Finding]:
    """Make all checks; a finding that checked nothing says nothing."""
    return {name: check(evidence) for name, check in CHECKS.items()}


def to_document(findings: dict[str, Finding]) -> dict[str, Any]:
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


def table_lines(findings: dict[str, Finding]) -> list[str]:
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify a rush; returns the exit status."""
    options = _parse_arguments(arguments)
    try:
        facts, truth = _ask(options)
        evidence = gather(options.receipts, truth, facts, round(options.clock_slack_ms * 1000))
        findings = verify(evidence)
        if options.barred is not None:
            findings[BARRED] = turned_away(evidence, read_barred(options.barred))
    except (ServiceError, TruthError, BarredError, ReceiptsError, OSError, ValueError) as error:
        print(f"verify: {error}", file=sys.stderr)
        return 2
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_bytes(orjson.dumps(to_document(findings), option=orjson.OPT_INDENT_2) + b"\n")
    print(f"{len(evidence.attempts):,} requests, {len(evidence.told):,} answers with a claim, {len(truth):,} in the ledger")
    print("\n".join(table_lines(findings)))
    return 0 if all(finding.holds for finding in findings.values()) else 1


def _parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.verify",
        description="Compare the clients' receipts of a campaign with the server's ledger.",
        epilog="Exit status: 0 if all that was checked holds, 1 if not, 2 if it could not be checked.",
    )
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="base URL of the service (%(default)s)")
    parser.add_argument("--campaign", required=True, help="the campaign's id")
    parser.add_argument("--receipts", required=True, type=Path, nargs="+", help="directories or files")
    parser.add_argument("--ops-token", default=os.environ.get("GRAB_OPS_TOKEN"), help="to download claims.csv (GRAB_OPS_TOKEN)")
    parser.add_argument("--truth", type=Path, help="a claims.csv already downloaded")
    parser.add_argument("--facts", type=Path, help="the campaign's page already downloaded, JSON")
    parser.add_argument("--barred", type=Path, help="who must not win: lines member_id<TAB>what they are to be told")
    parser.add_argument("--json", type=Path, help="where to write the verdict")
    parser.add_argument(
        "--clock-slack-ms",
        type=float,
        default=5.0,
        help="how far the clock that decides may be from the one that answers /v1/time (%(default)s)",
    )
    options = parser.parse_args(arguments)
    if options.truth is None and not options.ops_token:
        parser.error("either --ops-token or --truth is needed")
    return options


def _ask(options: argparse.Namespace) -> tuple[CampaignFacts, list[TruthClaim]]:
    with Service(options.url, timeout_s=60.0) as service:
        if options.facts is None:
            facts = service.campaign(options.campaign)
        else:
            facts = parse_facts(orjson.loads(options.facts.read_bytes()), options.campaign)
        if options.truth is None:
            text = service.claims_csv(options.campaign, options.ops_token)
        else:
            text = options.truth.read_text(encoding="utf-8-sig")
    return facts, parse_claims(text)


if __name__ == "__main__":
    raise SystemExit(main())
