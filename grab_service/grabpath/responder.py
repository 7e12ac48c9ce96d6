"""The answers to the grabs of one worker: the cell's decision, or that there was none.

All grabs of one script call share its facts, so the common part of their answers is worked out once.
"""

import asyncio
import contextlib
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any, Final

import structlog

from grab_service.cell.replies import GrabReply
from grab_service.grabpath.answers import Answer, WinTemplate, is_written_as_it_is, of_claim, of_problem, of_refusal
from grab_service.grabpath.batcher import Grab
from grab_service.grabpath.unrecorded import Tell, Unrecorded
from grab_service.grabpath.view import CampaignView, StaleViewError, View
from grab_service.metrics import GrabMetrics
from grab_service.vocabulary.campaigns import BenefitKind
from grab_service.vocabulary.claims import ClaimRecord, UnknownRecordError, fields_of_record
from grab_service.vocabulary.counts import NO_CAMPAIGN
from grab_service.vocabulary.outcomes import Outcome, Undecided, slug

UNSEEN_MAX_S: Final = 0.25
"""Longest wait of a refusal for the view to read the log up to it."""

_WON: Final = Outcome.WON.value.encode()
_TELLS: Final = {201: Outcome.WON, 200: Outcome.HELD}
"""By the status of an answer that tells of a claim."""

_OUTCOMES: Final = {outcome.value.encode(): outcome for outcome in Outcome}

log = structlog.get_logger()


class Responder:
    """Answers the grabs of one worker, each of them once."""

    def __init__(self, view: View, metrics: GrabMetrics, *, only_recorded: bool = False) -> None:
        """`only_recorded`: a claim is told only once it is on record."""
        self._view = view
        self._metrics = metrics
        self._unrecorded = Unrecorded(view) if only_recorded else None
        self._unseen: list[tuple[int, Tell]] = []
        view.on_poll = self._after_poll
        self._tasks: set[asyncio.Task[None]] = set()

    def problem(
        self,
        name: str,
        language: str,
        counted_for: str = NO_CAMPAIGN,
        *,
        retry_after_s: int | None = None,
        **extra: object,
    ) -> Answer:
        """A refusal of the service itself, counted for a campaign that the view has, or for none."""
        self._metrics.answers[counted_for][name.replace("-", "_")] += 1
        return of_problem(name, language, retry_after_s=retry_after_s, **extra)

    def undecided(self, grab: Grab, why: Undecided) -> None:
        """Answer a grab without a decision, or with an unknown one, unless it was answered before."""
        if not grab.decided:
            grab.decided = True
            grab.respond(self.problem(slug(why), grab.language, grab.campaign_id))

    def decided(self, campaign_id: str, grabs: Sequence[Grab], reply: GrabReply) -> None:
        """Answer all grabs of one script call."""
        campaign = self._view.campaign(campaign_id)
        any_code_fits = campaign is not None and (campaign.benefit_kind is not BenefitKind.CODE_POOL or campaign.on_request)
        template: WinTemplate | None = None
        tally = self._metrics.answers[campaign_id]
        self._view.told.note_reply(campaign_id, grabs, reply)
        won = 0
        for grab, answer in zip(grabs, reply.answers, strict=True):
            if grab.decided:  # answered before, with an unknown outcome
                continue
            grab.decided = True
            word, _, rest = answer.partition(b"\t")
            if word == _WON:
                try:
                    seq, epoch, granted_at_ms, _, unit_no, _, code, _, _ = fields_of_record(rest)
                except UnknownRecordError:
                    self._respond_with_claim(201, campaign, campaign_id, grab, rest)
                    continue
                if campaign is None or not (any_code_fits or is_written_as_it_is(code)):
                    self._tell(
                        grab, reply, seq, epoch, partial(self._respond_with_claim, 201, campaign, campaign_id, grab, rest)
                    )
                    continue
                if template is None:  # they share epoch and moment
                    template = WinTemplate(campaign, int(epoch), int(granted_at_ms), self._view.chain.as_of)
                filled = template.fill(grab.member_id, seq, unit_no, code)
                if self._unrecorded is None:
                    won += 1
                    grab.respond(filled)
                else:
                    self._tell(grab, reply, seq, epoch, partial(self._respond_with, filled, Outcome.WON, campaign_id, grab))
                continue
            outcome = _OUTCOMES[word]
            if outcome is Outcome.HELD:
                tell = partial(self._respond_with_claim, 200, campaign, campaign_id, grab, rest)
                try:
                    seq, epoch, *_ = fields_of_record(rest)
                except UnknownRecordError:
                    tell()
                else:
                    self._tell(grab, reply, seq, epoch, tell)
            elif outcome is Outcome.SOLD_OUT:
                self._when_seen(reply.seq, partial(self._refuse, grab, outcome, rest, reply))
            else:
                self._refuse(grab, outcome, rest, reply)
        if won:
            tally[Outcome.WON.value] += won

    def _refuse(self, grab: Grab, outcome: Outcome, rest: bytes, reply: GrabReply) -> None:
        answer = of_refusal(outcome, rest, reply, self._view.chain.at(reply.seq), grab.language)
        self._respond_with(answer, outcome, grab.campaign_id, grab)

    def _when_seen(self, seq: int, tell: Tell) -> None:
        """Tell once the view has read the log up to there, because the answer proves itself by the chain; or soon without."""
        if self._view.seq >= seq:
            tell()
            return
        if not self._unseen:
            self._view.wake()
            asyncio.get_running_loop().call_later(UNSEEN_MAX_S, self._tell_unseen, True)
        self._unseen.append((seq, tell))

    def _after_poll(self) -> None:
        if self._unrecorded is not None:
            self._unrecorded.release()
        if self._unseen:
            self._tell_unseen()

    def _tell_unseen(self, at_any_rate: bool = False) -> None:
        unseen, self._unseen = self._unseen, []
        for seq, tell in unseen:
            if at_any_rate or self._view.seq >= seq:
                tell()
            else:
                self._unseen.append((seq, tell))

    def _tell(self, grab: Grab, reply: GrabReply, seq: bytes, epoch: bytes, tell: Tell) -> None:
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
            problem = "outcome-unknown" if status == 201 else "paused-for-recovery"
            grab.respond(self.problem(problem, grab.language, campaign_id))
            return
        if campaign is not None:
            answer = of_claim(status, campaign, grab.member_id, claim, self._view.chain.as_of)
            self._respond_with(answer, _TELLS[status], campaign_id, grab)
            return
        # Published a moment ago: the view does not contain the campaign yet.
        self.in_background(self._claim_when_known(status, campaign_id, grab, claim))

    def _respond_with(self, answer: Answer, outcome: Outcome, campaign_id: str, grab: Grab) -> None:
        """Answer, and count what was answered: of a claim that waits for its record only now, for it may come to nothing."""
        self._metrics.answers[campaign_id][outcome.value] += 1
        grab.respond(answer)

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
            grab.respond(self.problem("outcome-unknown", grab.language, campaign_id))
        else:
            answer = of_claim(status, campaign, grab.member_id, claim, self._view.chain.as_of)
            self._respond_with(answer, _TELLS[status], campaign_id, grab)
