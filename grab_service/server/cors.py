"""Calls by pages of other origins (CORS): the allowed origins, and the headers for the browser.

Those that are set, by their exact origin, and none otherwise. A pass identifies callers, never a cookie, so nothing
is granted beyond the call itself. A browser asks before most calls (a preflight): that is answered here, without a place or a
route.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from grab_service.grabpath.answers import Answer

Headers = Sequence[tuple[bytes, bytes]]

EXPOSED: Final = b"etag, location, x-server-time-ms, x-request-id, retry-after, www-authenticate"
PREFLIGHT: Final = (
    b"access-control-allow-methods: GET, HEAD, POST, PUT, PATCH, DELETE\r\n"
    b"access-control-allow-headers: authorization, idempotency-key, content-type, if-match, if-none-match, accept-language, "
    b"x-request-id\r\n"
    b"access-control-max-age: 7200\r\n"
)


class Cors:
    """The origins whose pages may call."""

    def __init__(self, origins: Iterable[str]) -> None:
        self._granted: dict[bytes | None, Headers] = {}
        self._preflights: dict[bytes | None, Answer] = {}
        for origin in (text.encode() for text in origins):
            self._granted[origin] = ((b"access-control-allow-origin", origin), (b"access-control-expose-headers", EXPOSED))
            self._preflights[origin] = Answer(204, b"access-control-allow-origin: %b\r\n%b" % (origin, PREFLIGHT), b"")

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._granted)

    def preflight(self, method: bytes, headers: Headers) -> Answer | None:
        """The answer to a browser that asks whether it may call; None if this is no such question, or it may not."""
        if method != b"OPTIONS" or not self._granted:
            return None
        asked = dict(headers)
        return self._preflights.get(asked.get(b"origin")) if b"access-control-request-method" in asked else None

    def of(self, answer: Answer, origin: bytes | None) -> Answer:
        """The answer, as a page of that origin may read it."""
        granted = self._granted.get(origin)
        if granted is None or answer.status == 204:  # a preflight says it itself
            return answer
        return answer.with_headers(*granted)

    def sending(self, headers: Headers, send: Any) -> Any:
        """ASGI's `send`, whose answers a page of the origin that stands in these headers may read."""
        granted = self._granted.get(next((value for name, value in headers if name == b"origin"), None))
        if granted is None:
            return send

        async def send_granted(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *granted]}
            await send(message)

        return send_granted
