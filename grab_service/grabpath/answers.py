"""What are the bytes of an answer to a grab?

Refusals that everybody gets are made once and kept; only a winner's answer differs from all others.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import orjson

from grab_service.cell.store import GrabReply
from grab_service.grabpath.gate import Verdict
from grab_service.grabpath.view import CampaignView
from grab_service.vocabulary import problems
from grab_service.vocabulary.claim_body import claim_body
from grab_service.vocabulary.claims import ClaimRecord, ClaimState, VoucherState
from grab_service.vocabulary.outcomes import Outcome, slug
from grab_service.vocabulary.times import MOMENT_MAX_MS, rfc3339

JSON: Final = (b"content-type", b"application/json")
PROBLEM: Final = (b"content-type", b"application/problem+json")
NO_STORE: Final = (b"cache-control", b"no-store")


@dataclass(slots=True)
class Answer:
    """A whole answer but for the time of the server, which is set when it is sent. Header names are in lower case."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    ends: bool = False
    """Whether the connection ends with it; one of the headers says so."""

    _head: bytes | None = None

    @property
    def head(self) -> bytes:
        """The headers as they are sent, each line with its end."""
        if self._head is None:
            self._head = b"".join(b"%b: %b\r\n" % header for header in self.headers)
        return self._head


def _problem(name: str, language: str, retry_after_s: int | None, extra: tuple[tuple[str, object], ...]) -> Answer:
    problem = problems.body(name, language, **dict(extra))
    body = orjson.dumps(problem)
    wait_s = retry_after_s if retry_after_s is not None else problems.CATALOGUE[name].retry_after_s
    waits = ((b"retry-after", b"%d" % wait_s),) if wait_s is not None else ()
    asks = ((b"www-authenticate", b"Bearer"),) if problem["status"] == 401 else ()
    about = ((b"content-length", b"%d" % len(body)), (b"content-language", language.encode()))
    return Answer(problem["status"], (PROBLEM, NO_STORE, *about, *waits, *asks), body)


_kept_problem = lru_cache(maxsize=1024)(_problem)


def of_problem(name: str, language: str, *, retry_after_s: int | None = None, **extra: object) -> Answer:
    """A problem of the catalogue; values in `extra` may be strings, numbers, None, and tuples of these."""
    return _kept_problem(name, language, retry_after_s, tuple(extra.items()))


def of_validation(language: str, errors: list[dict[str, str]]) -> Answer:
    """What is wrong with a body: `{field, reason}` for each field."""
    return _problem("validation", language, None, (("errors", errors),))


def _not_open_yet(language: str, opens_at_ms: int, now_ms: int) -> Answer:
    # Never 0: at 0 the caller would ask again at once and be told the same.
    opens_in_ms = max(1, opens_at_ms - now_ms)
    return of_problem("not-open-yet", language, opens_at_ms=opens_at_ms, opens_in_ms=opens_in_ms)


def of_verdict(verdict: Verdict, now_ms: int, language: str) -> Answer:
    """A refusal of the gate."""
    assert verdict.outcome is not None, "the gate refuses with an outcome"
    if verdict.outcome is Outcome.SOLD_OUT:
        return of_problem("sold-out", language, next_release_at_ms=verdict.next_release_at_ms, waitlist=False)
    if verdict.outcome is Outcome.NOT_OPEN_YET:
        return _not_open_yet(language, verdict.opens_at_ms, now_ms)
    return of_problem(slug(verdict.outcome), language)


def of_refusal(outcome: Outcome, rest: bytes, reply: GrabReply, language: str) -> Answer:
    """A refusal of Lua; `rest` is what follows the outcome's word, as the header of `lua/grab.lua` says."""
    name = slug(outcome)
    match outcome:
        case Outcome.SOLD_OUT:
            return of_problem(name, language, next_release_at_ms=reply.next_release_at_ms, waitlist=False)
        case Outcome.NOT_OPEN_YET:
            return _not_open_yet(language, reply.opens_at_ms, reply.now_ms)
        case Outcome.MEMBER_BLOCKED:
            lasts = not rest or int(rest) >= MOMENT_MAX_MS  # until somebody lifts it
            return of_problem(name, language, until=None if lasts else rfc3339(int(rest)))
        case Outcome.NOT_ELIGIBLE:
            return of_problem(name, language, failed_rules=tuple(rest.decode().split(",")))
        case Outcome.PER_MEMBER_LIMIT:
            limit, used = rest.split(b"\t")
            return of_problem(name, language, limit=int(limit), used=int(used))
        case _:
            return of_problem(name, language)


def of_claim(
    status: int,
    campaign: CampaignView,
    member_id: str,
    record: ClaimRecord,
    state: ClaimState,
    voucher_state: VoucherState,
) -> Answer:
    """A claim, new (201) or held already (200)."""
    claim = claim_body(campaign.campaign_id, member_id, record, state, voucher_state, campaign.validity, campaign.has_voucher)
    body = orjson.dumps(claim)
    location = (b"location", b"/v1/claims/" + claim["claim_id"].encode())
    return Answer(status, (JSON, NO_STORE, (b"content-length", b"%d" % len(body)), location), body)
