"""The figures of a worker beside those of its grabs' decisions: times, connections, calls, waits, and what its view shows."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client import Counter, Gauge
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.ext.asyncio import AsyncEngine

from grab_service import __version__
from grab_service.cell.connect import WatchedPool
from grab_service.cell.store import Cell
from grab_service.grabpath.admission import Admission
from grab_service.grabpath.view import CampaignView, View
from grab_service.measures.calls import CallMetrics
from grab_service.measures.durations import GRAB_BOUNDS_S, WAIT_BOUNDS_S, Durations
from grab_service.server.connections import Connections
from grab_service.sql.engine import pool_of
from grab_service.vocabulary.campaigns import Phase

LAG_INTERVAL_S: Final = 0.1
CAMPAIGNS_SHOWN_MAX: Final = 50
OVER: Final = frozenset({Phase.ENDED, Phase.CANCELLED})


class WorkerFigures:
    """Figures of one worker; build one per process.

    Attributes:
        grabs: by outcome, from the arrival of a grab to its answer.
        calls: of the ordinary calls.
    """

    def __init__(self, connections: Connections, admission: Admission, engine: AsyncEngine, **pools: WatchedPool) -> None:
        """`pools`: those of Redis, by the name under which their waits are shown."""
        self.grabs = Durations("grab_answer_seconds", "From the arrival of a grab to its answer", ["outcome"], GRAB_BOUNDS_S)
        self.calls = CallMetrics()
        self._lag = Durations("grab_loop_lag_seconds", "Delay of a timer of the event loop", [], WAIT_BOUNDS_S)
        self._waits = Durations(
            "grab_pool_wait_seconds",
            "Waits for a connection of a pool, or for a turn of an ordinary call",
            ["pool"],
            WAIT_BOUNDS_S,
        )
        self._connections, self._admission, self._sql = connections, admission, pool_of(engine)
        self._sql.on_wait = self._waits["postgres"].append
        admission.on_wait = self._waits["calls"].append
        for name, pool in pools.items():
            pool.on_wait = self._waits[name].append
        self._turned_away = Counter("grab_connections_turned_away", "Connections beyond the limit, refused or cut")
        self._gauges: dict[Gauge, Callable[[], float]] = {
            Gauge(name, help_text, multiprocess_mode="livesum"): value
            for name, help_text, value in (
                ("grab_workers", "Workers that run", lambda: 1),
                ("grab_connections_open", "Connections of clients", lambda: len(connections)),
                ("grab_calls_at_work", "Ordinary calls that have a place", lambda: admission.taken),
                ("grab_postgres_connections_busy", "Connections to PostgreSQL in use", self._sql.checkedout),
                ("grab_postgres_connections_waiting", "Calls that wait for one", lambda: self._sql.waiting),
            )
        }

    async def watch_loop(self) -> None:
        """Notice how late the loop serves a timer, until cancelled."""
        loop, late_s = asyncio.get_running_loop(), self._lag[()]
        while True:
            due_s = loop.time() + LAG_INTERVAL_S
            await asyncio.sleep(LAG_INTERVAL_S)
            late_s.append(max(0.0, loop.time() - due_s))

    def flush(self) -> None:
        """Hand over what was counted since the last time."""
        for durations in (self.grabs, self._lag, self._waits):
            durations.flush()
        self.calls.flush()
        self._turned_away.inc(self._connections.turned_away)
        self._connections.turned_away = 0
        for gauge, value in self._gauges.items():
            gauge.set(value())


class ViewFigures(Collector):
    """What the view of the asked worker shows. All workers see the same, so nothing is added up, and what is over is gone."""

    def __init__(self, view: View, cell: Cell) -> None:
        self._view = view
        self._cell = cell

    def collect(self) -> Iterator[Metric]:
        """The campaigns that are not over, those nearest to their opening first; the build and the epoch."""
        now_ms = self._view.now_ms()
        going = [campaign for campaign in self._view.campaigns() if campaign.phase(now_ms) not in OVER]
        going.sort(key=lambda campaign: abs(campaign.opens_at_ms - now_ms))
        shown: tuple[tuple[str, str, Callable[[CampaignView], float]], ...] = (
            ("units_left", "Units that can be won now", lambda campaign: campaign.available(now_ms)),
            ("claims_active", "Claims that hold a unit", lambda campaign: campaign.active),
            ("opens_timestamp_seconds", "When it opens, or opened, first", lambda campaign: campaign.opens_at_ms / 1000),
        )
        for name, help_text, value in shown:
            family = GaugeMetricFamily(
                f"grab_campaign_{name}", f"{help_text}; campaigns that are not over", labels=["campaign_id"]
            )
            for campaign in going[:CAMPAIGNS_SHOWN_MAX]:
                family.add_metric([campaign.campaign_id], value(campaign))
            yield family
        unshown = max(0, len(going) - CAMPAIGNS_SHOWN_MAX)
        yield GaugeMetricFamily(
            "grab_campaigns_unshown", "Campaigns that are not over, and too many to be shown", value=unshown
        )
        build = GaugeMetricFamily(
            "grab_build_info", "Version of this worker, and its release of the rules", labels=["version", "release"]
        )
        build.add_metric([__version__, self._cell.release], 1)
        yield build
        yield GaugeMetricFamily(
            "grab_cell_epoch", "Epoch of the cell, as this worker knows it; 0: not yet", value=self._cell.epoch
        )
