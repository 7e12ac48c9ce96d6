"""The limit per member: so many claims of a campaign at once."""

from collections.abc import Iterator
from typing import Final

from grab_service.vocabulary.outcomes import Outcome
from tests.harness.lua_mutants import Mutant
from tests.harness.standing import Standing

OUTCOMES: Final = (Outcome.PER_MEMBER_LIMIT,)
OF_THE_MOMENT: Final = False


def refusals(standing: Standing) -> Iterator[str]:
    """The model of the rule."""
    limit, used = standing.published.limit_per_member, len(standing.holding)
    if used >= limit:
        yield f"per_member_limit\t{limit}\t{used}"


MUTANTS: Final = (
    Mutant("the limit", "grab", "used >= campaign.limit_per_member", "used >= 99"),
    Mutant(
        "the limit is a number",
        "grab",
        "campaign.limit_per_member = tonumber(campaign.limit_per_member)",
        "campaign.limit_per_member = 1",
    ),
)
