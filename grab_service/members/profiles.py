"""Member profiles from the host app: recorded from each assertion once.

A member who bound their account a minute ago is registered by the assertion itself, at once.
"""

from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import Row, delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from grab_service.members.versions import lock_versions, next_version
from grab_service.refusal import RefusalError
from grab_service.sql.tables import members, orgs, used_assertions

CLEANED_MAX = 1000
"""Used assertions that have expired are forgotten, so many with each new one at most."""


@dataclass(frozen=True, slots=True)
class Profile:
    """The fields that an assertion gives of a member; None: not given."""

    org_id: str | None = None
    person_id: str | None = None
    name: str | None = None
    tags: tuple[str, ...] | None = None
    birthday_month: int | None = None
    joined_on: date | None = None

    def columns(self) -> dict[str, Any]:
        """The columns of members that it speaks of."""
        said = {
            "org_id": self.org_id,
            "person_id": self.person_id,
            "name": self.name,
            "tags": list(self.tags) if self.tags is not None else None,
            "birthday_month": self.birthday_month,
            "joined_on": self.joined_on,
        }
        return {name: value for name, value in said.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Registered:
    """A member as registered now, the version of that record, and whether anything changed."""

    member_id: str
    org_id: str
    status: str
    version: int
    changed: bool


async def take_assertion(
    engine: AsyncEngine, jti: str, expires_at_ms: int, now_ms: int, member_id: str, profile: Profile
) -> Registered:
    """Use an assertion up, and write down what it says.

    Raises:
        RefusalError: assertion-used; member-unknown if the member is not registered and no union is named, or has left.
    """
    async with engine.begin() as connection:
        await _use_up(connection, jti, expires_at_ms, now_ms)
        said = profile.columns()
        found = await _find(connection, member_id)
        if found is None or _differences(found, said):
            # Somebody else may be writing the same member: look again when nobody can.
            await lock_versions(connection)
            found = await _find(connection, member_id)
        if found is None:
            return await _register(connection, member_id, said)
        if found.status == "left":
            raise RefusalError("member-unknown")
        changes, version = _differences(found, said), found.version
        if changes:
            await _know_org(connection, changes.get("org_id"))
            version = await next_version(connection)
            await connection.execute(update(members).where(members.c.member_id == member_id).values(version=version, **changes))
        return Registered(member_id, changes.get("org_id", found.org_id), found.status, version, changed=bool(changes))


async def _find(connection: AsyncConnection, member_id: str) -> Row[Any] | None:
    return (await connection.execute(select(members).where(members.c.member_id == member_id))).one_or_none()


def _differences(found: Row[Any], said: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in said.items() if getattr(found, name) != value}


async def _use_up(connection: AsyncConnection, jti: str, expires_at_ms: int, now_ms: int) -> None:
    expired = select(used_assertions.c.jti).where(used_assertions.c.expires_at_ms < now_ms).limit(CLEANED_MAX)
    await connection.execute(
        delete(used_assertions).where(used_assertions.c.jti.in_(expired.with_for_update(skip_locked=True)))
    )
    # Of two at the same moment one waits here for the other, and then finds it used.
    used = await connection.execute(
        insert(used_assertions)
        .values(jti=jti, expires_at_ms=expires_at_ms)
        .on_conflict_do_nothing()
        .returning(used_assertions.c.jti)
    )
    if used.one_or_none() is None:
        raise RefusalError("assertion-used")


async def _register(connection: AsyncConnection, member_id: str, said: dict[str, Any]) -> Registered:
    if "org_id" not in said:
        raise RefusalError("member-unknown")
    await _know_org(connection, said["org_id"])
    row = {"name": "", "tags": [], "status": "active", **said}
    version = await next_version(connection)
    await connection.execute(insert(members).values(member_id=member_id, version=version, **row))
    return Registered(member_id, said["org_id"], "active", version, changed=True)


async def _know_org(connection: AsyncConnection, org_id: str | None) -> None:
    if org_id is not None:
        await connection.execute(insert(orgs).values(org_id=org_id, name=org_id).on_conflict_do_nothing())
