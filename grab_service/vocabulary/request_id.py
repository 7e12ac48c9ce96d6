"""The id of a request, by which a caller, an answer and the log speak of the same one.

A caller may bring its own. One that could not stand in a log line as it is gets replaced: nobody is refused for it.
"""

import re
import secrets
from typing import Final

HEADER: Final = b"x-request-id"
_USABLE: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")


def request_id_of(brought: bytes | None) -> bytes:
    """The id that the request brought, if it is 1 to 64 of `A-Za-z0-9._-`; else a new one, 16 hex digits."""
    if brought is not None and _USABLE.fullmatch(brought):
        return brought
    return secrets.token_hex(8).encode()
