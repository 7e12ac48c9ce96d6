"""Creation of a cell's users in Redis: in its ACL file, or in a running server.

Only hashes of passwords are written down or sent.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from grab_service.cell.rights import Login, acl_rules, user_of
from grab_service.cell.scripts import ScriptSources
from grab_service.embedded.passwords import derived_password

ADMIN: Final = "default"
_ADMIN_RULES: Final = ("~*", "&*", "+@all")


@dataclass(frozen=True, slots=True)
class RedisUser:
    """One user: its name, the SHA-256 of its password, and its rules."""

    name: str
    password_hash: str
    rules: tuple[str, ...]

    @property
    def line(self) -> str:
        """As it stands in an ACL file."""
        return " ".join(("user", self.name, *self._words))

    @property
    def command(self) -> tuple[str, ...]:
        """The command that sets it on a running server, independent of its former state."""
        return ("ACL", "SETUSER", self.name, "reset", *self._words)

    @property
    def _words(self) -> tuple[str, ...]:
        return ("on", f"#{self.password_hash}", *self.rules)


def users_of(cell: str, passwords: Mapping[Login, str]) -> list[RedisUser]:
    """The users of a cell, for this release of the scripts."""
    sources = ScriptSources.read()
    return [
        RedisUser(user_of(cell, login), _hash(password), acl_rules(cell, login, sources))
        for login, password in passwords.items()
    ]


def admin(password: str) -> RedisUser:
    """The user of the server's administrator; none of the programs runs as this one."""
    return RedisUser(ADMIN, _hash(password), _ADMIN_RULES)


def derived_passwords(secret: str, cell: str) -> dict[Login, str]:
    """The passwords of our own servers' users."""
    return {login: derived_password(secret, cell, login.value) for login in Login}


def write_acl_file(path: Path, users: Iterable[RedisUser]) -> None:
    """Put these users into an ACL file; others that it names stay."""
    ours = {user.name: user.line for user in users}
    before = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    others = [line for line in before if line.startswith("user ") and line.split()[1] not in ours]
    path.touch(mode=0o600)
    path.write_text("".join(f"{line}\n" for line in (*ours.values(), *others)), encoding="utf-8")


async def set_users(client: Redis, users: Iterable[RedisUser]) -> bool:
    """Set these users on a server that runs, as its admin; whether they will be there after its next start.

    Raises:
        redis.exceptions.RedisError: it does not answer, or refuses: it is too old, or this is not its admin.
    """
    async with client.pipeline(transaction=False) as pipeline:
        for user in users:
            pipeline.execute_command(*user.command)
        await pipeline.execute()
    for save in ("ACL SAVE", "CONFIG REWRITE"):
        try:
            await client.execute_command(save)  # type: ignore[no-untyped-call]  # of redis-py
        except ResponseError:
            continue
        return True
    return False


def _hash(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()
