"""How do entries of the log become rows?

In the order of the log, within the transaction that moves the cursor. No `ON CONFLICT` anywhere: a row that is there already
means that the log or the ledger is wrong, and that must be seen.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
from sqlalchemy import CursorResult, bindparam, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from grab_service.sql.tables import HELD, campaigns
from grab_service.vocabulary.campaigns import ENDS, BenefitKind, CampaignState, Release
from grab_service.vocabulary.claims import Validity
from grab_service.vocabulary.events import (
    CodesLoaded,
    EpochBegan,
    Event,
    Granted,
    MembersPublished,
    Published,
    Returned,
    StateSet,
    StockSet,
)
from reconcile import claim_rows


class WrongEntryError(Exception):
    """An entry speaks of something that Postgres does not know, or knows otherwise; nothing of the batch may stay."""

    def __init__(self, why: str, event: Event) -> None:
        super().__init__(why)
        self.event = event


_PUBLISHED: Final = text(
    "UPDATE campaigns SET published_seq = :seq, state = :state, releases = :releases, total = :total "
    "WHERE campaign_id = :campaign_id AND version = :version AND published_seq IS NULL"
).bindparams(bindparam("releases", type_=JSONB))
_STATE_SET: Final = text(
    "UPDATE campaigns SET state = :state, closed_at_ms = :closed_at_ms"
    " WHERE campaign_id = :campaign_id AND published_seq IS NOT NULL"
)
_STOCK_SET: Final = text(
    "UPDATE campaigns SET total = :total, releases = :releases WHERE campaign_id = :campaign_id AND published_seq IS NOT NULL"
).bindparams(bindparam("releases", type_=JSONB))
# A code that went back to the pool is no longer the claim's: it may be granted again, further down the same log.
# Postgres has decided before the cell was told; where it has not, the log is what happened, and the reason names the state.
_RETURNED: Final = text(
    "UPDATE claims SET returned_seq = :seq,"  # noqa: S608 -- put together from constants
    f" state = CASE WHEN {HELD} THEN :reason ELSE state END,"
    f" voucher_state = CASE WHEN {HELD} AND voucher_state = 'active' THEN 'returned' ELSE voucher_state END,"
    " decided_at_ms = coalesce(decided_at_ms, :at_ms),"
    " code = CASE WHEN :code = '' THEN code END "
    "WHERE seq = :claim_seq AND campaign_id = :campaign_id AND member_id = :member_id AND unit_no = :unit_no"
    " AND returned_seq IS NULL AND :code IN ('', code)"
)
_DONE: Final = text("UPDATE commands SET done_seq = :seq WHERE claim_seq = :claim_seq AND done_seq IS NULL")
_EPOCH: Final = text("SELECT count(*) FROM epochs WHERE epoch = :epoch AND predecessor = :predecessor AND first_seq = :seq")


@dataclass(frozen=True, slots=True)
class _Benefit:
    """When the vouchers of a campaign are valid; None: it has none."""

    validity: Validity | None


class Rows:
    """Writes events; remembers, of each campaign, what its vouchers are, which never changes after publication."""

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
            if isinstance(event, Granted):
                granted.append(event)
            elif not isinstance(event, CodesLoaded | MembersPublished):
                # What follows may depend on the rows so far, and these on the campaign as it was then.
                await self._insert(connection, granted)
                granted = []
                await _apply(connection, event)
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


async def _apply(connection: AsyncConnection, event: Published | StateSet | StockSet | Returned | EpochBegan) -> None:
    place = {"seq": event.seq}
    if isinstance(event, Published):
        about = {
            "campaign_id": event.campaign_id,
            "version": event.version,
            "state": CampaignState.SCHEDULED.value,
            "releases": _as_json(event.releases),
            "total": sum(release.quantity for release in event.releases),
        }
        await _one(
            connection,
            _PUBLISHED,
            place | about,
            event,
            "the campaign cannot be published: unknown, changed or published before",
        )
    elif isinstance(event, StateSet):
        closed_at_ms = event.at_ms if event.state in ENDS else None
        about = {"campaign_id": event.campaign_id, "state": event.state.value, "closed_at_ms": closed_at_ms}
        await _one(connection, _STATE_SET, about, event, "the campaign is not published")
    elif isinstance(event, StockSet):
        about = {"campaign_id": event.campaign_id, "total": event.total, "releases": _as_json(event.releases)}
        await _one(connection, _STOCK_SET, about, event, "the campaign is not published")
    elif isinstance(event, Returned):
        about = {
            "campaign_id": event.campaign_id,
            "member_id": event.member_id,
            "unit_no": event.unit_no,
            "claim_seq": event.claim_seq,
            "reason": event.reason,
            "code": event.code,
            "at_ms": event.at_ms,
        }
        await _one(connection, _RETURNED, place | about, event, "no such claim, or its unit came back before")
        await connection.execute(_DONE, place | {"claim_seq": event.claim_seq})
    else:
        about = {"epoch": event.epoch, "predecessor": event.predecessor}
        if (await connection.execute(_EPOCH, place | about)).scalar_one() != 1:
            raise WrongEntryError("no such epoch was begun", event)


def _as_json(releases: Sequence[Release]) -> list[list[int]]:
    return [[release.opens_at_ms, release.quantity] for release in releases]


async def _one(connection: AsyncConnection, statement: Any, values: dict[str, Any], event: Event, why_not: str) -> None:
    result: CursorResult[Any] = await connection.execute(statement, values)
    if result.rowcount != 1:
        raise WrongEntryError(why_not, event)
