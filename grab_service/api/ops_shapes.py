"""What do answers to ops look like? For OpenAPI only, as `shapes`."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from grab_service.api.shapes import Benefit, Claim, EligibilityOfMember, EligibilityShape, Price, ReleaseShape, Shape, Time
from grab_service.ops.alarms import AlarmState
from grab_service.ops.fields import Reason
from grab_service.ops.preflight import Level
from grab_service.vocabulary.campaigns import CampaignState, Phase
from grab_service.vocabulary.members import MemberStatus
from grab_service.vocabulary.passes import Role


class OpsStock(Shape):
    """Units of a campaign; what is not published yet has none available."""

    total: int
    available: int
    active: int = Field(description="held by members now")


class OpsCampaign(Shape):
    """A campaign as ops read it: what they wrote, defaults filled in, and what became of it."""

    campaign_id: str
    state: CampaignState
    phase: Phase | None = Field(description="null for a draft")
    version: int
    published: bool
    title: str
    summary: str
    category: str
    allocation: str
    releases: list[ReleaseShape] = Field(description="as in force")
    opens_at: Time
    opens_at_ms: int
    closes_at: Time
    closes_at_ms: int
    closed_at: Time | None = Field(description="since when nobody wins any more; null: it is not over")
    closed_at_ms: int | None
    price: Price
    pay_within_s: int | None
    limit_per_member: int
    returns_per_member: int
    limit_per_person: int | None
    eligibility: EligibilityShape
    shares: dict[str, Any] | None
    caps: list[Any]
    waitlist: bool
    benefit: Benefit
    stock: OpsStock
    created_at: Time
    created_at_ms: int


class OpsCampaignPage(Shape):
    """Campaigns, newest first."""

    items: list[OpsCampaign]
    next_cursor: str | None


class FindingShape(BaseModel):
    """One thing that would go wrong; more figures may stand beside."""

    model_config = ConfigDict(extra="allow")

    level: Level
    code: str
    field: str
    message: str


class Findings(Shape):
    """Everything that would go wrong; `ok` if nothing keeps the campaign from being scheduled."""

    ok: bool
    findings: list[FindingShape]


class RejectedRow(Shape):
    """A row that was not taken, numbered as a spreadsheet does: the header is row 1. `field` null: the whole row."""

    row: int
    field: str | None
    reason: str


class NewOrgShape(Shape):
    """A union that a file has made known."""

    org_id: str
    rows: int = Field(description="of the file that name it")


class CodesImport(Shape):
    """What became of a file of codes; `rows` = `imported` + `rejected_rows`."""

    rows: int
    imported: int
    rejected_rows: int
    rejected: list[RejectedRow]
    loaded: int = Field(description="codes that the campaign has now")


class MembersImport(Shape):
    """What became of a file of members; `rows` = `imported` + `updated` + `rejected_rows`."""

    rows: int
    imported: int
    updated: int
    unchanged: int = Field(description="of those updated, how many were so already")
    rejected_rows: int
    new_orgs: list[NewOrgShape] = Field(description="unions that nobody had registered: a typo shows here")
    rejected: list[RejectedRow]
    published: bool = Field(description="whether grabs go by them already; if not, as soon as the cell can be told")


class Org(Shape):
    """A grassroots union."""

    org_id: str
    name: str


class OrgPage(Shape):
    """Unions by id."""

    items: list[Org]
    next_cursor: str | None


class BlockOfMember(Shape):
    """Why a member may not grab for a time; `until` null: until lifted."""

    until: Time | None
    reason: str


class Explanation(EligibilityOfMember):
    """What a new grab of a member would hear now, and what they hold, with codes masked."""

    opens_at_ms: int | None = Field(default=None, description="of `not-open-yet`")
    opens_in_ms: int | None = Field(default=None, description="of `not-open-yet`")
    next_release_at_ms: int | None = Field(default=None, description="of `sold-out`: when more units come; null: never")
    waitlist: bool | None = Field(default=None, description="of `sold-out`")
    as_of_seq: int = Field(description="the place in the log at which it is true")
    phase: Phase
    claims: list[Claim] = Field(description="those held; read a moment later, so one of them may have a higher `seq`")


class OpsMember(Shape):
    """A member as ops read them: the fields of the import, and whether they are blocked."""

    member_id: str
    org_id: str
    person_id: str | None
    name: str
    tags: list[str]
    birthday_month: int | None
    joined_on: str | None
    status: MemberStatus
    blocked: BlockOfMember | None


class OpsMemberPage(Shape):
    """Members by id."""

    items: list[OpsMember]
    next_cursor: str | None


class Block(Shape):
    """A member who may not grab for a time; `until` null: until lifted."""

    member_id: str
    until: Time | None
    reason: str


class BlockPage(Shape):
    """Blocked members by id."""

    items: list[Block]
    next_cursor: str | None


class OpsLogLine(Shape):
    """Who did what, when and why."""

    entry_id: int
    at: Time
    at_ms: int
    actor: str
    role: str
    action: str
    object_id: str | None
    reason: str | None
    outcome: str
    detail: dict[str, Any]


class OpsLogPage(Shape):
    """Lines of the log, newest first."""

    items: list[OpsLogLine]
    next_cursor: str | None


class Token(Shape):
    """Who holds a token of ops, and how long it is good; `ended_at` null: nobody has ended it before its time."""

    token_id: str
    actor: str
    role: Role
    created_at: Time
    created_at_ms: int
    expires_at: Time
    expires_at_ms: int
    ended_at: Time | None
    ended_at_ms: int | None


class TokenPage(Shape):
    """Tokens of ops, newest first."""

    items: list[Token]
    next_cursor: str | None


class AlarmShape(Shape):
    """Something that the ledger has found wrong; `detail` depends on the kind."""

    alarm_id: str
    kind: str
    state: AlarmState
    detail: dict[str, Any]
    acknowledged_by: str | None
    raised_at: Time
    raised_at_ms: int
    acknowledged_at: Time | None
    acknowledged_at_ms: int | None
    cleared_at: Time | None
    cleared_at_ms: int | None


class AlarmPage(Shape):
    """Alarms, newest first."""

    items: list[AlarmShape]
    next_cursor: str | None


class BecauseNeeded(BaseModel):
    """Why; it stands in the log of ops."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra={"examples": [{"reason": "已通知受影响的会员"}]})

    reason: Reason


class AuditCheck(Shape):
    """One invariant: whether it could be judged, and whether it holds."""

    holds: bool
    checked: bool
    detail: str
    counterexamples: list[dict[str, Any]]


class AuditCampaign(Shape):
    """The figures of one campaign in both books."""

    campaign_id: str
    state: str
    total: int
    released: int
    active: int
    available: int
    returned: int
    issued: int
    free_units: int
    codes_loaded: int
    free_codes: int
    postgres_active: int
    postgres_held: int
    postgres_returned: int


class Audit(Shape):
    """What Redis and Postgres say at one cut of the log."""

    seq: int
    epoch: int
    at_ms: int
    holds: bool
    redis_equals_postgres: bool
    records_compared: int
    records_left: int
    share_compared: float = Field(description="of the records, one by one, by this audit; from 0 to 1")
    oldest_comparison_at_ms: int | None = Field(
        description="of all campaigns, the comparison one by one that is longest ago; null: one never was compared"
    )
    invariants: dict[str, AuditCheck]
    campaigns: list[AuditCampaign]
