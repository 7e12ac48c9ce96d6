"""The verdict on a locust run: the clients' answers agree with the service's books, and no cheater gained anything."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loadtest.receipts import ReceiptsError
from loadtest.service import Service, ServiceError
from loadtest.verifier.checks import table_lines, to_document, verify
from loadtest.verifier.evidence import RunFinding, gather
from loadtest.verifier.service_figures import Books, Counters, ServiceFigures
from loadtest.verifier.truth import TruthError, parse_claims


@dataclass(slots=True)
class RunVerdict:
    """The results of a run when it is over.

    Attributes:
        outcomes: what the clients counted.
        earlier: answers to the clients of earlier runs at the same campaign, by name.
        counters: what the service counted meanwhile; None if it shows nothing.
        books: its audit; None if it has none.
        findings: of the receipts against the ledger's claims; None if they could not be compared.
        claims: how many the ledger has.
        notes: what could not be looked at, and why.
    """

    outcomes: Mapping[str, Mapping[str, int]]
    earlier: Mapping[str, int] = field(default_factory=dict)
    counters: Counters | None = None
    books: Books | None = None
    findings: dict[str, RunFinding] | None = None
    claims: int | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        """Everything that must not be; the run has failed if there is anything."""
        found = [f"cheaters gained: {what}, {count:,} times" for what, count in self.outcomes["gains"].items()]
        found += [] if self.books is None else self.books.faults
        if self.books is not None and self.claims is not None and self.books.postgres_held > self.claims:
            found.append(f"the audit counts {self.books.postgres_held:,} claims, the ledger hands out {self.claims:,}")
        findings = self.findings or {}
        return found + [f"receipts: {name} does not hold" for name, finding in findings.items() if not finding.holds]

    def rows(self) -> list[tuple[str, str, str]]:
        """(what, by the clients, by the service), as all tables show it."""
        answers = Counter(self.outcomes["answers"]) + Counter(self.outcomes["strangers"])
        counted = {} if self.counters is None else self.counters.answers
        heard = (+answers).keys() | (+Counter(counted)).keys()
        names = sorted(heard, key=lambda name: (-max(answers[name], counted.get(name, 0)), name))
        shown = self.counters is not None
        rows = [(f"answered: {name}", f"{answers[name]:,}", f"{counted.get(name, 0):,}" if shown else "–") for name in names]
        if self.counters is not None:
            rows.append(("refused by the gate", "", f"{sum(self.counters.by_gate.values()):,}"))
            rows += [(name, "", f"{value:g}") for name, value in sorted(self.counters.gauges.items())]
        if self.books is not None:
            won = f"{answers['won'] + self.earlier.get('won', 0):,}"
            rows.append(("units given out, Redis", won, f"{self.books.redis_active:,}"))
            rows.append(("claims held, PostgreSQL", won, f"{self.books.postgres_held:,}"))
            rows.append(("units left, Redis", "", f"{self.books.available:,}"))
            rows.append(("ledger caught up after", "", f"{self.books.caught_up_s * 1000:,.0f} ms"))
            rows.append(("audit holds", "", "no" if self.books.faults else "yes"))
        for name, finding in (self.findings or {}).items():
            rows.append((name, f"{finding.checked:,} checked", "holds" if finding.holds else f"{finding.found:,} BROKEN"))
        rows += [(f"cheat: {what}", f"{count:,} tried", "") for what, count in self.outcomes["cheats"].items()]
        rows += [(f"GAINED: {what}", f"{count:,}", "") for what, count in self.outcomes["gains"].items()]
        return rows

    def shown(self) -> list[tuple[str, str, str]]:
        """The rows, and what a terminal says below them: for a page that shows nothing but a table."""
        unseen = [("not looked at", "", note) for note in self.notes]
        return [*self.rows(), *unseen, *(("FAULT", "", fault) for fault in self.faults)]

    def lines(self) -> list[str]:
        """For a terminal."""
        lines = [f"{'':<36} {'clients':>16} {'service':>16}"]
        lines += [f"{what:<36} {by_clients:>16} {by_service:>16}" for what, by_clients, by_service in self.rows()]
        lines += [f"not looked at: {note}" for note in self.notes]
        lines += table_lines(self.findings or {})[1 + len(self.findings or {}) :]  # their counterexamples
        return [*lines, *(f"FAULT: {fault}" for fault in self.faults)]

    def to_document(self) -> dict[str, Any]:
        """As it is written to JSON."""
        return {
            "passed": not self.faults,
            "faults": self.faults,
            "not_looked_at": self.notes,
            "clients": {kind: dict(counts) for kind, counts in self.outcomes.items()},
            "service": None
            if self.counters is None
            else {
                "answers": dict(self.counters.answers),
                "by_gate": dict(self.counters.by_gate),
                "gauges": dict(self.counters.gauges),
            },
            "books": None
            if self.books is None
            else {
                "redis_active": self.books.redis_active,
                "postgres_held": self.books.postgres_held,
                "available": self.books.available,
                "caught_up_s": round(self.books.caught_up_s, 3),
                "audit": dict(self.books.audit),
            },
            "claims": self.claims,
            "receipts": None if self.findings is None else to_document(self.findings),
        }


def conclude(
    server: ServiceFigures,
    before: Counters | None,
    outcomes: Mapping[str, Mapping[str, int]],
    receipts: Path,
    earlier: Mapping[str, int],
) -> RunVerdict:
    """Look at everything there is to see, now that all have gone.

    Args:
        server: where to ask.
        before: the counters when the run began.
        outcomes: what the clients counted, as `Outcomes.to_document` gives it.
        receipts: the folder of all receipts, those of earlier runs included.
        earlier: answers in earlier runs at the same campaign, by name.
    """
    verdict = RunVerdict(outcomes, earlier)
    after = server.counters()
    if after is None:
        verdict.notes.append("the service's counters: it shows none")
    else:
        verdict.counters = after if before is None else after.since(before)
    try:
        verdict.books = server.books()
        if verdict.books is None:
            verdict.notes.append("the service's audit: there is none, or no --ops-token to ask for it")
    except ServiceError as error:
        verdict.notes.append(f"the service's audit: {error}")
    _compare(verdict, server, receipts)
    return verdict


def _compare(verdict: RunVerdict, server: ServiceFigures, receipts: Path) -> None:
    ops_token = server.ops_token
    if ops_token is None:
        verdict.notes.append("receipts against the ledger: no --ops-token, and no development mode")
        return
    try:
        with Service(server.url, timeout_s=60.0) as service:
            facts = service.campaign(server.campaign)
            truth = parse_claims(service.claims_csv(server.campaign, ops_token))
        verdict.claims = sum(claim.held for claim in truth)
        evidence = gather([receipts], truth, facts)
    except (ServiceError, TruthError, ReceiptsError) as error:
        verdict.notes.append(f"receipts against the ledger: {error}")
        return
    heard = sum(verdict.outcomes["answers"].values()) + sum(verdict.earlier.values())
    written = sum(attempt.status > 0 for attempt in evidence.attempts)
    if written < heard:
        # Workers on other machines keep theirs: to compare a part would find strangers everywhere.
        verdict.notes.append(f"receipts against the ledger: only {written:,} of {heard:,} answers are in {receipts}")
        return
    verdict.findings = verify(evidence)


def as_csv(rows: Iterable[tuple[str, str, str]]) -> str:
    """The rows for a spreadsheet."""
    quoted = (",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in (("", "clients", "service"), *rows))
    return "\r\n".join(quoted) + "\r\n"
