"""Lifecycle of a campaign: arm, pause, resume, close, cancel, and change of stock.

Postgres decides about drafts, Lua about published campaigns. A change by Lua is answered only when the ledger has it too, so
that no later loss of Redis can undo a change that ops were told of.
"""

import asyncio
import time
from enum import StrEnum
from typing import Final

import structlog
from sqlalchemy import select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from grab_service.campaigns.preflight import Level, preflight
from grab_service.campaigns.service import Campaign, read_campaign, schedule_draft
from grab_service.cell.store import Cell
from grab_service.ops_log.log import logged
from grab_service.publishing.publish import publish_campaign
from grab_service.refusal import RefusalError
from grab_service.sql.tables import campaigns, log_cursor
from grab_service.vocabulary.campaigns import CampaignState
from grab_service.vocabulary.outcomes import StateOutcome, StockOutcome
from grab_service.vocabulary.passes import OpsIdentity

RECORDED_WAIT_S: Final = 5.0
RECORDED_POLL_S: Final = 0.02
SETTLE_S: Final = 0.05
"""No worker refuses by a view older than this, so after it nobody is refused by what was true before a change."""

log = structlog.get_logger()


class Action(StrEnum):
    """Changes of a published campaign's state, in the words of `lua/commands/set_state.lua`."""

    PAUSE = "pause"
    RESUME = "resume"
    CLOSE = "close"
    CANCEL = "cancel"


async def schedule(engine: AsyncEngine, cell: Cell, identity: OpsIdentity, campaign_id: str, *, reason: str | None) -> Campaign:
    """Arm a draft: from the answer on, members can ask for it.

    A campaign that was scheduled but did not get into the cell for want of it may be scheduled again.

    Raises:
        RefusalError: campaign-not-found, wrong-state, preflight-failed (`findings`), precondition-failed, ledger-behind.
        CellError: the cell cannot be asked; if Postgres has it as scheduled already, it is published as soon as it can.
    """
    async with logged(engine, identity, "campaign.schedule", campaign_id, reason=reason) as entry:
        campaign = await read_campaign(engine, campaign_id)
        waiting = campaign.state is CampaignState.SCHEDULED and campaign.published_seq is None
        if campaign.state is not CampaignState.DRAFT and not waiting:
            raise RefusalError("wrong-state", state=campaign.state.value)
        findings = await preflight(engine, cell, campaign)
        entry.detail["findings"] = [finding.code for finding in findings]
        if any(finding.level is Level.ERROR for finding in findings):
            raise RefusalError("preflight-failed", findings=findings)
        if not waiting:
            await schedule_draft(engine, campaign)
        await _published(engine, cell, campaign_id)
        return await read_campaign(engine, campaign_id)


async def set_state(
    engine: AsyncEngine, cell: Cell, identity: OpsIdentity, campaign_id: str, action: Action, *, reason: str | None
) -> Campaign:
    """Pause, resume, close or cancel; being so already is no error.

    Raises:
        RefusalError: campaign-not-found, wrong-state, ledger-behind.
        CellError: the cell cannot be asked; with CellSilentError it may have been done, and repeating tells.
    """
    async with logged(engine, identity, f"campaign.{action}", campaign_id, reason=reason):
        campaign = await read_campaign(engine, campaign_id)
        if action is Action.CANCEL:
            cancelled = await _cancelled_as_draft(engine, campaign)
            campaign = await read_campaign(engine, campaign_id)  # a draft when it was read may be scheduled by now
            if cancelled:
                return campaign
        if campaign.state is CampaignState.DRAFT:
            raise RefusalError("wrong-state", state=campaign.state.value)
        await in_the_cell(engine, cell, campaign)
        outcome, seq, state = await cell.set_state(campaign_id, action.value)
        if outcome in {StateOutcome.WRONG_STATE, StateOutcome.CAMPAIGN_NOT_FOUND}:
            raise RefusalError("wrong-state", state=state or campaign.state.value)
        await recorded(engine, cell.name, seq)
        return await read_campaign(engine, campaign_id)


