"""Each rule gives back what it takes, and each of its functions has a mutant."""

import random
import re
from pathlib import Path
from typing import Any, Final

import pytest
from redis.asyncio import Redis

from grab_service.cell.store import Cell
from grab_service.vocabulary.campaigns import BenefitKind, Release
from tests.harness.cells import Published, enrol, grab, now_ms, publish, won
from tests.rules import MUTANTS

RULES: Final = sorted((Path(__file__).parents[2] / "lua/rules").glob("*.lua"))
_FUNCTION: Final = re.compile(r"^local function (\w+)\(.*?^end$", re.DOTALL | re.MULTILINE)
_NAMES: Final = ("refuse", "take", "give_back", "applies", "prepare")
MEMBERS: Final = [f"m{number}" for number in range(30)]


def functions_of(path: Path) -> dict[str, str]:
    """The functions of a rule by name, with their text."""
    return {match[1]: match[0] for match in _FUNCTION.finditer(path.read_text(encoding="utf-8"))}


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_a_rule_has_the_functions_of_a_rule_and_gives_back_what_it_takes(path: Path) -> None:
    names = {name.removeprefix(f"{path.stem}_") for name in functions_of(path)}
    assert "refuse" in names
    assert names <= set(_NAMES)
    assert ("take" in names) == ("give_back" in names)


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_every_function_of_a_rule_has_a_mutant(path: Path) -> None:
    for name, text in functions_of(path).items():
        assert any(mutant.written.strip() in text for mutant in MUTANTS), f"no mutant changes {name}"


async def _state(raw: Redis, cell: Cell) -> dict[str, Any]:
    """What a campaign has to give and has given, however it is spread over new and returned units."""
    keys = cell.keys.of_campaign("c")
    facts: Any = await raw.hgetall(keys.campaign)
    issued = int(facts.pop(b"issued"))
    units: Any = await raw.zrange(keys.free, 0, -1)
    free = set(map(int, units))
    return {
        "facts": facts,
        "claims": await raw.hgetall(keys.claims),
        "units_in_hands": set(range(1, issued + 1)) - free,
        "codes": sorted(await raw.lrange(keys.codes, 0, -1)),
    }


@pytest.mark.parametrize("seed", range(12))
async def test_what_wins_have_taken_their_returns_give_back(seed: int, armed_cell: Cell, raw: Redis) -> None:
    dice = random.Random(seed)
    await enrol(armed_cell, MEMBERS)
    kind = dice.choice(list(BenefitKind))
    releases = (Release(now_ms() - 2000, dice.randint(1, 20)), Release(now_ms() - 1000, dice.randint(1, 20)))
    campaign = Published(releases=releases, limit_per_member=dice.choice([1, 2, 3]), benefit_kind=kind)
    codes = [f"pool-{number}" for number in range(sum(release.quantity for release in releases) + dice.randint(0, 3))]
    await publish(armed_cell, campaign, codes=codes if kind is BenefitKind.CODE_POOL else [])
    before_all = [(dice.choice(MEMBERS), f"k{number}", f"code-{number}") for number in range(dice.randint(0, 20))]
    await grab(armed_cell, before_all or [("m0", "k", "code")])
    before = await _state(raw, armed_cell)
    wishes = [(dice.choice(MEMBERS), f"more-{number}", f"more-{number}") for number in range(dice.randint(5, 40))]
    reply = await grab(armed_cell, wishes)
    claims = [(wish[0], won(said).seq) for wish, said in zip(wishes, reply.answers, strict=True) if said.startswith(b"won\t")]
    assert claims or reply.available == 0 or kind is not BenefitKind.NONE
    dice.shuffle(claims)
    for member_id, seq in claims:
        assert (await armed_cell.return_unit("c", member_id, seq, dice.choice(["returned", "lapsed"]))).outcome == "returned"
    assert await _state(raw, armed_cell) == before
