"""The stock of a campaign was changed: its row gets the total and the releases now in force."""

from typing import Final

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from grab_service.vocabulary.events import StockSet
from reconcile.drain.appliers.statement import change_one, releases_as_json

_STOCK_SET: Final = text(
    "UPDATE campaigns SET total = :total, releases = :releases WHERE campaign_id = :campaign_id AND published_seq IS NOT NULL"
).bindparams(bindparam("releases", type_=JSONB))


async def apply(connection: AsyncConnection, event: StockSet) -> None:
    """Raises WrongEntryError if the campaign is not published."""
    values = {"campaign_id": event.campaign_id, "total": event.total, "releases": releases_as_json(event.releases)}
    await change_one(connection, _STOCK_SET, values, event, "the campaign is not published")
