"""The answers to the grabs of one worker: the cell's decision, or that there was none.

All grabs of one script call share its facts, so the common part of their answers is worked out once.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final

import structlog

from grab_service.cell.replies import GrabReply
from grab_service.grabpath.answers import Answer, WinTemplate, is_written_as_it_is, of_claim, of_problem, of_refusal
from grab_service.grabpath.batcher import Grab
from grab_service.grabpath.told import ToldClaim
from grab_service.grabpath.unrecorded import Unrecorded
from grab_service.grabpath.view import CampaignView, StaleViewError, View
from grab_service.metrics import GrabMetrics
from grab_service.vocabulary.campaigns import BenefitKind
from grab_service.vocabulary.claims import ClaimRecord, UnknownRecordError, fields_of_record
from grab_service.vocabulary.outcomes import Outcome, Undecided, slug

_WON: Final = Outcome.WON.value.encode()
_OUTCOMES: Final = {outcome.value.encode(): outcome for outcome in Outcome}

log = structlog.get_logger()


class Responder:
    """Answers the grabs of one worker, each of them once."""

    def __init__(self, view: View, metrics: GrabMetrics, *, only_recorded: bool = False) -> None:
        """`only_recorded`: a claim is told only once it is on record."""
        self._view = view
        self._metrics = metrics
        self._unrecorded = Unrecorded(view) if only_recorded else None
        self._tasks: set[asyncio.Task[None]] = set()

    def problem(self, name: str, language: str, retry_after_s: int | None = None, **extra: object) -> Answer:
        """A refusal of the service itself, counted."""
        self._metrics.answers[name.replace("-", "_")] += 1
        return of_problem(name, language, retry_after_s=retry_after_s, **extra)

    def undecided(self, grab: Grab, why: Undecided) -> None:
        """Answer a grab without a decision, or with an unknown one, unless it was answered before."""
        if not grab.decided:
            grab.decided = True
            grab.respond(self.problem(slug(why), grab.language))

    def decided(self, campaign_id: str, grabs: Sequence[Grab], reply: GrabReply) -> None:
        """Answer all grabs of one script call."""
        campaign = self._view.campaign(campaign_id)
        any_code_fits = campaign is not None and (campaign.benefit_kind is not BenefitKind.CODE_POOL or campaign.on_request)
        template: WinTemplate | None = None
        won = 0
        for grab, answer in zip(grabs, reply.answers, strict=True):
            if grab.decided:  # answered before, with an unknown outcome
                continue
            grab.decided = True
            word, _, rest = answer.partition(b"\t")
            if word == _WON:
                won += 1
                try:
                    seq, epoch, granted_at_ms, _, unit_no, _, code, _, _ = fields_of_record(rest)
                except UnknownRecordError:
                    self._respond_with_claim(201, campaign, campaign_id, grab, rest)
                    continue
                self._view.told.note(int(epoch), ToldClaim(int(seq), campaign_id, grab.member_id))
                if campaign is None or not (any_code_fits or is_written_as_it_is(code)):
                    self._tell(
                        grab, reply, seq, epoch, partial(self._respond_with_claim, 201, campaign, campaign_id, grab, rest)
                    )
                    continue
                if template is None:  # they share epoch and moment
                    template = WinTemplate(campaign, int(epoch), int(granted_at_ms))
                filled = template.fill(grab.member_id, seq, unit_no, code)
                if self._unrecorded is None:
                    grab.respond(filled)
                else:
                    self._tell(grab, reply, seq, epoch, partial(grab.respond, filled))
                continue
            outcome = _OUTCOMES[word]
            self._metrics.answers[outcome.value] += 1
            if outcome is Outcome.HELD:
                tell = partial(self._respond_with_claim, 200, campaign, campaign_id, grab, rest)
                try:
                    seq, epoch, *_ = fields_of_record(rest)
                except UnknownRecordError:
                    tell()
                else:
                    self._tell(grab, reply, seq, epoch, tell)
            else:
                grab.respond(of_refusal(outcome, rest, reply, grab.language))
        if won:
            self._metrics.answers[Outcome.WON.value] += won

    def _tell(self, grab: Grab, reply: GrabReply, seq: bytes, epoch: bytes, tell: Callable[[], None]) -> None:
        """Tell of the claim at that place in the log: now, or once it is on record."""
        # A life of the cell begins with what is on record of those before it.
        if self._unrecorded is None or int(epoch) < reply.epoch or self._view.recorded.has(int(epoch), int(seq)):
            tell()
        else:
            self._unrecorded.keep(int(epoch), int(seq), grab, tell)

    def _respond_with_claim(
        self, status: int, campaign: CampaignView | None, campaign_id: str, grab: Grab, record: bytes
    ) -> None:
        try:
            claim = ClaimRecord.parse(record)
        except UnknownRecordError as error:
            # Nobody else in the batch may suffer for it; the audit raises an alarm.
            log.warning("claim_unreadable", campaign_id=campaign_id, member_id=grab.member_id, why=str(error))
            # A new claim is decided; a held one is shown once the cell is rebuilt.
            grab.respond(self.problem("outcome-unknown" if status == 201 else "paused-for-recovery", grab.language))
            return
        if campaign is not None:
            grab.respond(of_claim(status, campaign, grab.member_id, claim))
            return
        # Published a moment ago: the view does not contain the campaign yet.
        self.in_background(self._claim_when_known(status, campaign_id, grab, claim))

    def in_background(self, work: Coroutine[Any, Any, None]) -> None:
        """Run the answering of a grab that cannot be answered at once."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _claim_when_known(self, status: int, campaign_id: str, grab: Grab, claim: ClaimRecord) -> None:
        campaign = None
        with contextlib.suppress(StaleViewError):
            campaign = await self._view.find(campaign_id)
        if campaign is None:
            # The claim is decided and logged; only the campaign cannot be read now. A repeated grab shows the claim.
            grab.respond(self.problem("outcome-unknown", grab.language))
        else:
            grab.respond(of_claim(status, campaign, grab.member_id, claim))
