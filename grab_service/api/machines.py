"""Which calls are for probes and scrapers?"""

import asyncio
import os
from math import isfinite
from typing import Final

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from grab_service.api.answers import json_answer
from grab_service.api.contract import answers
from grab_service.api.dependencies import TheWorker
from grab_service.api.shapes import Alive, Readiness
from grab_service.ops.readiness import Check, check_cell, check_ledger, check_postgres

router = APIRouter(tags=["machines"])

MULTIPROCESS: Final = "PROMETHEUS_MULTIPROC_DIR"
"""The variable by which prometheus-client itself is told that several processes count together."""

VIEW_AGE_MAX_S: Final = 2.0
"""Much longer than what the gate may refuse by: a worker that was busy for a moment is not replaced."""


@router.get("/livez", summary="Is the process alive?", response_model=Alive, responses=answers())
async def alive() -> Response:
    """Depends on nothing else; whoever gets no answer may restart the process."""
    return json_answer({"alive": True})


@router.get(
    "/readyz",
    summary="Can this worker do its work?",
    response_model=Readiness,
    responses=answers(ok={503: {"model": Readiness, "description": "Not ready: `checks` says why."}}),
)
async def ready(worker: TheWorker) -> Response:
    """Names each check. The sale goes on while Postgres or the ledger are away: what is won is in the log."""
    cell, postgres, ledger = await asyncio.gather(
        check_cell(worker.cell), check_postgres(worker.engine), check_ledger(worker.engine, worker.cell)
    )
    age_s = worker.clock() - worker.view.complete_at_s
    view = Check(ok=age_s <= VIEW_AGE_MAX_S, detail=f"{age_s:.3f} s old" if isfinite(age_s) else "not complete")
    checks = {"redis": cell, "view": view, "postgres": postgres, "ledger": ledger}
    ok = all(check.ok for check in checks.values())
    body = {
        "ready": ok,
        "checks": {name: {"ok": check.ok, "detail": check.detail} for name, check in checks.items()},
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
