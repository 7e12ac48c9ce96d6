"""Which calls are for probes and scrapers?"""

import os
from typing import Annotated, Final

from fastapi import APIRouter, Query, Response
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from grab_service.api.answers import json_answer
from grab_service.api.contract import answers
from grab_service.api.dependencies import TheWorker
from grab_service.api.shapes import Alive, Readiness
from grab_service.ops.readiness import CheckName, check_readiness

router = APIRouter(tags=["machines"])

MULTIPROCESS: Final = "PROMETHEUS_MULTIPROC_DIR"
"""The variable by which prometheus-client itself is told that several processes count together."""

Excluded = Annotated[
    tuple[CheckName, ...],
    Query(max_length=len(CheckName), description="checks that do not count, for a proxy that asks"),
]


@router.get("/livez", summary="Is the process alive?", response_model=Alive, responses=answers())
async def alive() -> Response:
    """Depends on nothing else; whoever gets no answer may restart the process."""
    return json_answer({"alive": True})


@router.get(
    "/readyz",
    summary="Can this worker do its work?",
    response_model=Readiness,
    responses=answers("validation", ok={503: {"model": Readiness, "description": "Not ready: `checks` says why."}}),
)
async def ready(worker: TheWorker, exclude: Excluded = ()) -> Response:
    """Names each check. The sale goes on while Postgres or the ledger are away: a proxy that asks leaves them out.

    `?exclude=postgres&exclude=lag` looks at them and says what it found, but does not count them.
    """
    age_s = worker.clock() - worker.view.complete_at_s
    draining = worker.connections.draining
    file = worker.settings.loading_file
    loading = file is not None and file.exists()
    checks = await check_readiness(
        worker.cell, worker.redis, worker.engine, view_age_s=age_s, draining=draining, loading=loading
    )
    ok = all(check.ok or name in exclude for name, check in checks.items())
    body = {
        "ready": ok,
        "checks": {name.value: {"ok": check.ok, "detail": check.detail} for name, check in checks.items()},
    }
    return json_answer(body, 200 if ok else 503)


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    response_class=Response,
    responses=answers(ok={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}),
)
async def metrics() -> Response:
    """Of all workers of this machine, where they count together."""
    registry = REGISTRY
    if MULTIPROCESS in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # has no types
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
