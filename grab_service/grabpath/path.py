"""The path of a grab from the request's fields to the answer's bytes, in the contract's order of precedence.

Malformed requests, passes, rates, and the campaign are checked first; then the gate refuses if it is certain; else the batcher
asks the cell's script. This module knows nothing of ASGI or sockets.
"""

import asyncio
from collections.abc import Callable

from grab_service.grabpath.admission import OPS, STRANGER
from grab_service.grabpath.answers import Answer, of_phase
from grab_service.grabpath.batcher import Batcher, Grab
from grab_service.grabpath.gate import Gate, Refusal
from grab_service.grabpath.rates import RateLimit
from grab_service.grabpath.responder import Responder
from grab_service.grabpath.view import StaleViewError, View
from grab_service.metrics import GrabMetrics
from grab_service.vocabulary.counts import NO_CAMPAIGN
from grab_service.vocabulary.identifiers import is_campaign_id, is_idempotency_key
from grab_service.vocabulary.outcomes import Outcome
from grab_service.vocabulary.passes import PassKeys, PassRefusal, verify, verify_ops


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
        responder: Responder,
        metrics: GrabMetrics,
        clock: Callable[[], float],
    ) -> None:
        self._view = view
        self._gate = gate
        self._batcher = batcher
        self._rate = rate
        self._keys = keys
        self._responder = responder
        self._metrics = metrics
        self._clock = clock

    def knows(self, campaign_id: str) -> bool:
        """Whether this worker has seen the campaign."""
        return self._view.campaign(campaign_id) is not None

    def begin(
        self,
        campaign_id: str,
        token: bytes | None,
        idempotency_key: bytes,
        language: str,
        respond: Callable[[Answer], None],
        now_s: float,
    ) -> Answer | None:
        """The answer where no cell needs to be asked; else None, and `respond` is called with the answer within the deadline.

        The sizes of the arguments were bounded by the parser; `token` is None without an `Authorization: Bearer`. `now_s` is
        the clock's time, read once for a whole grab.
        """
        key = ""
        if idempotency_key:
            key = idempotency_key.decode("latin-1")
            if not is_idempotency_key(key):
                return self._responder.problem("malformed", language, reason="Idempotency-Key")
        campaign = self._view.campaign(campaign_id)
        counted_for = NO_CAMPAIGN if campaign is None else campaign_id
        if campaign is not None and campaign.limit_per_member > 1 and not key:
            return self._responder.problem("idempotency-key-missing", language, counted_for)
        if token is None:
            return self._responder.problem("pass-invalid", language, counted_for)
        now_ms = self._view.now_ms(now_s)
        member_id = verify(self._keys, token, now_ms / 1000)
        if isinstance(member_id, PassRefusal):
            return self._responder.problem(member_id.value, language, counted_for)
        retry_after_s = self._rate.retry_after_s(member_id, now_s)
        if retry_after_s:
            return self._responder.problem("rate-limited", language, counted_for, retry_after_s=retry_after_s)
        if campaign is None:
            if not is_campaign_id(campaign_id) or self._view.is_fresh:
                return self._responder.problem("campaign-not-found", language)
            self._responder.in_background(self._grab_when_known(Grab(campaign_id, member_id, key, language, respond)))
            return None
        refusal = self._gate.refuse(campaign, member_id, now_s)
        if refusal is not None:
            outcome = refusal.outcome
            assert outcome is not None
            self._metrics.by_gate[campaign_id][outcome] += 1
            at_ms = now_ms if outcome is Outcome.NOT_OPEN_YET else 0
            return refusal.answers.get((at_ms, language)) or self._render(refusal, at_ms, language)
        self._batcher.submit(Grab(campaign_id, member_id, key, language, respond), now_s)
        return None

    async def answer(self, campaign_id: str, token: bytes | None, idempotency_key: bytes, language: str) -> Answer:
        """The answer, for a caller who can wait for it."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def respond(answer: Answer) -> None:
            if not future.done():  # the caller may have gone
                future.set_result(answer)

        return self.begin(campaign_id, token, idempotency_key, language, respond, self._clock()) or await future

    async def _grab_when_known(self, grab: Grab) -> None:
        """Submit a grab of a campaign that the view lacks, once the view is fresh and shows whether the campaign exists."""
        problem, counted_for = None, NO_CAMPAIGN
        try:
            campaign = await self._view.find(grab.campaign_id)
        except StaleViewError:
            problem = "paused-for-recovery"
        else:
            if campaign is None:
                problem = "campaign-not-found"
            elif campaign.limit_per_member > 1 and not grab.idempotency_key:
                problem, counted_for = "idempotency-key-missing", grab.campaign_id
        if problem is None:
            self._batcher.submit(grab, self._clock())
        else:
            grab.respond(self._responder.problem(problem, grab.language, counted_for))

    def caller_of(self, token: bytes | None, now_s: float) -> str:
        """The caller, in terms of admission, of an ordinary call with this token."""
        if token is None:
            return STRANGER
        at_s = self._view.now_ms(now_s) / 1000
        member_id = verify(self._keys, token, at_s)
        if not isinstance(member_id, PassRefusal):
            return f"member {member_id}"
        ops = verify_ops(self._keys, token, at_s)
        return STRANGER if isinstance(ops, PassRefusal) else f"{OPS}{ops.identity.actor}"

    def is_of_ops(self, token: bytes | None, now_s: float) -> bool:
        """Whether this is a valid ops token."""
        return self.caller_of(token, now_s).startswith(OPS)

    def _render(self, refusal: Refusal, at_ms: int, language: str) -> Answer:
        """The answer for a refusal of the gate, rendered once for all callers who get the same."""
        assert refusal.outcome is not None
        if at_ms:
            refusal.answers.clear()  # the millisecond is over
        answer = of_phase(refusal.outcome, refusal.opens_at_ms, refusal.next_release_at_ms, at_ms, refusal.as_of, language)
        refusal.answers[at_ms, language] = answer
        return answer
