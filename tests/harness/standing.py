"""Where a member stands in a campaign: all that the model of a rule may ask."""

from dataclasses import dataclass

from tests.harness.cells import Member, Published


@dataclass(frozen=True, slots=True)
class Standing:
    """One member before one campaign at one moment, as the model knows them.

    `held`: claims that the member holds; `available`: units released and in nobody's hands; `member`: None if there is no such.
    """

    now_ms: int
    published: Published
    state: str
    opens_at_ms: int
    closes_at_ms: int
    available: int
    held: int
    member: Member | None
