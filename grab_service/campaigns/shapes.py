"""Shapes of the answers to ops, for OpenAPI only: answers are built as plain JSON."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from grab_service.campaigns.preflight import Level
from grab_service.http.shapes import Benefit, EligibilityShape, Price, ReleaseShape, Shape, Time
from grab_service.vocabulary.campaigns import CampaignState, Phase


class OpsStock(Shape):
    """Units of a campaign; one that is not published yet has none available."""

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
