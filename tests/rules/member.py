"""Members: nobody wins who is no member, has left, or is blocked."""

from collections.abc import Iterator
from typing import Final

from grab_service.vocabulary.outcomes import Outcome
from tests.harness.lua_mutants import Mutant
from tests.harness.standing import Standing

OUTCOMES: Final = (Outcome.MEMBER_UNKNOWN, Outcome.MEMBER_BLOCKED)
OF_THE_MOMENT: Final = False


def refusals(standing: Standing) -> Iterator[str]:
    """The model of the rule."""
    member = standing.member
    if member is None or member.status == "left":
        yield "member_unknown"
    elif member.status != "active":
        yield "member_blocked\t"
    elif member.blocked_until_ms is not None and member.blocked_until_ms > standing.now_ms:
        yield f"member_blocked\t{member.blocked_until_ms}"


MUTANTS: Final = (
    Mutant("members are known and eligible", "grab", "  if not wish.record then", "  if false then"),
    Mutant("who left is unknown", "grab", "if status == 'left' then", "if status == 'gone' then"),
    Mutant("the blocklist", "grab", "elseif status ~= 'active' then", "elseif status == 'blocked' then"),
    Mutant(
        "a block ends when it ends",
        "grab",
        "tonumber(blocked_until_ms) > campaign.now_ms",
        "tonumber(blocked_until_ms) >= campaign.now_ms",
    ),
)
