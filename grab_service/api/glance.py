"""How are those answered who keep looking? The time and the pulse of a campaign, without FastAPI in between.

A crowd that waits for an opening asks for little else, so these two cost a tenth of what a route costs. What is not answered
here, the routes of the same address answer, and say the same.
"""

from typing import Final

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

from grab_service.api.campaign_bodies import pulse_body
from grab_service.grabpath.view import View

TIME: Final = "/v1/time"
BEFORE: Final = "/v1/campaigns/"
AFTER: Final = "/state"
HEADERS: Final = ((b"cache-control", b"no-store"), (b"content-type", b"application/json"))


class Glance:
    """ASGI, in front of the routes."""

    def __init__(self, app: ASGIApp, *, view: View) -> None:
        self._app = app
        self._view = view

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = self._body(scope["path"]) if scope["type"] == "http" and scope["method"] == "GET" else None
        if body is None:
            await self._app(scope, receive, send)
            return
        headers = [*HEADERS, (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _body(self, path: str) -> bytes | None:
        if path == TIME:
            return b'{"now_ms":%d}' % self._view.now_ms()
        if path.startswith(BEFORE) and path.endswith(AFTER):
            campaign = self._view.campaign(path[len(BEFORE) : -len(AFTER)])
            if campaign is not None:
                return orjson.dumps(pulse_body(campaign, self._view.now_ms()))
        return None
