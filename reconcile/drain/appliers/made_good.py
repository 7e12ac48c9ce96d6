"""Ops have given a claim: where that raised the total, the campaign's row gets the total and the releases now in force."""

from sqlalchemy.ext.asyncio import AsyncConnection

from grab_service.vocabulary.campaigns import total_of
from grab_service.vocabulary.events import MadeGood, StockSet
from reconcile.drain.appliers import stock_set


async def apply(connection: AsyncConnection, event: MadeGood) -> None:
    """Raises WrongEntryError if the campaign is not published. The claim's row comes after it."""
    if event.releases:
        place = (event.seq, event.last_seq, event.epoch, event.at_ms)
        await stock_set.apply(connection, StockSet(*place, event.campaign_id, total_of(event.releases), event.releases))
