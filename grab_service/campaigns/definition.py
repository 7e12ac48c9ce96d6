"""The definition of a campaign as ops write it, and its translation into the rules of this release.

The shape is checked here: fields, bounds, order. An unsupported part is refused by name, never ignored. `preflight` judges the
definition against the clock, the codes and the members.
"""

from itertools import pairwise
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from grab_service.http.fields import Day, Line, Lines, Moment, OrgId, Tag, Whole, distinct
from grab_service.vocabulary.campaigns import BenefitKind, Eligibility, Release, Reveal, total_of
from grab_service.vocabulary.times import parse_rfc3339

TITLE_MAX: Final = 100
SUMMARY_MAX: Final = 2000
RELEASES_MAX: Final = 50
TOTAL_MAX: Final = 10_000_000
LIMIT_MAX: Final = 100
RETURNS_MAX: Final = 100
ORGS_MAX: Final = 1000
TAGS_MAX: Final = 50
VALID_DAYS_MAX: Final = 3660
READ_ONLY: Final = frozenset(
    {"campaign_id", "state", "phase", "version", "published", "opens_at", "opens_at_ms", "closed_at", "closed_at_ms", "stock"}
    | {"created_at", "created_at_ms"}
)
"""Fields of a campaign's answer that are not part of its definition."""


T = TypeVar("T")


def _unsupported(value: object) -> PydanticCustomError:
    return PydanticCustomError("unsupported", "this release does not support {value}", {"value": f"{value!r:.60}"})


def _only(value: T, supported: object) -> T:
    if value != supported:
        raise _unsupported(value)
    return value


Title = Annotated[Line, Field(min_length=1, max_length=TITLE_MAX)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, str_strip_whitespace=True)


def _as_its_twin(moment_ms: int | None, moment: str | None) -> int | None:
    """Refuse Unix milliseconds that say something else than the time beside them."""
    if moment_ms is not None and moment is not None and moment_ms != parse_rfc3339(moment):
        raise PydanticCustomError("another_moment", "it is another moment than the time beside it")
    return moment_ms


class ReleasePart(_Part):
    """A quantity that becomes available at a time (批次)."""

    opens_at: Moment
    quantity: Whole = Field(ge=1, le=TOTAL_MAX)
    opens_at_ms: Whole | None = Field(default=None, exclude=True, description="may be left out: `opens_at` in milliseconds")

    @field_validator("opens_at_ms")
    @classmethod
    def _twin(cls, value: int | None, info: ValidationInfo) -> int | None:
        return _as_its_twin(value, info.data.get("opens_at"))


class PricePart(_Part):
    """Price of a claim; this release only gives away."""

    points: Whole = Field(default=0, ge=0, le=0)
    cash_fen: Whole = Field(default=0, ge=0, le=0)

    @field_validator("points", "cash_fen", mode="wrap")
    @classmethod
    def _free(cls, value: Any, check: Any) -> Any:
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            raise _unsupported(value)
        return check(value)


class EligibilityPart(_Part):
    """Conditions on a member; a rule left out is met by everybody. `joined_before`: joined the union before that day."""

    orgs: list[OrgId] | None = Field(default=None, min_length=1, max_length=ORGS_MAX)
    tags_any: list[Tag] = Field(default=[], max_length=TAGS_MAX)
    birthday_months: list[Annotated[Whole, Field(ge=1, le=12)]] = Field(default=[], max_length=12)
    joined_before: Day | None = None

    @field_validator("orgs", "tags_any", "birthday_months")
    @classmethod
    def _no_repetition(cls, values: list[T] | None) -> list[T] | None:
        return values if values is None else distinct(values)


class BenefitPart(_Part):
    """The benefit, and the validity of its voucher: between fixed times, for some days from the grant, or without a bound."""

    kind: Literal["generated_code", "code_pool", "none"]
    name: Line = Field(min_length=1, max_length=TITLE_MAX)
    reveal: Literal["at_once", "on_request"] = Field(default="at_once", description="when the winner sees the code")
    valid_from: Moment | None = None
    valid_until: Moment | None = None
    valid_days: Whole | None = Field(default=None, ge=1, le=VALID_DAYS_MAX)
    stores: list[Any] = Field(default=[], description="not supported yet: leave empty", json_schema_extra={"maxItems": 0})

    @field_validator("reveal")
    @classmethod
    def _a_code_to_reveal(cls, value: str, info: ValidationInfo) -> str:
        if value != Reveal.AT_ONCE and info.data.get("kind") == BenefitKind.NONE:
            raise PydanticCustomError("nothing_to_reveal", "a benefit of kind none has no code")
        return value

    @field_validator("valid_until")
    @classmethod
    def _after_its_beginning(cls, value: str | None, info: ValidationInfo) -> str | None:
        valid_from = info.data.get("valid_from")
        if value is not None and valid_from is not None and parse_rfc3339(value) <= parse_rfc3339(valid_from):
            raise PydanticCustomError("ends_before_it_begins", "it must lie after valid_from")
        return value

    @field_validator("stores")
    @classmethod
    def _no_stores(cls, value: list[Any]) -> list[Any]:
        return _only(value, [])


