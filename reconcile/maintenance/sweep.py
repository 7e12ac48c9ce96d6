"""The sweep sends unfinished work to the cell again, until the log shows that it is done.

The work is units that Postgres has freed, and campaigns, codes and members that were written to Postgres and not published
before their process died. Every one of these calls may be repeated.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Final

import structlog
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from grab_service.cell.store import Cell, CellError
from grab_service.publishing.publish import publish_campaign, publish_codes, publish_members
from grab_service.sql.tables import campaigns, commands, members, pool_codes
from grab_service.vocabulary.campaigns import BenefitKind, CampaignState
from grab_service.vocabulary.outcomes import ReturnOutcome
from reconcile.alarms import AlarmKind, clear_alarms, raise_alarm
from reconcile.counters import Counters
from reconcile.leader import Leader

COMMANDS_MAX: Final = 500
"""Commands of the outbox looked at in one round."""
BACKOFF_FIRST_S: Final = 0.5
BACKOFF_MAX_S: Final = 30.0
CAMPAIGNS_MAX: Final = 1000
GRACE_S: Final = 2.0
"""Grace period before the sweep finishes somebody else's publication."""

_WAITING: Final = (
    select(campaigns.c.campaign_id)
    .where(campaigns.c.state == CampaignState.SCHEDULED.value, campaigns.c.published_seq.is_(None))
    .limit(CAMPAIGNS_MAX)
)
_POOLS: Final = (
    select(
        campaigns.c.campaign_id,
        select(func.coalesce(func.max(pool_codes.c.position), 0))
        .where(pool_codes.c.campaign_id == campaigns.c.campaign_id)
        .scalar_subquery()
        .label("imported"),
    )
    .where(
        campaigns.c.published_seq.is_not(None),
        campaigns.c.state.in_([CampaignState.SCHEDULED.value, CampaignState.PAUSED.value]),
        campaigns.c.definition["benefit"]["kind"].astext == BenefitKind.CODE_POOL.value,
    )
    .limit(CAMPAIGNS_MAX)
)
_REFUSALS: Final = frozenset({ReturnOutcome.UNKNOWN_CLAIM, ReturnOutcome.CAMPAIGN_NOT_FOUND})
"""Answers that a return should never get."""

# A unit may have come back before its command was written: then no entry of the log will ever show it.
_MEND_DONE: Final = text(
    "UPDATE commands SET done_seq = claims.returned_seq FROM claims "
    "WHERE claims.seq = commands.claim_seq AND commands.done_seq IS NULL AND claims.returned_seq IS NOT NULL"
)

log = structlog.get_logger()


@dataclass(slots=True)
class _Backoff:
    not_before_s: float
    wait_s: float = BACKOFF_FIRST_S


