"""One call of each command that makes it do all it can, for tests that hold for every command."""

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from grab_service.cell.replies import Question
from grab_service.cell.store import Cell
from grab_service.vocabulary.campaigns import BenefitKind
from tests.harness.cells import Member, Published, enrol, grab, now_ms, publish, won

POOL: Final = [f"code-{number}" for number in range(1, 11)]


async def furnish(cell: Cell) -> int:
    """A campaign with codes, with claims, with a unit that came back, and members; the seq of a claim of m2."""
    await enrol(cell, [f"m{number}" for number in range(1, 8)])
    campaign = Published(stock=5, limit_per_member=2, benefit_kind=BenefitKind.CODE_POOL)
    await publish(cell, campaign, codes=POOL)
    reply = await grab(cell, [("m1", "k"), ("m2", "k"), ("m3", "k")])
    await cell.return_unit("c", "m1", won(reply.answers[0]).seq, "returned")
    return won(reply.answers[1]).seq


Call = Callable[[Cell, int], Awaitable[Any]]

CALLS: Final[Mapping[str, Call]] = MappingProxyType(
    {
        "explain": lambda cell, _: cell.explain("c", Question.GRAB, ["m1", "k", "", "m4", "k", "x", "m2", "another", ""]),
        "grab": lambda cell, _: grab(cell, [("m1", "k"), ("m4", "k", "x"), ("m2", "another")]),
        "load_codes": lambda cell, _: cell.load_codes("c", 11, ["code-11", "code-12"]),
        "make_good": lambda cell, _: cell.make_good("c", "m4", "make_good k", "x", beyond_stock=True),
        "note_counts": lambda cell, _: cell.note_counts("w1", b'{"1":{"c":{"won":1}}}', "1:2:ab"),
        "publish_campaign": lambda cell, _: cell.publish_campaign("d", Published("d").fields(now_ms())),
        "publish_members": lambda cell, _: cell.publish_members(
            2, ["m1", Member(version=2).record(), "m9", Member(version=2).record()]
        ),
        "read_campaigns": lambda cell, _: cell.read_campaigns(["c"]),
        "read_claims": lambda cell, _: cell.read_claims("m2", ["c"]),
        "return_unit": lambda cell, claim_seq: cell.return_unit("c", "m2", claim_seq, "returned"),
        "scan_holders": lambda cell, _: cell.scan_holders(cell.keys.of_campaign("c").claims, b"0", 10),
        "set_state": lambda cell, _: cell.set_state("c", "pause"),
        "set_stock": lambda cell, _: cell.set_stock("c", 5, 4),
        "snapshot": lambda cell, _: cell.snapshot(["c"]),
        "tail": lambda cell, _: cell.tail(0, 100),
    }
)
"""By the command's name. After `furnish`, each writer writes to every key it can write to."""


def key_names(cell: Cell) -> list[str]:
    """Every key that a command could be given here, there or not."""
    keys = cell.keys
    names = [keys.cell, keys.log, keys.members, keys.campaigns, keys.counts, keys.workers]
    for campaign in (keys.of_campaign("c"), keys.of_campaign("d")):
        names += [campaign.campaign, campaign.claims, campaign.bindings, campaign.free, campaign.returns, campaign.codes]
    return names
