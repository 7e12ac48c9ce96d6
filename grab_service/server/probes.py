"""The answers to probes and scrapers; anybody can call them, so they are computed at most once a second."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from grab_service.health.check import ReadinessCheck
from grab_service.health.readiness import CheckName, check_readiness
from grab_service.server.figures import ViewFigures
from grab_service.server.worker import Worker

KEPT_S: Final = 1.0
MULTIPROCESS: Final = "PROMETHEUS_MULTIPROC_DIR"
"""The variable by which prometheus-client itself is told that several processes count together."""

ALIVE: Final = orjson.dumps({"alive": True})
JSON: Final = "application/json"

T = TypeVar("T")
Kept = tuple[int, str, bytes]
"""Status, content type, body."""


class Shared(Generic[T]):
    """A value that is worked out at most once in `KEPT_S`; all callers within that time get the same."""

    def __init__(self, work_out: Callable[[], Awaitable[T]], clock: Callable[[], float]) -> None:
        self._work_out = work_out
        self._clock = clock
        self._value: T | None = None
        self._until_s = float("-inf")
        self._under_way: asyncio.Task[T] | None = None

    @property
    def kept(self) -> T | None:
        """The value, if it is young enough."""
        return self._value if self._clock() < self._until_s else None

    async def get(self) -> T:
        """The value; all who come while it is being worked out wait for the same."""
        kept = self.kept
        if kept is not None:
            return kept
        if self._under_way is None:
            self._under_way = asyncio.get_running_loop().create_task(self._renew())
        return await asyncio.shield(self._under_way)

    async def _renew(self) -> T:
        try:
            value = self._value = await self._work_out()
            self._until_s = self._clock() + KEPT_S
            return value
        finally:
            self._under_way = None


class Probes:
    """Readiness and figures of one worker."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._readiness = Shared(self._look, worker.clock)
        self._figures = Shared(self._count_together, worker.clock)

    def at_once(self, path: str) -> Kept | None:
        """The answer, if it is known already; None if it has to be worked out, or the path is none of a probe."""
        if path == "/livez":
            return 200, JSON, ALIVE
        if path == "/readyz":
            checks = self._readiness.kept
            return None if checks is None else verdict(checks, ())
        if path == "/metrics":
            figures = self._figures.kept
            return None if figures is None else (200, CONTENT_TYPE_LATEST, figures)
        return None

    async def readiness(self, exclude: tuple[CheckName, ...]) -> Kept:
        """The body of `/readyz`."""
        return verdict(await self._readiness.get(), exclude)

    async def figures(self) -> Kept:
        """The body of `/metrics`."""
        return 200, CONTENT_TYPE_LATEST, await self._figures.get()

    async def _count_together(self) -> bytes:
        # Reading what all workers count takes a while: not on the loop.
        of_view = ViewFigures(self._worker.view, self._worker.grab_cell)
        return await asyncio.to_thread(lambda: _counted() + generate_latest(of_view))

    async def _look(self) -> dict[CheckName, ReadinessCheck]:
        worker = self._worker
        age_s = worker.clock() - worker.view.complete_at_s
        draining = worker.connections.draining
        file = worker.settings.loading_file
        loading = file is not None and file.exists()
        return await check_readiness(
            worker.cell,
            worker.redis,
            worker.engine,
            view_age_s=age_s,
            draining=draining,
            loading=loading,
            durability=worker.settings.durability,
            replicas_min=worker.settings.replicas_min,
        )


def verdict(checks: dict[CheckName, ReadinessCheck], exclude: tuple[CheckName, ...]) -> Kept:
    """Ready or not, and why."""
    ok = all(check.ok is not False or name in exclude for name, check in checks.items())
    shown = {name.value: {"state": check.state.value, "detail": check.detail} for name, check in checks.items()}
    return 200 if ok else 503, JSON, orjson.dumps({"ready": ok, "checks": shown})


def _counted() -> bytes:
    registry = REGISTRY
    if MULTIPROCESS in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # has no types
    return generate_latest(registry)
