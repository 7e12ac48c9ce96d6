"""Response shapes for members and machines, for OpenAPI only: responses are plain data, written by orjson.

Tests compare the server's responses with these; those of ops stand with their features (`campaigns.shapes`, ...).
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from grab_service.health.check import CheckState
from grab_service.vocabulary.campaigns import BenefitKind, Phase, Reveal
from grab_service.vocabulary.claims import ClaimState, VoucherState

Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
"""RFC 3339, UTC, to the millisecond."""


class Shape(BaseModel):
    """The answer of a call; all fields are always there."""

    model_config = ConfigDict(extra="forbid", json_schema_serialization_defaults_required=True)


class Now(Shape):
    """The cell's clock, by which everything opens and closes."""

    now_ms: int


class Price(Shape):
    """Price of a claim; 0 and 0 is free."""

    points: int
    cash_fen: int


class Voucher(Shape):
    """The voucher that the holder shows at the counter; `qr` and `revealed_at` are there where the code is shown on request."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=False)

    voucher_id: str
    code: str | None = Field(description="null: it is shown on request (`benefit.reveal`), and was not asked for here")
    state: VoucherState
    valid_from: Time
    valid_until: Time | None
    qr: str | None = Field(default=None, description="null in this release")
    revealed_at: Time | None = Field(default=None, description="when its holder asked for the code")


class Claim(Shape):
    """A unit of a campaign in the hands of a member. `claim_id`, `unit_no`, `seq` and `granted_at` never change."""

    claim_id: str
    campaign_id: str
    member_id: str
    state: ClaimState
    unit_no: int = Field(ge=1, description="第 k 份: 1…N within the campaign")
    seq: int = Field(ge=1, description="place in the log of the cell: a total order of all claims")
    granted_at: Time
    granted_at_ms: int
    price: Price
    pay_by: Time | None
    pay_by_ms: int | None
    voucher: Voucher | None


class GrabbedClaim(Claim):
    """A claim as the answer to a grab, with a proof: the log up to `as_of_seq` folds to `head`, now and for ever."""

    as_of_seq: int = Field(ge=0, description="how far this worker had read the log when it answered")
    head: str | None = Field(pattern="^[0-9a-f]{64}$", description="of the chain of the log there; null: not known yet")


class ReleaseShape(Shape):
    """A quantity that becomes available at a time (批次)."""

    opens_at: Time
    opens_at_ms: int
    quantity: int


class Stock(Shape):
    """Units: `total` over all releases, `available` now."""

    total: int
    available: int


class Benefit(Shape):
    """The benefit; campaigns published by an earlier release do not say `reveal`."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=False)

    kind: BenefitKind
    name: str
    reveal: Reveal = Reveal.AT_ONCE
    valid_from: Time | None
    valid_until: Time | None
    valid_days: int | None
    stores: list[str]


class EligibilityShape(Shape):
    """Conditions on a member; an empty rule is met by everybody."""

    orgs: list[str] | None
    tags_any: list[str]
    birthday_months: list[int]
    joined_before: str | None


class EligibilityOfMember(Shape):
    """Whether a member may take part. Beside a refusal stand its own fields, as in the problem of that code."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=False)

    eligible: bool
    code: str | None = Field(description="the first refusal, as a grab names it; null: there is none")
    failed_rules: list[str] = Field(description="of `not-eligible`: the conditions that are not met; otherwise empty")
    until: Time | None = Field(default=None, description="of `member-blocked`: when the block ends; null: no end is set")
    limit: int | None = Field(default=None, description="of `per-member-limit`: how many one member may hold")
    used: int | None = Field(default=None, description="of `per-member-limit`: how many they hold")


class Campaign(Shape):
    """A campaign as members see it."""

    campaign_id: str
    title: str
    summary: str
    category: str
    allocation: str
    phase: Phase
    opens_at: Time
    opens_at_ms: int
    closes_at: Time
    closes_at_ms: int
    closed_at: Time | None = Field(description="since when nobody wins any more; null: it is not over")
    closed_at_ms: int | None
    releases: list[ReleaseShape]
    next_release_at_ms: int | None
    stock: Stock
    limit_per_member: int
    price: Price
    eligibility: EligibilityShape
    benefit: Benefit


class CampaignWithMyClaims(Campaign):
    """A campaign, and what the caller holds of it: null without a pass, or while that cannot be read."""

    my_claims: list[Claim] | None


class CampaignPage(Shape):
    """Campaigns; `next_cursor` leads on, null at the end."""

    items: list[Campaign]
    next_cursor: str | None


class Pulse(Shape):
    """What changes while members wait."""

    campaign_id: str
    phase: Phase
    stock: Stock
    opens_at_ms: int
    closes_at_ms: int
    next_release_at_ms: int | None
    now_ms: int
    poll_after_ms: int = Field(description="ask again after this long; spread, so that not all ask at once")


class ClaimPage(Shape):
    """A member's claims, newest first."""

    items: list[Claim]
    next_cursor: str | None


class Member(Shape):
    """The member that an assertion spoke of, as registered now."""

    member_id: str
    org_id: str
    status: str


class Session(Shape):
    """A pass, and until when it is good."""

    model_config = ConfigDict(json_schema_extra={})

    pass_: str = Field(alias="pass", description="for `Authorization: Bearer`")
    expires_at: Time


class MemberSession(Session):
    """A pass for the member of an assertion."""

    member: Member


class OpsSession(Shape):
    """A token for the calls of ops."""

    token: str
    expires_at: Time


class FieldError(Shape):
    """A field that was not accepted, as a path, and why."""

    field: str
    reason: str


class ProblemShape(BaseModel):
    """RFC 9457; more members as each problem says."""

    model_config = ConfigDict(extra="allow", title="Problem")

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: list[FieldError] = Field(default=[], description="of `validation`")
    request_id: str = Field(default="", description="as `X-Request-Id` says it; not with refusals that many requests share")


class Alive(Shape):
    """It answers, so it lives."""

    alive: bool


class Signpost(Shape):
    """The name of the service, and links."""

    name: str
    version: str
    docs: str
    openapi: str
    ready: str
    problems: str


class Check(Shape):
    """One thing that readiness depends on; `unknown` alone does not make 503."""

    state: CheckState
    detail: str


class Readiness(Shape):
    """Whether this worker can do its work, and if not, which check fails."""

    ready: bool
    checks: dict[str, Check]
