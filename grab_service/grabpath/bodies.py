"""What becomes of a body that is too large to be taken?

It is read and thrown away, within bounds, before the answer is sent: a connection that is closed on a sender who is still
sending is reset, and the answer is lost with it.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

DISCARD_MAX_BYTES: Final = 16 * 1024 * 1024
DISCARD_TIMEOUT_S: Final = 5.0


async def discard_body(receive: Callable[[], Awaitable[MutableMapping[str, Any]]]) -> bool:
    """Throw away the rest of a body; False if it did not end within the bounds and the connection has to."""
    discarded_bytes = 0
    try:
        async with asyncio.timeout(DISCARD_TIMEOUT_S):
            while discarded_bytes < DISCARD_MAX_BYTES:
                message = await receive()
                if message["type"] != "http.request":
                    return False
                discarded_bytes += len(message.get("body", b""))
                if not message.get("more_body", False):
                    return True
    except TimeoutError:
        pass
    return False
