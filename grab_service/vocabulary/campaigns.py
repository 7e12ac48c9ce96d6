"""Campaigns, and their records in the cell.

Shapes only: Lua decides who wins. `lua/commands/publish_campaign.lua` takes the published form, and
`lua/commands/read_campaigns.lua` gives it back.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class CampaignState(StrEnum):
    """The intention of ops, stored. The clock decides whether it is open or over."""

    DRAFT = "draft"
    SCHEDULED = "scheduled"
    PAUSED = "paused"
    CLOSED = "closed"
    SETTLED = "settled"
    ARCHIVED = "archived"
    CANCELLED = "cancelled"


class Phase(StrEnum):
    """What a member sees; derived from state, clock and stock."""

    UPCOMING = "upcoming"
    OPEN = "open"
    SOLD_OUT = "sold_out"
    PAUSED = "paused"
    ENDED = "ended"
    CANCELLED = "cancelled"


class BenefitKind(StrEnum):
    """Source of the winner's code."""

    GENERATED_CODE = "generated_code"
    CODE_POOL = "code_pool"
    NONE = "none"


class Reveal(StrEnum):
    """Time at which the winner sees the code; an unseen code can go to somebody else."""

    AT_ONCE = "at_once"
    ON_REQUEST = "on_request"


@dataclass(frozen=True, slots=True)
class Release:
    """A quantity that becomes available at a time (批次)."""

    opens_at_ms: int
    quantity: int


@dataclass(frozen=True, slots=True)
class Eligibility:
    """Conditions on a member; an empty rule is met by everybody. `joined_before` is a day, `YYYY-MM-DD`."""

    orgs: tuple[str, ...] = ()
    tags_any: tuple[str, ...] = ()
    birthday_months: tuple[int, ...] = ()
    joined_before: str | None = None


def encode_releases(releases: Iterable[Release]) -> str:
    """`opens_at_ms:quantity`, by comma, in order of time."""
    return ",".join(f"{release.opens_at_ms}:{release.quantity}" for release in releases)


def decode_releases(text: str) -> tuple[Release, ...]:
    """The reverse of `encode_releases`."""
    pairs = (part.split(":") for part in text.split(",") if part)
    return tuple(Release(int(opens_at_ms), int(quantity)) for opens_at_ms, quantity in pairs)


def encode_set(values: Iterable[object]) -> str:
    """`,a,b,`, so that a plain search for `,a,` finds a member of the set; '' for no rule."""
    joined = ",".join(str(value) for value in values)
    return f",{joined}," if joined else ""


def total_of(releases: Iterable[Release]) -> int:
    """The whole stock, whenever it is released."""
    return sum(release.quantity for release in releases)


def released_by(releases: Iterable[Release], now_ms: int) -> int:
    """The units released by now."""
    return sum(release.quantity for release in releases if release.opens_at_ms <= now_ms)


def next_release_at_ms(releases: Iterable[Release], now_ms: int, closes_at_ms: int) -> int | None:
    """Time of the next units, or None; a release at or after closing never comes."""
    times = [r.opens_at_ms for r in releases if r.opens_at_ms > now_ms and r.opens_at_ms < closes_at_ms and r.quantity > 0]
    return min(times, default=None)


def phase_of(state: CampaignState, releases: tuple[Release, ...], closes_at_ms: int, active: int, now_ms: int) -> Phase:
    """The phase a member sees, in the order of precedence in which Lua refuses."""
    if state is CampaignState.CANCELLED:
        return Phase.CANCELLED
    if state in {CampaignState.CLOSED, CampaignState.SETTLED, CampaignState.ARCHIVED} or now_ms >= closes_at_ms:
        return Phase.ENDED
    if now_ms < releases[0].opens_at_ms:
        return Phase.UPCOMING
    if state is CampaignState.PAUSED:
        return Phase.PAUSED
    return Phase.OPEN if released_by(releases, now_ms) > active else Phase.SOLD_OUT


def over_since_ms(closed_at_ms: int | None, closes_at_ms: int, now_ms: int) -> int | None:
    """Since when nobody wins any more: ops closed it, or its time was over; None: it is not over."""
    if closed_at_ms is not None:
        return min(closed_at_ms, closes_at_ms)
    return closes_at_ms if now_ms >= closes_at_ms else None


ENDS: Final = frozenset({CampaignState.CLOSED, CampaignState.CANCELLED})
"""States in which ops have ended a campaign for good."""


@dataclass(frozen=True, slots=True)
class PublishedCampaign:
    """A campaign as the cell holds it: the facts that the rules read, the counters, and the texts for members."""

    campaign_id: str
    state: CampaignState
    version: int
    releases: tuple[Release, ...]
    closes_at_ms: int
    limit_per_member: int
    benefit_kind: BenefitKind
    active: int
    issued: int
    codes_loaded: int
    display: bytes
    closed_at_ms: int | None = None
    """Time at which ops closed or cancelled it; None: nobody did."""

    @property
    def opens_at_ms(self) -> int:
        """Opening time of the first release."""
        return self.releases[0].opens_at_ms

    @classmethod
    def from_fields(cls, campaign_id: str, fields: Mapping[bytes, bytes]) -> "PublishedCampaign":
        """Decode the hash of a published campaign; a missing field is a bug."""
        return cls(
            campaign_id=campaign_id,
            state=CampaignState(fields[b"state"].decode()),
            version=int(fields[b"version"]),
            releases=decode_releases(fields[b"releases"].decode()),
            closes_at_ms=int(fields[b"closes_at_ms"]),
            limit_per_member=int(fields[b"limit_per_member"]),
            benefit_kind=BenefitKind(fields[b"benefit_kind"].decode()),
            active=int(fields[b"active"]),
            issued=int(fields[b"issued"]),
            codes_loaded=int(fields[b"codes_loaded"]),
            display=fields[b"display"],
            closed_at_ms=int(fields[b"closed_at_ms"]) if b"closed_at_ms" in fields else None,
        )
