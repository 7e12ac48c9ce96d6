"""How is a grab answered? From what the caller sent to the bytes they get, in the contract's order of precedence.

malformed, pass, rate; then the gate, if it is certain; else Lua by way of the batcher. Knows nothing of ASGI or sockets.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from grab_service.cell.store import CellError
from grab_service.grabpath.answers import Answer, of_claim, of_problem, of_refusal, of_verdict
from grab_service.grabpath.batcher import Batcher, Decision
from grab_service.grabpath.gate import Gate
from grab_service.grabpath.rates import RateLimit
from grab_service.grabpath.view import CampaignView, View
from grab_service.metrics import GrabMetrics
from grab_service.vocabulary.claims import ClaimRecord, ClaimState, VoucherState
from grab_service.vocabulary.identifiers import is_campaign_id, is_idempotency_key
from grab_service.vocabulary.outcomes import Outcome, Undecided, slug
from grab_service.vocabulary.passes import PassKeys, PassRefusal, verify

KNOW_TIMEOUT_S: Final = 1.0
"""For reading what a campaign looks like that was won a moment after it was published."""


@dataclass(frozen=True, slots=True)
class GrabRequest:
    """What the caller sent, bounded by whoever read it. `token` is None without an `Authorization: Bearer`."""

    campaign_id: str
    token: bytes | None
    idempotency_key: bytes
    language: str


class GrabPath:
    """All grabs of one worker."""

    def __init__(
        self,
        *,
        view: View,
        gate: Gate,
        batcher: Batcher,
        rate: RateLimit,
        keys: PassKeys,
        metrics: GrabMetrics,
        clock: Callable[[], float],
    ) -> None:
        self._view = view
        self._gate = gate
        self._batcher = batcher
        self._rate = rate
        self._keys = keys
        self._metrics = metrics
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, request: GrabRequest, tell: Callable[[Answer], None]) -> Answer | None:
        """The answer where no cell needs to be asked; else None, and `tell` is called with it within the deadline."""
        language = request.language
        campaign_id = request.campaign_id
        key = request.idempotency_key.decode("latin-1")
        if key and not is_idempotency_key(key):
            return self._problem("malformed", language, reason="Idempotency-Key")
        campaign = self._view.campaign(campaign_id)
        if campaign is not None and campaign.limit_per_member > 1 and not key:
            return self._problem("idempotency-key-missing", language)
        if request.token is None:
            return self._problem("pass-invalid", language)
        member_id = verify(self._keys, request.token, self._view.now_ms() / 1000)
        if isinstance(member_id, PassRefusal):
            return self._problem(member_id.value, language)
        retry_after_s = self._rate.retry_after_s(member_id, self._clock())
        if retry_after_s:
            return self._problem("rate-limited", language, retry_after_s=retry_after_s)
        verdict = self._gate.refuse(campaign_id, member_id)
        if verdict is not None:
            assert verdict.outcome is not None
            self._metrics.by_gate[verdict.outcome.value] += 1
            return of_verdict(verdict, self._view.now_ms(), language)
        if not is_campaign_id(campaign_id):
            return self._problem("campaign-not-found", language)
        self._batcher.submit(
            campaign_id, member_id, key, lambda decision: self._decided(decision, campaign_id, member_id, language, tell)
        )
        return None

    async def answer(self, request: GrabRequest) -> Answer:
        """The answer, for a caller who can wait for it."""
        told: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def tell(answer: Answer) -> None:
            if not told.done():  # whoever asked may have gone
                told.set_result(answer)

        return self.begin(request, tell) or await told

    def _decided(
        self,
        decision: Decision | Undecided,
        campaign_id: str,
        member_id: str,
        language: str,
        tell: Callable[[Answer], None],
    ) -> None:
        if isinstance(decision, Undecided):
            tell(self._problem(slug(decision), language))
            return
        word, _, rest = decision.answer.partition(b"\t")
        outcome = Outcome(word.decode())
        self._metrics.answers[outcome.value] += 1
        if outcome is Outcome.WON:
            status, state, record = 201, ClaimState.FULFILLED, rest
        elif outcome is Outcome.HELD:
            word, _, record = rest.partition(b"\t")
            status, state = 200, ClaimState(word.decode())
        else:
            tell(of_refusal(outcome, rest, decision.reply, language))
            return
        campaign = self._view.campaign(campaign_id)
        if campaign is not None:
            tell(self._claim(status, campaign, member_id, record, state))
            return
        # Published a moment ago: the view has not come to it yet.
        task = asyncio.get_running_loop().create_task(
            self._claim_when_known(status, campaign_id, member_id, record, state, language, tell)
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _claim_when_known(
        self,
        status: int,
        campaign_id: str,
        member_id: str,
        record: bytes,
        state: ClaimState,
        language: str,
        tell: Callable[[Answer], None],
    ) -> None:
        campaign = None
        with contextlib.suppress(CellError, TimeoutError):
            async with asyncio.timeout(KNOW_TIMEOUT_S):
                campaign = await self._view.know(campaign_id)
        if campaign is None:
            # It is won and logged; only what it looks like cannot be read now. A repeat shows it.
            tell(self._problem("outcome-unknown", language))
        else:
            tell(self._claim(status, campaign, member_id, record, state))

    def _claim(self, status: int, campaign: CampaignView, member_id: str, record: bytes, state: ClaimState) -> Answer:
        voucher_state = VoucherState.ACTIVE if state is ClaimState.FULFILLED else VoucherState.RETURNED
        return of_claim(status, campaign, member_id, ClaimRecord.parse(record), state, voucher_state)

    def _problem(self, name: str, language: str, retry_after_s: int | None = None, **extra: object) -> Answer:
        self._metrics.answers[name.replace("-", "_")] += 1
        return of_problem(name, language, retry_after_s=retry_after_s, **extra)
