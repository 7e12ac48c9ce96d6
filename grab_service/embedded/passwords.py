"""Passwords of the programs on embedded servers, and their place in addresses."""

import hashlib
import hmac
from typing import Any
from urllib.parse import quote, urlsplit


def derived_password(secret: str, cell: str, who: str) -> str:
    """A password derived from the secret of the process that starts the server; none leads back to it or to another."""
    return hmac.new(secret.encode(), f"{cell}:{who}".encode(), hashlib.sha256).hexdigest()


def as_user(url: str, name: str, password: str) -> str:
    """The same address, for another user."""
    parts: Any = urlsplit(url)
    _, _, host = parts.netloc.rpartition("@")
    changed = parts._replace(netloc=f"{quote(name, safe='')}:{quote(password, safe='')}@{host}")
    return str(changed.geturl())
