"""The service's own figures of a run: its counters, its audit, its lag."""

import re
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from loadtest.service import Service, ServiceError

DRAIN_PATIENCE_S = 30.0
PAUSE_S = 0.25

_SAMPLE = re.compile(r'^(\w+)(?:\{(?:outcome="([^"]*)")?[^}]*\})? ([0-9.eE+-]+)$', re.ASCII)


@dataclass(frozen=True, slots=True)
class Counters:
    """The counters of `/metrics`.

    Attributes:
        answers: to grabs, by problem code, `won` or `held`; those of the gate included.
        by_gate: of these, the refusals that the gate gave without asking Redis.
        gauges: other figures, by name.
    """

    answers: Mapping[str, int] = field(default_factory=dict)
    by_gate: Mapping[str, int] = field(default_factory=dict)
    gauges: Mapping[str, float] = field(default_factory=dict)

    def since(self, earlier: "Counters") -> "Counters":
        """The increase since an earlier look; a counter that began anew since counts as it stands."""
        return Counters(_grown(self.answers, earlier.answers), _grown(self.by_gate, earlier.by_gate), self.gauges)


@dataclass(frozen=True, slots=True)
class Books:
    """The audit's result for the campaign, when the ledger had caught up.

    Attributes:
        audit: the whole answer.
        caught_up_s: how long the ledger took for that, once asked.
        redis_active: units given out, by Redis.
        postgres_held: claims held, by PostgreSQL.
        available: units that Redis would still give out.
    """

    audit: Mapping[str, Any]
    caught_up_s: float
    redis_active: int
    postgres_held: int
    available: int

    @property
    def faults(self) -> list[str]:
        """The faults that the service's own audit finds."""
        broken = [f"audit: {name} does not hold" for name, check in self.audit["invariants"].items() if not check["holds"]]
        return broken if self.audit["redis_equals_postgres"] else [*broken, "audit: Redis and PostgreSQL differ"]


class ServiceFigures:
    """Asks the service, as ops and as a scraper; a plain blocking client.

    Args:
        url: of the service.
        campaign: its id.
        ops_token: of an operator or admin, who may read whole codes; None: the service is in development mode, or nothing
            is asked for.
        ledger_url: where the ledger shows its figures, if that is known.
    """

    def __init__(self, url: str, campaign: str, ops_token: str | None, ledger_url: str | None = None) -> None:
        self.url = url
        self.campaign = campaign
        self._ops_token = ops_token
        self._ledger_url = ledger_url

    @property
    def ops_token(self) -> str | None:
        """The token that was given, or one of the development mode."""
        if self._ops_token is None:
            try:
                with Service(self.url) as service:
                    document = orjson.loads(service.post("/v1/dev/ops-sessions", {"role": "operator"}))
            except (ServiceError, orjson.JSONDecodeError):
                return None
            token = document.get("token") if isinstance(document, dict) else None
            self._ops_token = token if isinstance(token, str) else None
        return self._ops_token

    def counters(self) -> Counters | None:
        """Look at the counters; None if the service shows none."""
        try:
            with Service(self.url) as service:
                text = service.get("/metrics").decode("utf-8", "replace")
            if self._ledger_url is not None:
                with Service(self._ledger_url) as ledger:
                    text += "\n" + ledger.get("/metrics").decode("utf-8", "replace")
        except ServiceError:
            return None
        return read_counters(text)

    def books(self) -> Books | None:
        """Ask for an audit, and again while the ledger is behind; None if the service has none to give.

        Raises:
            ServiceError: there is one, and it did not come in time.
        """
        token = self.ops_token
        if token is None:
            return None
        began_s = time.monotonic()
        while True:
            try:
                with Service(self.url, timeout_s=DRAIN_PATIENCE_S) as service:
                    audit = orjson.loads(service.get("/v1/ops/audit", {"Authorization": f"Bearer {token}"}))
            except ServiceError as error:
                if "status 404" in str(error):
                    return None
                if time.monotonic() - began_s > DRAIN_PATIENCE_S:
                    raise
                time.sleep(PAUSE_S)
                continue
            return _books(audit, self.campaign, time.monotonic() - began_s)


def read_counters(text: str) -> Counters:
    """Read what Prometheus reads."""
    answers: Counter[str] = Counter()
    by_gate: Counter[str] = Counter()
    gauges: dict[str, float] = {}
    for line in text.splitlines():
        found = _SAMPLE.match(line)
        if found is None:
            continue
        name, outcome, value = found[1], found[2], float(found[3])
        # The gate's are counted apart from all others.
        if name == "grab_answers_total" and outcome:
            answers[outcome.replace("_", "-")] += int(value)
        elif name == "grab_gate_refusals_total" and outcome:
            answers[outcome.replace("_", "-")] += int(value)
            by_gate[outcome.replace("_", "-")] += int(value)
        elif name in {"grab_waiting", "grab_view_age_seconds", "ledger_lag_seq", "ledger_lag_seconds"}:
            gauges[name] = value
    return Counters(dict(answers), dict(by_gate), gauges)


def _grown(now: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    begun_anew = any(now.get(name, 0) < count for name, count in before.items())
    return dict(now) if begun_anew else {name: count - before.get(name, 0) for name, count in now.items()}


def _books(audit: Mapping[str, Any], campaign: str, caught_up_s: float) -> Books:
    figures: Mapping[str, Any] = next((one for one in audit.get("campaigns", ()) if one["campaign_id"] == campaign), {})
    return Books(
        audit=audit,
        caught_up_s=caught_up_s,
        redis_active=int(figures.get("active", 0)),
        postgres_held=int(figures.get("postgres_held", 0)),
        available=int(figures.get("available", 0)),
    )