async def set_stock(
    engine: AsyncEngine,
    cell: Cell,
    identity: OpsIdentity,
    campaign_id: str,
    *,
    expected_total: int,
    total: int,
    reason: str,
) -> Campaign:
    """Change the total of a published campaign's stock, if it still is `expected_total`.

    Raises:
        RefusalError: campaign-not-found, wrong-state, stock-changed (`total`, `issued`), below-issued (the same),
            too-few-codes, ledger-behind.
        CellError: the cell cannot be asked; with CellSilentError it may have been done, and reading the campaign tells.
    """
    detail = {"expected_total": expected_total, "total": total}
    async with logged(engine, identity, "campaign.stock", campaign_id, reason=reason, detail=detail):
        campaign = await read_campaign(engine, campaign_id)
        if campaign.state not in {CampaignState.SCHEDULED, CampaignState.PAUSED}:
            raise RefusalError("wrong-state", state=campaign.state.value)
        await in_the_cell(engine, cell, campaign)
        reply = await cell.set_stock(campaign_id, expected_total, total)
        match reply.outcome:
            case StockOutcome.STOCK_SET | StockOutcome.ALREADY:
                pass
            case StockOutcome.STOCK_CHANGED | StockOutcome.BELOW_ISSUED:
                raise RefusalError(reply.outcome.replace("_", "-"), total=reply.total, issued=reply.lowest)
            case StockOutcome.TOO_FEW_CODES:
                raise RefusalError("too-few-codes", total=reply.total)
            case StockOutcome.WRONG_STATE | StockOutcome.CAMPAIGN_NOT_FOUND:
                raise RefusalError("wrong-state", state=campaign.state.value)
        await recorded(engine, cell.name, reply.seq)
        return await read_campaign(engine, campaign_id)


async def recorded(engine: AsyncEngine, cell_name: str, seq: int) -> None:
    """Wait until the ledger has drained the log up to seq, and every worker has seen it.

    Raises:
        RefusalError: ledger-behind: it took effect, but is not on record yet.
    """
    last_seq = select(log_cursor.c.last_seq).where(log_cursor.c.cell == cell_name)
    loop = asyncio.get_running_loop()
    began_at_s = loop.time()
    try:
        async with engine.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            while ((await connection.execute(last_seq)).scalar_one_or_none() or 0) < seq:
                if loop.time() - began_at_s > RECORDED_WAIT_S:
                    log.warning("ops_change_not_recorded", seq=seq)
                    raise RefusalError("ledger-behind", took_effect=True, seq=seq)
                await asyncio.sleep(RECORDED_POLL_S)
    except (SQLAlchemyError, OSError) as error:
        raise RefusalError("ledger-behind", took_effect=True, seq=seq) from error
    await asyncio.sleep(max(0.0, began_at_s + SETTLE_S - loop.time()))


async def _published(engine: AsyncEngine, cell: Cell, campaign_id: str) -> None:
    publication = await publish_campaign(engine, cell, campaign_id)
    if publication.outcome.startswith("too_few_codes"):
        _, loaded, total = publication.outcome.split("\t")
        raise RefusalError("too-few-codes", needed=int(total), available=int(loaded))
    assert publication.outcome in {"published", "already"}, f"publish_campaign answered {publication.outcome}"
    await recorded(engine, cell.name, publication.seq)


async def in_the_cell(engine: AsyncEngine, cell: Cell, campaign: Campaign) -> None:
    """A campaign that was scheduled while the cell was closed may not be there yet."""
    if campaign.published_seq is None and campaign.state is CampaignState.SCHEDULED:
        await _published(engine, cell, campaign.campaign_id)


async def _cancelled_as_draft(engine: AsyncEngine, campaign: Campaign) -> bool:
    if campaign.state is CampaignState.CANCELLED and campaign.published_seq is None:
        return True
    async with engine.begin() as connection:
        cancelled = await connection.execute(
            update(campaigns)
            .where(campaigns.c.campaign_id == campaign.campaign_id)
            .where(campaigns.c.state == CampaignState.DRAFT.value)
            .values(state=CampaignState.CANCELLED.value, closed_at_ms=time.time_ns() // 1_000_000)
        )
    return cancelled.rowcount == 1
