"""The window of a campaign: nobody wins before it opens, after it closes, or while ops have stopped it."""

from collections.abc import Iterator
from typing import Final

from grab_service.vocabulary.outcomes import Outcome
from tests.harness.lua_mutants import Mutant
from tests.harness.standing import Standing

OUTCOMES: Final = (Outcome.CANCELLED, Outcome.ENDED, Outcome.NOT_OPEN_YET, Outcome.PAUSED)
OF_THE_MOMENT: Final = True


def refusals(standing: Standing) -> Iterator[str]:
    """The model of the rule."""
    if standing.state == "cancelled":
        yield "cancelled"
    if standing.state == "closed" or standing.now_ms >= standing.closes_at_ms:
        yield "ended"
    if standing.now_ms < standing.opens_at_ms:
        yield "not_open_yet"
    if standing.state == "paused":
        yield "paused"


MUTANTS: Final = (
    Mutant(
        "opening, to the millisecond",
        "grab",
        "elseif now_ms < opens_at_ms then",
        "elseif now_ms + 1 < opens_at_ms then",
    ),
    Mutant("opening, not later", "grab", "elseif now_ms < opens_at_ms then", "elseif now_ms <= opens_at_ms then"),
    Mutant("closing, to the millisecond", "grab", "now_ms >= closes_at_ms then", "now_ms > closes_at_ms then"),
    Mutant("closed by ops", "grab", "state == 'closed' or ", ""),
    Mutant("paused", "grab", "elseif state == 'paused' then", "elseif state == 'pause' then"),
    Mutant(
        "cancelled comes before ended",
        "grab",
        "if state == 'cancelled' then",
        "if state == 'cancelled' and now_ms < closes_at_ms then",
    ),
    Mutant("the next release is not there yet", "grab", "if at_ms <= now_ms then", "if at_ms <= now_ms + 1 then"),
    Mutant("the next release is there on time", "grab", "if at_ms <= now_ms then", "if at_ms < now_ms then"),
    Mutant("no release comes with the closing", "grab", "and at_ms < closes_at_ms and", "and at_ms <= closes_at_ms and"),
    Mutant("nobody wins outside the window", "grab", "  return campaign.window_phase\n", "  return nil\n"),
)
