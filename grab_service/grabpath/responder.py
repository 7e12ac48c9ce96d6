"""How is everybody told what the cell decided, or that nothing was?

All grabs of one call share its facts, so what their answers have in common is worked out once for all of them.
"""

import asyncio
import contextlib
from collections.abc import Coroutine, Sequence
from typing import Any, Final

import structlog

from grab_service.cell.replies import GrabReply
from grab_service.grabpath.answers import Answer, WinForm, is_written_as_it_is, of_claim, of_problem, of_refusal
from grab_service.grabpath.batcher import Grab
from grab_service.grabpath.view import CampaignView, StaleViewError, View
from grab_service.metrics import GrabMetrics
from grab_service.vocabulary.campaigns import BenefitKind
from grab_service.vocabulary.claims import ClaimRecord, UnknownRecordError, fields_of_record
from grab_service.vocabulary.outcomes import Outcome, Undecided, slug

_WON: Final = Outcome.WON.value.encode()
_OUTCOMES: Final = {outcome.value.encode(): outcome for outcome in Outcome}

log = structlog.get_logger()


class Teller:
    """Tells the members of one worker; each grab is told of once."""

    def __init__(self, view: View, metrics: GrabMetrics) -> None:
        self._view = view
        self._metrics = metrics
        self._tasks: set[asyncio.Task[None]] = set()

    def problem(self, name: str, language: str, retry_after_s: int | None = None, **extra: object) -> Answer:
        """A refusal of the service itself, counted."""
        self._metrics.answers[name.replace("-", "_")] += 1
        return of_problem(name, language, retry_after_s=retry_after_s, **extra)

    def undecided(self, grab: Grab, why: Undecided) -> None:
        """Tell whoever asked that nothing was decided, or that nobody knows; unless they were told before."""
        if not grab.decided:
            grab.decided = True
            grab.tell(self.problem(slug(why), grab.language))

    def decided(self, campaign_id: str, grabs: Sequence[Grab], reply: GrabReply) -> None:
        """Tell all who asked in one call what the cell decided."""
        campaign = self._view.campaign(campaign_id)
        any_code_fits = campaign is not None and (campaign.benefit_kind is not BenefitKind.CODE_POOL or campaign.on_request)
        form: WinForm | None = None
        won = 0
        for grab, said in zip(grabs, reply.answers, strict=True):
            if grab.decided:  # they were told that nobody knows
                continue
            grab.decided = True
            word, _, rest = said.partition(b"\t")
            if word == _WON:
                won += 1
                seq, epoch, granted_at_ms, _, unit_no, _, code, _, _ = fields_of_record(rest)
                if campaign is not None and (any_code_fits or is_written_as_it_is(code)):
                    if form is None:  # they share epoch and moment
                        form = WinForm(campaign, int(epoch), int(granted_at_ms))
                    grab.tell(form.fill(grab.member_id, seq, unit_no, code))
                else:
                    self._tell_claim(201, campaign, campaign_id, grab, rest)
                continue
            outcome = _OUTCOMES[word]
            self._metrics.answers[outcome.value] += 1
            if outcome is Outcome.HELD:
                self._tell_claim(200, campaign, campaign_id, grab, rest)
            else:
                grab.tell(of_refusal(outcome, rest, reply, grab.language))
        if won:
            self._metrics.answers[Outcome.WON.value] += won

    def _tell_claim(self, status: int, campaign: CampaignView | None, campaign_id: str, grab: Grab, record: bytes) -> None:
        try:
            claim = ClaimRecord.parse(record)
        except UnknownRecordError as error:
            # Nobody else in the batch may suffer for it; the audit raises an alarm.
            log.warning("claim_unreadable", campaign_id=campaign_id, member_id=grab.member_id, why=str(error))
            grab.tell(self.problem("paused-for-recovery", grab.language))
            return
        if campaign is not None:
            grab.tell(of_claim(status, campaign, grab.member_id, claim))
            return
        # Published a moment ago: the view has not come to it yet.
        self.in_background(self._claim_when_known(status, campaign_id, grab, claim))

    def in_background(self, telling: Coroutine[Any, Any, None]) -> None:
        """Have somebody told who cannot be told at once."""
        task = asyncio.get_running_loop().create_task(telling)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _claim_when_known(self, status: int, campaign_id: str, grab: Grab, claim: ClaimRecord) -> None:
        campaign = None
        with contextlib.suppress(StaleViewError):
            campaign = await self._view.find(campaign_id)
        if campaign is None:
            # It is won and logged; only what it looks like cannot be read now. A repeat shows it.
            grab.tell(self.problem("outcome-unknown", grab.language))
        else:
            grab.tell(of_claim(status, campaign, grab.member_id, claim))