@dataclass(slots=True)
class Sweep:
    """Sweeps one cell; `run` it while leading. `round` may be called by itself."""

    engine: AsyncEngine
    cell: Cell
    leader: Leader
    counters: Counters
    interval_s: float
    grace_s: float = GRACE_S
    _seen: dict[str, tuple[float, int]] = field(default_factory=dict)
    _backoffs: dict[int, _Backoff] = field(default_factory=dict)
    _trouble: str | None = None
    _refused: dict[AlarmKind, dict[str, object]] = field(default_factory=dict)

    async def run(self) -> None:
        """Sweep until cancelled; a cell that is closed, or a Postgres that is away, is waited out."""
        while True:
            await self.leader.wait()
            try:
                await self.round()
            except (CellError, SQLAlchemyError, OSError, TimeoutError) as error:
                trouble = type(error).__name__
                if trouble != self._trouble:
                    log.warning("sweep_waits", why=str(error)[:300])
                self._trouble = trouble
            else:
                self._trouble = None
            await asyncio.sleep(self.interval_s)

    async def round(self) -> None:
        """Send once what is pending.

        Raises:
            CellError, SQLAlchemyError, OSError: the rest is sent in the next round.
        """
        await self._publish()
        await self._return_units()

    async def _publish(self) -> None:
        """Members before campaigns, so that a campaign never opens to members who are not there yet."""
        members_version = (await self.cell.snapshot(())).members_version
        async with self.engine.connect() as connection:
            newest = (await connection.execute(select(func.max(members.c.version)))).scalar() or 0
            waiting = (await connection.execute(_WAITING)).scalars().all()
            pools = {row.campaign_id: row.imported for row in await connection.execute(_POOLS)}
        codes_loaded = (await self.cell.read_campaigns(list(pools))).campaigns if pools else {}
        stale = self._unchanged_for_a_while(
            {
                **({"members": members_version} if newest > members_version else {}),
                **{f"campaign {campaign_id}": 0 for campaign_id in waiting},
                **{f"codes {name}": one.codes_loaded for name, one in codes_loaded.items() if one.codes_loaded < pools[name]},
            }
        )
        if "members" in stale:
            members_done = await publish_members(self.engine, self.cell)
            log.info("members_published", members_version=members_done.members_version, changed=members_done.changed)
        refused: dict[str, object] = {}
        for campaign_id in waiting:
            if f"campaign {campaign_id}" in stale:
                published = await publish_campaign(self.engine, self.cell, campaign_id)
                log.info("campaign_published", campaign_id=campaign_id, outcome=published.outcome)
                if published.outcome not in {"published", "already", "not_scheduled"}:
                    refused[campaign_id] = published.outcome
        await self._set_alarm(AlarmKind.PUBLISH_REFUSED, refused)
        for campaign_id in codes_loaded:
            if f"codes {campaign_id}" in stale:
                codes_done = await publish_codes(self.engine, self.cell, campaign_id)
                log.info("codes_published", campaign_id=campaign_id, codes_loaded=codes_done.codes_loaded)

    def _unchanged_for_a_while(self, lacks: dict[str, int]) -> set[str]:
        """The lacks without any progress for `grace_s`: their writer is dead."""
        now_s = asyncio.get_running_loop().time()
        before, self._seen = self._seen, {}
        for name, progress in lacks.items():
            since_s, progress_before = before.get(name, (now_s, progress))
            self._seen[name] = (since_s if progress == progress_before else now_s, progress)
        return {name for name, (since_s, _) in self._seen.items() if now_s - since_s >= self.grace_s}

    async def _return_units(self) -> None:
        now_s = asyncio.get_running_loop().time()
        async with self.engine.begin() as connection:
            await connection.execute(_MEND_DONE)
            pending = (
                await connection.execute(
                    select(commands).where(commands.c.done_seq.is_(None)).order_by(commands.c.command_id).limit(COMMANDS_MAX)
                )
            ).all()
        self.counters.pending_commands = len(pending)
        known = {command.command_id for command in pending}
        self._backoffs = {key: backoff for key, backoff in self._backoffs.items() if key in known}
        outcomes: dict[int, str] = {}
        refused: dict[str, object] = {}
        try:
            for command in pending:
                backoff = self._backoffs.setdefault(command.command_id, _Backoff(now_s))
                if backoff.not_before_s > now_s:
                    if command.last_outcome in _REFUSALS:
                        refused[str(command.claim_seq)] = command.last_outcome
                    continue
                outcome, _ = await self.cell.return_unit(
                    command.campaign_id, command.member_id, command.claim_seq, command.reason
                )
                backoff.not_before_s = now_s + backoff.wait_s
                backoff.wait_s = min(2 * backoff.wait_s, BACKOFF_MAX_S)
                if outcome != command.last_outcome:
                    outcomes[command.command_id] = outcome
                if outcome in _REFUSALS:
                    refused[str(command.claim_seq)] = outcome
        finally:
            await self._write_outcomes(outcomes)
        await self._set_alarm(AlarmKind.RETURN_REFUSED, refused)

    async def _write_outcomes(self, outcomes: dict[int, str]) -> None:
        if not outcomes:
            return
        async with self.engine.begin() as connection:
            for command_id, outcome in outcomes.items():
                await connection.execute(
                    update(commands).where(commands.c.command_id == command_id).values(last_outcome=outcome)
                )

    async def _set_alarm(self, kind: AlarmKind, refused: dict[str, object]) -> None:
        """Open, renew or close an alarm, if it changed."""
        if refused == self._refused.get(kind):
            return
        if refused:
            self.counters.alarms += 1
            await raise_alarm(self.engine, kind, {"refused": refused})
        else:
            await clear_alarms(self.engine, (kind,))
        self._refused[kind] = refused
