"""The statement of an applier, which changes exactly one row or fails."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import CursorResult, TextClause
from sqlalchemy.ext.asyncio import AsyncConnection

from grab_service.vocabulary.campaigns import Release
from grab_service.vocabulary.events import Event


class WrongEntryError(Exception):
    """An entry contradicts Postgres, or speaks of something that Postgres does not have; nothing of the batch may stay."""

    def __init__(self, why: str, event: Event) -> None:
        super().__init__(why)
        self.event = event


async def change_one(
    connection: AsyncConnection, statement: TextClause, values: Mapping[str, Any], event: Event, why_not: str
) -> None:
    """Execute a statement that must change one row.

    Raises:
        WrongEntryError: it changed none.
    """
    result: CursorResult[Any] = await connection.execute(statement, values)
    if result.rowcount != 1:
        raise WrongEntryError(why_not, event)


def releases_as_json(releases: Sequence[Release]) -> list[list[int]]:
    """Releases as the table of campaigns holds them: [opens_at_ms, quantity] each."""
    return [[release.opens_at_ms, release.quantity] for release in releases]
