"""The chain in PostgreSQL: a row for each entry, in the transaction that drains it, and checkpoints that the ledger signs."""

import time
from collections.abc import Sequence
from typing import Final

from sqlalchemy import insert
from sqlalchemy.dialects.postgresql import insert as insert_or_pass
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from grab_service.signing import SigningKeys
from grab_service.sql.tables import checkpoints, log_entries
from grab_service.vocabulary.chain import Link
from grab_service.vocabulary.events import Event, OfCampaign
from grab_service.vocabulary.times import rfc3339
from reconcile.drain.cursor import Cursor

CHECKPOINT_INTERVAL_S: Final = 1.0


async def write_links(connection: AsyncConnection, events: Sequence[Event], links: Sequence[tuple[bytes, Link]]) -> None:
    """Write the links of these events. The bytes are kept of campaigns' own entries; of others the digest is enough."""
    rows = []
    for event, (entry, link) in zip(events, links, strict=True):
        campaign_id = event.campaign_id if isinstance(event, OfCampaign) else None
        rows.append(
            {
                "first_seq": event.seq,
                "last_seq": link.last_seq,
                "epoch": event.epoch,
                "at_ms": event.at_ms,
                "campaign_id": campaign_id,
                "digest": link.digest,
                "head": link.head,
                "entry": None if campaign_id is None else entry,
            }
        )
    await connection.execute(insert(log_entries), rows)


class Checkpoints:
    """Signs the head of the chain once a second while it moves, and where it comes to rest."""

    def __init__(self, engine: AsyncEngine, keys: SigningKeys) -> None:
        """`keys` without a private one: nothing is signed."""
        self._engine = engine
        self._keys = keys
        self._signed_seq = -1
        self._signed_at_s = float("-inf")

    async def sign(self, cursor: Cursor) -> None:
        """Sign the head at a cursor that is committed, unless it is signed already, or the last one was signed a moment ago.

        Raises:
            SQLAlchemyError, OSError, TimeoutError: it is not written down; try again.
        """
        now_s = time.monotonic()
        if self._keys.private is None or cursor.last_seq == self._signed_seq:
            return
        if now_s - self._signed_at_s < CHECKPOINT_INTERVAL_S:
            return
        at_ms = time.time_ns() // 1_000_000
        signature = self._keys.sign({"at": rfc3339(at_ms), "head": cursor.head.hex(), "seq": cursor.last_seq})
        # Another ledger may have signed this very place: then its signature stands.
        row = insert_or_pass(checkpoints).values(seq=cursor.last_seq, head=cursor.head, at_ms=at_ms, signature=signature)
        async with self._engine.begin() as connection:
            await connection.execute(row.on_conflict_do_nothing(index_elements=[checkpoints.c.seq]))
        self._signed_seq, self._signed_at_s = cursor.last_seq, now_s
