"""The bytes of the answers to grabs.

A refusal is the same for everybody, so it is rendered once and cached; only the answers to winners differ.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final

import orjson

from grab_service import problems
from grab_service.cell.replies import GrabReply
from grab_service.grabpath.chain import AsOf
from grab_service.grabpath.view import CampaignView
from grab_service.vocabulary.claim_body import claim_body
from grab_service.vocabulary.claims import ClaimRecord, ClaimState, VoucherState
from grab_service.vocabulary.outcomes import Outcome, slug
from grab_service.vocabulary.refusals import fields_of_refusal
from grab_service.vocabulary.request_id import HEADER, request_id_of

JSON: Final = b"content-type: application/json\r\ncache-control: no-store\r\n"
PROBLEM: Final = b"content-type: application/problem+json\r\ncache-control: no-store\r\n"


_WORDS: Final = {201: Outcome.WON.value, 200: Outcome.HELD.value}

# Placeholders of the response template; none can occur in a campaign id or as a number behind a point or a colon.
_SEQ: Final = 8_111_111_111_111_117
_UNIT_NO: Final = 8_222_222_222_222_227
_MEMBER_ID: Final = "<MEMBER>"
_CODE: Final = "<CODE>"
_ORDER: Final = {_MEMBER_ID.encode(): 0, b"%d" % _SEQ: 1, b"%d" % _UNIT_NO: 2, _CODE.encode(): 3}
# Each alternative begins with a character of its own, so that the search skips from one candidate to the next.
_PLACEHOLDERS: Final = re.compile(
    rb"(<MEMBER>|<CODE>|8(?<=[.:]8)%b|8(?<=[.:]8)%b)" % ((b"%d" % _SEQ)[1:], (b"%d" % _UNIT_NO)[1:])
)
_WRITTEN_AS_IT_IS: Final = re.compile(rb"[ !#-\[\]-~]*")


@dataclass(slots=True, eq=False)
class Answer:
    """A complete answer except for the server's time, which is added when it is sent.

    `head` has the header lines as they are sent, each with its line end, names in lower case.
    """

    status: int
    head: bytes
    body: bytes
    outcome: str = ""
    """The word by which it is counted."""

    rendered: bytes = b""
    """The rendered response, cached for one millisecond: in a rush many clients get the same bytes."""
    rendered_at_ms: int = -1
    rendered_with: Sequence[tuple[bytes, bytes]] | None = None

    def without_body(self) -> "Answer":
        """The answer to the same request with HEAD: the length is still that of the body."""
        return Answer(self.status, self.head, b"", self.outcome)

    def of_request(self, brought: bytes | None) -> "Answer":
        """The answer with the id of its request, if that brought one, usable or not; else the same, which many share."""
        if brought is None:
            return self
        return self.with_headers((HEADER, request_id_of(brought)))

    def with_headers(self, *headers: tuple[bytes, bytes]) -> "Answer":
        """The same answer with more headers."""
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        return Answer(self.status, self.head + lines, self.body, self.outcome)

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers as ASGI wants them."""
        pairs = (line.partition(b": ") for line in self.head.split(b"\r\n")[:-1])
        return [(name, value) for name, _, value in pairs]


def _problem(name: str, language: str, retry_after_s: int | None, extra: tuple[tuple[str, object], ...]) -> Answer:
    problem = problems.body(name, language, **dict(extra))
    body = orjson.dumps(problem)
    wait_s = retry_after_s if retry_after_s is not None else problems.CATALOGUE[name].retry_after_s
    waits = b"retry-after: %d\r\n" % wait_s if wait_s is not None else b""
    asks = b"www-authenticate: Bearer\r\n" if problem["status"] == 401 else b""
    about = b"content-length: %d\r\ncontent-language: %b\r\n" % (len(body), language.encode())
    return Answer(problem["status"], b"".join((PROBLEM, about, waits, asks)), body, name.replace("-", "_"))


_kept_problem = lru_cache(maxsize=1024)(_problem)


