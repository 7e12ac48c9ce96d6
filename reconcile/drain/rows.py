"""The rows of the log's entries.

In the order of the log, within the transaction that moves the cursor. No `ON CONFLICT` anywhere: a row that is there already
means that the log or the ledger is wrong, and that must be seen.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import asyncpg
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from grab_service.sql.tables import campaigns
from grab_service.vocabulary.campaigns import BenefitKind
from grab_service.vocabulary.claims import Validity
from grab_service.vocabulary.events import Event, Granted
from reconcile.drain import claim_rows
from reconcile.drain.appliers import APPLIERS
from reconcile.drain.appliers.statement import WrongEntryError


@dataclass(frozen=True, slots=True)
class _Benefit:
    """Validity of a campaign's vouchers; None: it has none."""

    validity: Validity | None


class Rows:
    """Writes events; remembers the vouchers' form of each campaign, which never changes after publication."""

    def __init__(self) -> None:
        self._benefits: dict[str, _Benefit] = {}

    async def write(self, connection: AsyncConnection, events: Sequence[Event]) -> None:
        """Write the events of one batch, in their order.

        Raises:
            WrongEntryError: an entry that cannot be; roll back.
            sqlalchemy.exc.DBAPIError: a constraint says the same, or Postgres has trouble of its own.
        """
        granted: list[Granted] = []
        for event in events:
            if (apply := APPLIERS[event.TYPE]) is not None:
                # Later events may depend on the rows so far, and these on the campaign as it was then.
                await self._insert(connection, granted)
                granted = []
                await apply(connection, event)
            if isinstance(event, Granted):
                granted.append(event)
        await self._insert(connection, granted)

    async def _insert(self, connection: AsyncConnection, batches: Sequence[Granted]) -> None:
        if not batches:
            return
        await self._learn_benefits(connection, {batch.campaign_id for batch in batches})
        pieces = [claim_rows.HEAD]
        for batch in batches:
            benefit = self._benefits.get(batch.campaign_id)
            if benefit is None:
                raise WrongEntryError("the campaign is not published", batch)
            try:
                pieces += claim_rows.rows_of(batch, benefit.validity)
            except claim_rows.BadClaimError as error:
                raise WrongEntryError(str(error), batch) from error
        pieces.append(claim_rows.END)
        await _copy(connection, b"".join(pieces))

    async def _learn_benefits(self, connection: AsyncConnection, campaign_ids: set[str]) -> None:
        unknown = campaign_ids - self._benefits.keys()
        if not unknown:
            return
        query = select(campaigns.c.campaign_id, campaigns.c.definition).where(
            campaigns.c.campaign_id.in_(unknown), campaigns.c.published_seq.is_not(None)
        )
        for campaign_id, definition in await connection.execute(query):
            benefit = definition["benefit"]
            has_voucher = BenefitKind(benefit["kind"]) is not BenefitKind.NONE
            self._benefits[campaign_id] = _Benefit(Validity.of_benefit(benefit) if has_voucher else None)


async def _copy(connection: AsyncConnection, rows: bytes) -> None:
    """Have Postgres copy in rows of claims, in the transaction that moved the cursor. All of them, or an error."""
    driver = (await connection.get_raw_connection()).driver_connection
    assert isinstance(driver, asyncpg.Connection), "the engine speaks through asyncpg"
    assert driver.is_in_transaction(), "the cursor moves first, and begins it"
    try:
        await driver.copy_to_table("claims", source=_at_once(rows), columns=claim_rows.COLUMNS, format="binary")
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise DBAPIError("COPY claims", None, error, hide_parameters=True) from error


async def _at_once(rows: bytes) -> AsyncIterator[bytes]:
    yield rows
