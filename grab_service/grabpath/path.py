"""How is a grab answered? From what the caller sent to the bytes they get, in the contract's order of precedence.

malformed, pass, rate, campaign; then the gate, if it is certain; else Lua by way of the batcher. Knows nothing of ASGI or
sockets.
"""

import asyncio
from collections.abc import Callable

from grab_service.grabpath.admission import OPS, STRANGER
from grab_service.grabpath.answers import Answer, of_phase
from grab_service.grabpath.batcher import Batcher, Grab
from grab_service.grabpath.gate import Gate, Verdict
from grab_service.grabpath.rates import RateLimit
from grab_service.grabpath.responder import Teller
from grab_service.grabpath.view import StaleViewError, View
from grab_service.metrics import GrabMetrics
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
        teller: Teller,
        metrics: GrabMetrics,
        clock: Callable[[], float],
    ) -> None:
        self._view = view
        self._gate = gate
        self._batcher = batcher
        self._rate = rate
        self._keys = keys
        self._teller = teller
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
        tell: Callable[[Answer], None],
        now_s: float,
    ) -> Answer | None:
        """The answer where no cell needs to be asked; else None, and `tell` is called with it within the deadline.

        What the caller sent was bounded by whoever read it; `token` is None without an `Authorization: Bearer`. `now_s` is what
        the clock shows: one look at it does for a whole grab.
        """
        key = ""
        if idempotency_key:
            key = idempotency_key.decode("latin-1")
            if not is_idempotency_key(key):
                return self._teller.problem("malformed", language, reason="Idempotency-Key")
        campaign = self._view.campaign(campaign_id)
        if campaign is not None and campaign.limit_per_member > 1 and not key:
            return self._teller.problem("idempotency-key-missing", language)
        if token is None:
            return self._teller.problem("pass-invalid", language)
        now_ms = self._view.now_ms(now_s)
        member_id = verify(self._keys, token, now_ms / 1000)
        if isinstance(member_id, PassRefusal):
            return self._teller.problem(member_id.value, language)
        retry_after_s = self._rate.retry_after_s(member_id, now_s)
        if retry_after_s:
            return self._teller.problem("rate-limited", language, retry_after_s=retry_after_s)
        if campaign is None:
            if not is_campaign_id(campaign_id) or self._view.is_fresh:
                return self._teller.problem("campaign-not-found", language)
            self._teller.in_background(self._grab_when_known(campaign_id, Grab(member_id, key, language, tell)))
            return None
        verdict = self._gate.refuse(campaign, member_id, now_s)
        if verdict is not None:
            outcome = verdict.outcome
            assert outcome is not None
            self._metrics.by_gate[outcome] += 1
            at_ms = now_ms if outcome is Outcome.NOT_OPEN_YET else 0
            return verdict.answers.get((at_ms, language)) or self._say(verdict, at_ms, language)
        self._batcher.submit(campaign_id, Grab(member_id, key, language, tell), now_s)
        return None

    async def answer(self, campaign_id: str, token: bytes | None, idempotency_key: bytes, language: str) -> Answer:
        """The answer, for a caller who can wait for it."""
        told: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def tell(answer: Answer) -> None:
            if not told.done():  # whoever asked may have gone
                told.set_result(answer)

        return self.begin(campaign_id, token, idempotency_key, language, tell, self._clock()) or await told

    async def _grab_when_known(self, campaign_id: str, grab: Grab) -> None:
        """Have a grab decided of a campaign that the view lacks, once the view is fresh and says whether it exists."""
        problem = None
        try:
            campaign = await self._view.find(campaign_id)
        except StaleViewError:
            problem = "paused-for-recovery"
        else:
            if campaign is None:
                problem = "campaign-not-found"
            elif campaign.limit_per_member > 1 and not grab.idempotency_key:
                problem = "idempotency-key-missing"
        if problem is None:
            self._batcher.submit(campaign_id, grab, self._clock())
        else:
            grab.tell(self._teller.problem(problem, grab.language))

    def caller_of(self, token: bytes | None, now_s: float) -> str:
        """Whose place an ordinary call with this token takes."""
        if token is None:
            return STRANGER
        at_s = self._view.now_ms(now_s) / 1000
        member_id = verify(self._keys, token, at_s)
        if not isinstance(member_id, PassRefusal):
            return f"member {member_id}"
        ops = verify_ops(self._keys, token, at_s)
        return STRANGER if isinstance(ops, PassRefusal) else f"{OPS}{ops.identity.actor}"

    def is_of_ops(self, token: bytes | None, now_s: float) -> bool:
        """Whether somebody of ops calls with this token."""
        return self.caller_of(token, now_s).startswith(OPS)

    def _say(self, verdict: Verdict, at_ms: int, language: str) -> Answer:
        """A refusal of the gate in words, once for all who hear the same."""
        assert verdict.outcome is not None
        if at_ms:
            verdict.answers.clear()  # the millisecond is over
        answer = of_phase(verdict.outcome, verdict.opens_at_ms, verdict.next_release_at_ms, at_ms, language)
        verdict.answers[at_ms, language] = answer
        return answer
