"""The order of changes to members. The cell is told in this order, so no change may come in behind one already told.

A sequence alone would hand out numbers in one order and let the transactions commit in another; so a lock is held until the
commit.
"""

from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

LOCK: Final = 0x6D656D62
"""Of Postgres' advisory locks; the letters `memb`."""

_TAKE: Final = text("SELECT pg_advisory_xact_lock(:lock)")
_NEXT: Final = text("SELECT nextval('members_version')")


async def lock_versions(connection: AsyncConnection) -> None:
    """Be the only one that changes members until this transaction ends."""
    await connection.execute(_TAKE, {"lock": LOCK})


async def next_version(connection: AsyncConnection) -> int:
    """The version for one change of one member, in a transaction that commits soon."""
    await lock_versions(connection)
    version: int = (await connection.execute(_NEXT)).scalar_one()
    return version