def of_problem(name: str, language: str, *, retry_after_s: int | None = None, **extra: object) -> Answer:
    """A problem of the catalogue; values in `extra` may be strings, numbers, None, and tuples of these."""
    return _kept_problem(name, language, retry_after_s, tuple(extra.items()))


def of_validation(language: str, errors: list[dict[str, str]]) -> Answer:
    """The problem `validation`, with `{field, reason}` for each faulty field."""
    return _problem("validation", language, None, (("errors", errors),))


def of_phase(
    outcome: Outcome, opens_at_ms: int, next_release_at_ms: int | None, now_ms: int, as_of: AsOf, language: str
) -> Answer:
    """A campaign's answer to everybody who holds nothing; `as_of` is the place in the log at which it is true."""
    fields = fields_of_refusal(outcome, b"", opens_at_ms, next_release_at_ms, now_ms)
    return of_problem(slug(outcome), language, **fields | (_proof(as_of) if outcome is Outcome.SOLD_OUT else {}))


def of_refusal(outcome: Outcome, rest: bytes, reply: GrabReply, as_of: AsOf, language: str) -> Answer:
    """A refusal of Lua; `rest` is what follows the outcome's word, as the header of its rule says."""
    fields = fields_of_refusal(outcome, rest, reply.opens_at_ms, reply.next_release_at_ms, reply.now_ms)
    return of_problem(slug(outcome), language, **fields | (_proof(as_of) if outcome is Outcome.SOLD_OUT else {}))


def _proof(as_of: AsOf) -> dict[str, Any]:
    """The members of an answer by which its receiver can check the log later."""
    return {"as_of_seq": as_of.seq, "head": as_of.head}


def of_claim(
    status: int,
    campaign: CampaignView,
    member_id: str,
    record: ClaimRecord,
    as_of: AsOf,
) -> Answer:
    """A claim, new (201) or held already (200); `as_of` is the last place in the log that this worker has read."""
    voucher_state = VoucherState.ACTIVE if record.state is ClaimState.FULFILLED else VoucherState.RETURNED
    claim = claim_body(
        campaign.campaign_id,
        member_id,
        record,
        voucher_state,
        campaign.validity,
        campaign.has_voucher,
        campaign.on_request,
    )
    body = orjson.dumps(claim | _proof(as_of))
    head = b"%bcontent-length: %d\r\nlocation: /v1/claims/%b\r\n" % (JSON, len(body), claim["claim_id"].encode())
    return Answer(status, head, body, _WORDS[status])


class WinTemplate:
    """The response template of the winners of one script call: only the fields that differ between them are filled in.

    It is made from an answer of `of_claim`, so that both give the same bytes.
    """

    __slots__ = ("_body", "_head", "_picks")

    def __init__(self, campaign: CampaignView, epoch: int, granted_at_ms: int, as_of: AsOf) -> None:
        record = ClaimRecord(_SEQ, epoch, _UNIT_NO, 1, granted_at_ms, _CODE, "")
        body = of_claim(201, campaign, _MEMBER_ID, record, as_of).body
        parts = _PLACEHOLDERS.split(body.replace(b"%", b"%%"))
        # Text and placeholders alternate.
        self._body = b"%b".join(parts[::2])
        self._picks = itemgetter(*(_ORDER[placeholder] for placeholder in parts[1::2]))
        claim_id = b"%b.%d.%%b" % (campaign.campaign_id.encode(), epoch)
        self._head = b"%bcontent-length: %%d\r\nlocation: /v1/claims/%b\r\n" % (JSON, claim_id)

    def fill(self, member_id: str, seq: bytes, unit_no: bytes, code: bytes) -> Answer:
        """The answer to one winner; the code must be one that `is_written_as_it_is`."""
        body = self._body % self._picks((member_id.encode(), seq, unit_no, code))
        return Answer(201, self._head % (len(body), seq), body, _WORDS[201])


def is_written_as_it_is(code: bytes) -> bool:
    """Whether JSON has no other way to write this code: third parties may put quotation marks, or Chinese, in theirs."""
    return _WRITTEN_AS_IT_IS.fullmatch(code) is not None