class Definition(_Part):
    """A campaign as ops write it. Only `title`, `releases`, `closes_at` and `benefit` are required."""

    title: Title
    summary: Lines = Field(default="", max_length=SUMMARY_MAX)
    category: Line = Field(default="", max_length=TITLE_MAX)
    allocation: str = Field(default="rush", json_schema_extra={"enum": ["rush"]})
    releases: list[ReleasePart] = Field(min_length=1, max_length=RELEASES_MAX)
    closes_at: Moment
    closes_at_ms: Whole | None = Field(default=None, exclude=True, description="may be left out: `closes_at` in milliseconds")
    price: PricePart = PricePart()
    pay_within_s: Whole | None = Field(default=None, description="not supported yet: leave out")
    limit_per_member: Whole = Field(default=1, ge=1, le=LIMIT_MAX)
    returns_per_member: Whole = Field(default=1, ge=0, le=RETURNS_MAX, description="units a member may give back in all")
    limit_per_person: Whole | None = Field(default=None, description="not supported yet: leave out")
    eligibility: EligibilityPart = EligibilityPart()
    shares: dict[str, Any] | None = Field(default=None, description="not supported yet: leave out")
    caps: list[Any] = Field(default=[], description="not supported yet: leave empty", json_schema_extra={"maxItems": 0})
    waitlist: bool = Field(default=False, description="not supported yet: leave out")
    benefit: BenefitPart

    @model_validator(mode="before")
    @classmethod
    def _without_what_is_read_only(cls, given: Any) -> Any:
        """The read-only fields of a campaign's answer may be sent back with it, and are not carried over."""
        return {name: value for name, value in given.items() if name not in READ_ONLY} if isinstance(given, dict) else given

    @field_validator("closes_at_ms")
    @classmethod
    def _twin(cls, value: int | None, info: ValidationInfo) -> int | None:
        return _as_its_twin(value, info.data.get("closes_at"))

    @field_validator("releases")
    @classmethod
    def _in_order_of_time(cls, releases: list[ReleasePart]) -> list[ReleasePart]:
        times = [parse_rfc3339(release.opens_at) for release in releases]
        if any(later <= earlier for earlier, later in pairwise(times)):
            raise PydanticCustomError("not_in_order", "releases must stand in order of time, no two at the same moment")
        if sum(release.quantity for release in releases) > TOTAL_MAX:
            raise PydanticCustomError("too_many_units", "at most {max} units in all", {"max": TOTAL_MAX})
        return releases

    @field_validator("closes_at")
    @classmethod
    def _after_the_opening(cls, value: str, info: ValidationInfo) -> str:
        releases: list[ReleasePart] = info.data.get("releases", [])
        if releases and parse_rfc3339(value) <= parse_rfc3339(releases[0].opens_at):
            raise PydanticCustomError("closes_before_it_opens", "it must lie after the first release")
        return value

    @field_validator("allocation")
    @classmethod
    def _only_rush(cls, value: str) -> str:
        return _only(value, "rush")

    @field_validator("pay_within_s", "limit_per_person", "shares")
    @classmethod
    def _left_out(cls, value: T | None) -> T | None:
        return _only(value, None)

    @field_validator("caps")
    @classmethod
    def _no_caps(cls, value: list[Any]) -> list[Any]:
        return _only(value, [])

    @field_validator("waitlist")
    @classmethod
    def _no_waitlist(cls, value: bool) -> bool:
        return _only(value, False)

    def releases_in_order(self) -> tuple[Release, ...]:
        """The releases as the rules read them."""
        return tuple(Release(parse_rfc3339(release.opens_at), release.quantity) for release in self.releases)

    @property
    def ends_at_ms(self) -> int:
        """From when on nobody wins."""
        return parse_rfc3339(self.closes_at)

    @property
    def total(self) -> int:
        """The whole stock."""
        return total_of(self.releases_in_order())

    @property
    def benefit_kind(self) -> BenefitKind:
        """Source of the winner's code."""
        return BenefitKind(self.benefit.kind)

    def rules_of_eligibility(self) -> Eligibility:
        """Conditions on a member, as the rules read them."""
        part = self.eligibility
        return Eligibility(tuple(part.orgs or ()), tuple(part.tags_any), tuple(part.birthday_months), part.joined_before)
