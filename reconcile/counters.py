"""The counters of the ledger, and their page of metrics."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Final

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from grab_service import __version__

RISING: Final = frozenset(
    {"entries", "claims", "returns", "batches", "conflicts", "alarms", "armings", "recoveries", "trimmed"}
)


@dataclass(slots=True)
class Counters:
    """Figures of one ledger since it started; plain numbers, written by one event loop."""

    entries: int = field(default=0, metadata={"help": "Entries of the log drained"})
    claims: int = field(default=0, metadata={"help": "Claims drained"})
    returns: int = field(default=0, metadata={"help": "Returned units drained"})
    batches: int = field(default=0, metadata={"help": "Transactions that drained"})
    conflicts: int = field(default=0, metadata={"help": "Transactions given up because somebody else had drained"})
    alarms: int = field(default=0, metadata={"help": "Alarms raised"})
    armings: int = field(default=0, metadata={"help": "Times the cell was armed"})
    recoveries: int = field(default=0, metadata={"help": "Times the cell was rebuilt from Postgres"})
    trimmed: int = field(default=0, metadata={"help": "Entries of the log trimmed"})
    lag_seq: int = field(default=0, metadata={"help": "Seqs in the cell that Postgres does not have yet"})
    lag_seconds: float = field(
        default=0, metadata={"help": "How long the oldest entry of the last batch waited, or waits, to be on record"}
    )
    pending_commands: int = field(default=0, metadata={"help": "Commands of the outbox still to be carried out"})
    leading: int = field(default=0, metadata={"help": "1 if this ledger leads, 0 if it stands by"})
    armed: int = field(default=0, metadata={"help": "1 if the cell is open to grabs, as this ledger saw it last"})
    audit_green: int = field(
        default=-1, metadata={"help": "1 if the last audit in the background found no fault, 0 if it did, -1 before the first"}
    )
    audit_share: float = field(default=0, metadata={"help": "Share of the claims that the last audit compared one by one"})
    audit_timestamp_seconds: float = field(
        default=0, metadata={"help": "When the last audit in the background ended; 0 before the first"}
    )
    audit_oldest_seconds: int = field(
        default=-1, metadata={"help": "Age of the oldest comparison of a campaign's claims; -1 if one never was compared"}
    )

    replicas: int = field(default=-1, metadata={"help": "Replicas that follow Redis; -1: not known"})
    cell_epoch: int = field(default=0, metadata={"help": "Epoch of the cell, as it is on record; 0: not known yet"})
    open_alarms: Mapping[tuple[str, str], int] = field(default_factory=dict, metadata={"help": ""})
    """By kind, and `open` or `acknowledged`; empty while this ledger does not lead."""


class _Shown(Collector):
    def __init__(self, counters: Counters, release: str) -> None:
        self._counters = counters
        self._release = release

    def collect(self) -> Iterator[Metric]:
        for one in fields(self._counters):
            if one.name != "open_alarms":
                family = CounterMetricFamily if one.name in RISING else GaugeMetricFamily
                yield family(f"ledger_{one.name}", one.metadata["help"], value=getattr(self._counters, one.name))
        alarms = GaugeMetricFamily(
            "ledger_open_alarms",
            "Alarms that are not cleared; none are shown by a ledger that stands by",
            labels=["kind", "state"],
        )
        for labels, count in self._counters.open_alarms.items():
            alarms.add_metric(labels, count)
        yield alarms
        build = GaugeMetricFamily(
            "ledger_build_info", "Version of this ledger, and its release of the rules", labels=["version", "release"]
        )
        build.add_metric([__version__, self._release], 1)
        yield build


def shown(counters: Counters, release: str) -> CollectorRegistry:
    """The figures as Prometheus reads them; `release`: the digest of the scripts."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Shown(counters, release))
    return registry


def show(counters: Counters, release: str, host: str, port: int) -> None:
    """Show them to Prometheus at `http://<host>:<port>/metrics`, in a thread of its own, to the end of the process."""
    start_http_server(port, addr=host, registry=shown(counters, release))
