"""Shapes of the answers to ops, for OpenAPI only: answers are built as plain JSON."""

from typing import Any

from pydantic import Field

from grab_service.http.shapes import Claim, EligibilityOfMember, Shape, Time
from grab_service.vocabulary.campaigns import Phase
from grab_service.vocabulary.claims import Source


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


class OpsClaim(Claim):
    """A claim as ops see it: its code masked."""

    source: Source = Field(description="`make_good`: ops have given it, whatever limit, eligibility and window say")


class Explanation(EligibilityOfMember):
    """What a new grab of a member would hear now, and what they hold, with codes masked."""

    opens_at_ms: int | None = Field(default=None, description="of `not-open-yet`")
    opens_in_ms: int | None = Field(default=None, description="of `not-open-yet`")
    next_release_at_ms: int | None = Field(default=None, description="of `sold-out`: when more units come; null: never")
    waitlist: bool | None = Field(default=None, description="of `sold-out`")
    as_of_seq: int = Field(description="the place in the log at which it is true")
    phase: Phase
    claims: list[OpsClaim] = Field(description="those held; read a moment later, so one of them may have a higher `seq`")
