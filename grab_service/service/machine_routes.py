"""Calls for probes and scrapers."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from grab_service.health.readiness import CheckName
from grab_service.http.answers import NO_STORE
from grab_service.http.contract import answers
from grab_service.http.shapes import Alive, Readiness
from grab_service.server.probes import ALIVE, JSON, Kept, Probes

router = APIRouter(tags=["machines"])

Excluded = Annotated[
    tuple[CheckName, ...],
    Query(max_length=len(CheckName), description="checks that do not count, for a proxy that asks"),
]


@router.get("/livez", summary="Is the process alive?", response_model=Alive, responses=answers())
async def alive() -> Response:
    """Depends on nothing else; without an answer the process may be restarted."""
    return _response((200, JSON, ALIVE))


@router.get(
    "/readyz",
    summary="Can this worker do its work?",
    response_model=Readiness,
    responses=answers("validation", ok={503: {"model": Readiness, "description": "Not ready: `checks` says why."}}),
)
async def ready(request: Request, exclude: Excluded = ()) -> Response:
    """Names each check; each is made once a second at most. The sale goes on while Postgres or the ledger are away.

    A proxy that asks leaves these out: `?exclude=postgres&exclude=lag` shows what was found, but does not count it.
    """
    return _response(await _probes(request).readiness(exclude))


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    response_class=Response,
    responses=answers(ok={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}),
)
async def metrics(request: Request) -> Response:
    """Of all workers of this machine, where they count together; added up once a second at most."""
    return _response(await _probes(request).figures())


def _probes(request: Request) -> Probes:
    probes: Probes = request.app.state.probes
    return probes


def _response(kept: Kept) -> Response:
    status, content_type, body = kept
    return Response(body, status, {**NO_STORE, "content-type": content_type})
