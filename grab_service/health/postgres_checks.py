"""PostgreSQL's settings that protect what is on record."""

from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from grab_service.health.check import ReadinessCheck
from grab_service.vocabulary.durability import Durability

LOSSY: Final = ("fsync", "synchronous_commit", "full_page_writes")


async def commits_of(connection: AsyncConnection, durability: Durability) -> ReadinessCheck:
    """What PostgreSQL has committed stays, if that is what was declared; what is off is said in any case.

    Raises:
        sqlalchemy.exc.DBAPIError: it did not answer.
    """
    off = [name for name in LOSSY if (await connection.execute(text(f"SHOW {name}"))).scalar_one() == "off"]
    if durability is not Durability.RECORD:
        return ReadinessCheck(ok=True, detail=f"{', '.join(off)} off" if off else "")
    if off:
        return ReadinessCheck(
            ok=False, detail=f"{', '.join(off)} off, and winners hear of what it has committed (GRAB_DURABILITY=record)"
        )
    return ReadinessCheck(ok=True, detail="")
