"""Guards of the checker of histories itself."""

from functools import partial
from typing import Final

from tests.mutants.mutant import Mutant

_in_witness = partial(Mutant, "loadtest/verifier/witness.py")
_LIES: Final = "tests/unit/test_histories.py::test_both_find_every_lie"
_BY_CHANCE: Final = "tests/unit/test_histories.py::test_whatever_the_witness_lets_pass_is_linearizable"

MUTANTS: Final = (
    _in_witness(
        "witness_time",
        "an answer that came before another request does not lie behind it",
        "the witness looks at no time",
        "            highest = max(highest, place)\n",
        "            highest = BEFORE_ALL\n",
        (f"{_LIES}[won_before_the_unit_came_back]", _BY_CHANCE),
        short=True,
    ),
    _in_witness(
        "witness_sold_out",
        'the witness believes a "sold out" only while every unit was taken',
        "it always does",
        "        place = self.sold_out[number]",
        "        return gap",
        (f"{_LIES}[sold_out_while_a_unit_was_back]", _BY_CHANCE),
    ),
    _in_witness(
        "witness_askers",
        "the witness wants to see who asked for a claim that nobody was told of",
        "it does not",
        "            if sum(low < claim.granted_at for low in maybes[caller]) < count:",
        "            if False:",
        (f"{_LIES}[a_refusal_with_an_effect]", f"{_LIES}[an_effect_before_its_request]"),
    ),
    _in_witness(
        "witness_returns",
        "the witness wants to see that the holder asked to give back",
        "anybody's request will do",
        "        asked = returns[claim.grant.caller, claim_id]\n",
        "        asked = [low for (_, named), lows_of in returns.items() if named == claim_id for low in lows_of]\n",
        (f"{_LIES}[given_back_at_the_request_of_somebody_else]", _BY_CHANCE),
    ),
    _in_witness(
        "witness_units",
        "the witness lets no unit be in two hands",
        "it does not look",
        "        if other is not None and not other.grant.lapsed:",
        "        if False:",
        (f"{_LIES}[two_members_have_one_unit]",),
    ),
)
