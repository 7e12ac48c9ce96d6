r"""The verifier's command line: it compares the clients' receipts with the server's ledger.

    python -m loadtest.verify --url http://127.0.0.1:8000 --campaign ID --ops-token TOKEN \
        --receipts var/receipts --json var/verdict.json

Run it once the log is drained: a claim not in the ledger yet counts as lost.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import orjson

from loadtest.receipts import ReceiptsError
from loadtest.service import CampaignFacts, Service, ServiceError, parse_facts
from loadtest.verifier.barred import BarredError, read_barred, turned_away
from loadtest.verifier.checks import BARRED, table_lines, to_document, verify
from loadtest.verifier.evidence import gather
from loadtest.verifier.truth import TruthClaim, TruthError, parse_claims


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
