"""The stock: units and codes that are released and in nobody's hands."""

from collections.abc import Iterator, Sequence
from typing import Final

from grab_service.vocabulary.claims import ClaimRecord
from grab_service.vocabulary.outcomes import Outcome
from tests.harness.lua_mutants import Mutant
from tests.harness.standing import Standing

OUTCOMES: Final = (Outcome.SOLD_OUT,)
OF_THE_MOMENT: Final = True


def refusals(standing: Standing) -> Iterator[str]:
    """The model of the rule."""
    if standing.available < 1:
        yield "sold_out"


def counters(held: Sequence[ClaimRecord], free_units: int) -> dict[str, int]:
    """The model of its counters."""
    return {
        "active": len(held),
        "issued": len(held) + free_units,
        "unit_sum": sum(record.unit_no for record in held),
        "seq_sum": sum(record.seq for record in held),
    }


MUTANTS: Final = (
    Mutant("sold out", "grab", "if campaign.available < 1 or", "if campaign.available < 0 or"),
    Mutant("not sold out too soon", "grab", "if campaign.available < 1 or", "if campaign.available < 2 or"),
    Mutant("a batch counts its own wins", "grab", "  campaign.available = campaign.available - 1\n", ""),
    Mutant("claims are counted", "grab", "campaign.active = campaign.active + 1", ""),
    Mutant(
        "units are counted",
        "grab",
        "    unit_no = campaign.issued\n",
        "    unit_no = campaign.issued\n    campaign.issued = campaign.issued - 1\n",
    ),
    Mutant(
        "sums are kept", "grab", "campaign.unit_sum = campaign.unit_sum + unit_no", "campaign.unit_sum = campaign.unit_sum + 1"
    ),
    Mutant(
        "codes are given in order", "grab", "code = campaign.free_codes[campaign.codes_taken]", "code = campaign.free_codes[1]"
    ),
    Mutant(
        "units in hands are not there",
        "grab",
        "campaign.available = campaign.released - campaign.active",
        "campaign.available = campaign.released",
    ),
    Mutant("the count goes down", "return_unit", "campaign.active = campaign.active - 1", ""),
    Mutant(
        "only the code of a pool goes back",
        "return_unit",
        "campaign.benefit_kind == 'code_pool' and given.code or ''",
        "given.code",
    ),
)
