"""Ops paused, resumed, closed or cancelled a campaign: its row gets the state, and when it ended."""

from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from grab_service.vocabulary.campaigns import ENDS
from grab_service.vocabulary.events import StateSet
from reconcile.drain.appliers.statement import change_one

_STATE_SET: Final = text(
    "UPDATE campaigns SET state = :state, closed_at_ms = :closed_at_ms"
    " WHERE campaign_id = :campaign_id AND published_seq IS NOT NULL"
)


async def apply(connection: AsyncConnection, event: StateSet) -> None:
    """Raises WrongEntryError if the campaign is not published."""
    closed_at_ms = event.at_ms if event.state in ENDS else None
    values = {"campaign_id": event.campaign_id, "state": event.state.value, "closed_at_ms": closed_at_ms}
    await change_one(connection, _STATE_SET, values, event, "the campaign is not published")
