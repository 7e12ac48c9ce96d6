"""Logins of the code under test: the users and roles that the project sets up, made for each cell.

Tests set their scenes as the admin.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

from redis.asyncio import Redis

from grab_service.cell.rights import Login, user_of
from grab_service.embedded.passwords import as_user, derived_password
from grab_service.embedded.redis_users import derived_passwords, set_users, users_of
from grab_service.sql.grants import role_of
from grab_service.vocabulary.keys import DEFAULT_CELL

SECRET: Final = "a secret of tests, from which passwords are made"


@asynccontextmanager
async def redis_logins(admin_url: str, cell_name: str) -> AsyncIterator[Mapping[Login, str]]:
    """The addresses of a cell's users, who stay on that server until the end; they outlive its restarts."""
    passwords = derived_passwords(SECRET, cell_name)
    async with Redis.from_url(admin_url) as admin:
        assert await set_users(admin, users_of(cell_name, passwords)), "they would be gone after a restart"
    yield {login: as_user(admin_url, user_of(cell_name, login), password) for login, password in passwords.items()}


def as_role(admin_url: str, who: str) -> str:
    """The same database for a role, as which the embedded PostgreSQL knows it."""
    password = urlsplit(admin_url).password
    assert password is not None
    return as_user(admin_url, role_of(DEFAULT_CELL, who), derived_password(password, DEFAULT_CELL, who))
