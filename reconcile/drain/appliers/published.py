"""A campaign is in the cell: its row gets the seq and the stock it was published with."""

from typing import Final

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from grab_service.vocabulary.campaigns import CampaignState, total_of
from grab_service.vocabulary.events import Published
from reconcile.drain.appliers.statement import change_one, releases_as_json

_PUBLISHED: Final = text(
    "UPDATE campaigns SET published_seq = :seq, state = :state, releases = :releases, total = :total "
    "WHERE campaign_id = :campaign_id AND version = :version AND published_seq IS NULL"
).bindparams(bindparam("releases", type_=JSONB))


async def apply(connection: AsyncConnection, event: Published) -> None:
    """Raises WrongEntryError if the campaign is unknown, was changed, or was published before."""
    values = {
        "seq": event.seq,
        "campaign_id": event.campaign_id,
        "version": event.version,
        "state": CampaignState.SCHEDULED.value,
        "releases": releases_as_json(event.releases),
        "total": total_of(event.releases),
    }
    why_not = "the campaign cannot be published: unknown, changed or published before"
    await change_one(connection, _PUBLISHED, values, event, why_not)
