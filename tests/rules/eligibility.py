"""Eligibility: the four conditions, each of which must hold where a campaign sets it."""

from collections.abc import Iterator
from typing import Final

from grab_service.vocabulary.outcomes import Outcome
from tests.harness.lua_mutants import Mutant
from tests.harness.standing import Standing

OUTCOMES: Final = (Outcome.NOT_ELIGIBLE,)
OF_THE_MOMENT: Final = False


def refusals(standing: Standing) -> Iterator[str]:
    """The model of the rule."""
    member, rules = standing.member, standing.published.eligibility
    if member is None:
        return
    met = {
        "orgs": not rules.orgs or member.org_id in rules.orgs,
        "tags_any": not rules.tags_any or bool(set(member.tags) & set(rules.tags_any)),
        "birthday_months": not rules.birthday_months or member.birthday_month in rules.birthday_months,
        "joined_before": not rules.joined_before or "" < member.joined_on < rules.joined_before,
    }
    if not all(met.values()):
        yield f"not_eligible\t{','.join(name for name, holds in met.items() if not holds)}"


MUTANTS: Final = (
    Mutant("unions by their whole name", "grab", "',' .. wish.org_id .. ',', 1, true)", "',' .. wish.org_id, 1, true)"),
    Mutant("one tag is enough", "grab", "found = found or string.find", "found = string.find"),
    Mutant("birthdays", "grab", "if birthday_months ~= '' and", "if false and"),
    Mutant("joined before the day", "grab", "joined_on >= joined_before", "joined_on > joined_before"),
    Mutant("every condition of eligibility", "grab", "return campaign.orgs ~= '' or campaign.tags_any ~= '' or", "return"),
    Mutant("eligibility before the limit", "grab", "  if #failed > 0 then", "  if #failed > 1 then"),
)
