"""The service as one ASGI application: all routes but the lane's, and their middleware."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from fastapi import FastAPI
from fastapi.routing import APIRoute

from grab_service import __version__
from grab_service.accounts import token_routes as ops_tokens
from grab_service.alarms import ops_routes as ops_alarms
from grab_service.campaigns import import_routes as ops_imports
from grab_service.campaigns import lifecycle_routes as ops_steering
from grab_service.campaigns import member_routes as campaigns
from grab_service.campaigns import ops_routes as ops_campaigns
from grab_service.chain import routes as chain
from grab_service.claims import grab_route as grab
from grab_service.claims import member_routes as claims
from grab_service.claims import ops_routes as ops_records
from grab_service.claims import voucher_routes as vouchers
from grab_service.counts import ops_routes as ops_counts
from grab_service.http import docs_page, problem_pages
from grab_service.http.answers import put_failures_into_words
from grab_service.http.contract import describe
from grab_service.http.outermost import OutermostMiddleware
from grab_service.identity.assertions import AssertionKeys
from grab_service.members import dev_routes as dev
from grab_service.members import ops_routes as ops_people
from grab_service.members import session_routes as sessions
from grab_service.server.probes import Probes
from grab_service.server.worker import Worker
from grab_service.service import home
from grab_service.service import machine_routes as machines
from grab_service.service.polling import PollingMiddleware

DESCRIPTION: Final = """\
A flash-sale engine for the coupons and benefits of a union's members: never one unit too many, never one too few, never a
promise lost.

Times are RFC 3339 in UTC, and `…_ms` in Unix milliseconds wherever a client counts down. Every answer carries
`X-Server-Time-Ms`, and `X-Request-Id`: the one that the request brought, or a new one (of a grab only if it brought one).
Errors are problem details (RFC 9457): decide by `code`; `detail` is a sentence for the member, Chinese by default and English
with `Accept-Language: en`. Ids are opaque. Lists are paged: `next_cursor` leads on, null ends.
"""
TAGS: Final = [
    {"name": "members", "description": "What phones call, with a member's pass."},
    {
        "name": "ops",
        "description": "What those call who run campaigns, with an ops token. Every change is logged with its reason.",
    },
    {"name": "machines", "description": "What probes and scrapers call."},
    {"name": "development", "description": "There in development mode only."},
]

ALWAYS: Final = (
    campaigns,
    grab,
    claims,
    vouchers,
    chain,
    sessions,
    ops_alarms,
    ops_campaigns,
    ops_counts,
    ops_imports,
    ops_people,
    ops_records,
    ops_steering,
    ops_tokens,
    home,
    docs_page,
    machines,
    problem_pages,
)


def operation_id(route: APIRoute) -> str:
    """What OpenAPI calls an operation: where it stands, and its name there."""
    return f"{route.endpoint.__module__.rpartition('.')[2]}_{route.name}"


def build_app(worker: Worker) -> FastAPI:
    """The application over the parts of one worker, which its lifespan starts and stops."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with worker.running():
            yield

    app = FastAPI(
        title="grab-service",
        version=__version__,
        openapi_tags=TAGS if worker.settings.dev else TAGS[:-1],
        generate_unique_id_function=operation_id,
        redirect_slashes=False,
        strict_content_type=False,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.worker = worker
    app.state.assertion_keys = AssertionKeys.read(worker.settings)
    app.state.signing_keys = worker.settings.signing_keys()
    app.state.probes = Probes(worker)
    describe(app, DESCRIPTION)
    app.add_middleware(PollingMiddleware, view=worker.view, probes=app.state.probes, describe=app.openapi)
    # Added last, so it is around all.
    app.add_middleware(
        OutermostMiddleware,
        now_ms=worker.view.now_ms,
        calls=worker.figures.calls,
    )
    put_failures_into_words(app)
    families = [*(module.router for module in ALWAYS), ops_steering.preflights, chain.ops_router]
    families += [dev.router] if worker.settings.dev else []
    for router in families:
        app.include_router(router)
    app.state.routes = [route for router in families for route in router.routes if isinstance(route, APIRoute)]
    return app
