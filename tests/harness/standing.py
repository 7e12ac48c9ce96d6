"""Where a member stands in a campaign: all that the model of a rule may ask."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from grab_service.vocabulary.claims import ClaimRecord
from tests.harness.cells import Member, Published


@dataclass(frozen=True, slots=True)
class Standing:
    """One member before one campaign at one moment, as the model knows them.

    `available`: units released and in nobody's hands; `counters`: those of the campaign; `holding`: the claims that the member
    holds; `member`: None if there is no such.
    """

    now_ms: int
    published: Published
    state: str
    opens_at_ms: int
    closes_at_ms: int
    available: int
    counters: Mapping[str, int]
    holding: Sequence[ClaimRecord]
    member: Member | None
