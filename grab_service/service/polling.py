"""Calls that are polled: time, pulse of a campaign, probes, description. They are answered without FastAPI.

A crowd that waits for an opening asks for little else, so these cost a tenth of what a route costs. Requests that are
not answered here go to the routes of the same address, which say the same.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, Final

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

from grab_service.campaigns.bodies import pulse_body
from grab_service.grabpath.view import View
from grab_service.server.probes import JSON, Kept, Probes
from grab_service.vocabulary.queries import UNDER, query_errors

TIME: Final = "/v1/time"
DESCRIPTION: Final = "/openapi.json"
BEFORE: Final = "/v1/campaigns/"
AFTER: Final = "/state"
POLLED: Final = f"{BEFORE}{{campaign_id}}{AFTER}"


class PollingMiddleware:
    """ASGI, in front of the routes."""

    def __init__(self, app: ASGIApp, *, view: View, probes: Probes, describe: Callable[[], Any]) -> None:
        """`describe`: the OpenAPI document; written down once."""
        self._app = app
        self._view = view
        self._probes = probes
        self._description = cache(lambda: orjson.dumps(describe()))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kept = self._kept(scope) if scope["type"] == "http" and scope["method"] == "GET" else None
        if kept is None:
            await self._app(scope, receive, send)
            return
        status, content_type, body = kept
        scope["state"]["route"] = POLLED if scope["path"].startswith(BEFORE) else scope["path"]
        headers = [
            (b"cache-control", b"no-store"),
            (b"content-type", content_type.encode("latin-1")),
            (b"content-length", b"%d" % len(body)),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _kept(self, scope: Scope) -> Kept | None:
        path: str = scope["path"]
        if path.startswith(UNDER) and scope["query_string"] and query_errors(scope["query_string"], (), reads=True):
            return None  # the route refuses it
        if path == TIME:
            return 200, JSON, b'{"now_ms":%d}' % self._view.now_ms()
        if path.startswith(BEFORE):
            campaign = self._view.campaign(path[len(BEFORE) : -len(AFTER)]) if path.endswith(AFTER) else None
            return None if campaign is None else (200, JSON, orjson.dumps(pulse_body(campaign, self._view.now_ms())))
        if path == DESCRIPTION:
            return 200, JSON, self._description()
        return None if scope["query_string"] else self._probes.at_once(path)
