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


async def _grab(cell: Cell, claim_seq: int) -> Any:
    return await grab(cell, [("m1", "k"), ("m4", "k", "x"), ("m2", "another")])


async def _explain(cell: Cell, claim_seq: int) -> Any:
    return await cell.explain("c", Question.GRAB, ["m1", "k", "", "m4", "k", "x", "m2", "another", ""])


async def _load_codes(cell: Cell, claim_seq: int) -> Any:
    return await cell.load_codes("c", 11, ["code-11", "code-12"])


async def _publish_campaign(cell: Cell, claim_seq: int) -> Any:
    return await cell.publish_campaign("d", Published("d").fields(now_ms()))


async def _publish_members(cell: Cell, claim_seq: int) -> Any:
    return await cell.publish_members(2, ["m1", Member(version=2).record(), "m9", Member(version=2).record()])


async def _read_campaigns(cell: Cell, claim_seq: int) -> Any:
    return await cell.read_campaigns(["c"])


async def _read_claims(cell: Cell, claim_seq: int) -> Any:
    return await cell.read_claims("m2", ["c"])


async def _return_unit(cell: Cell, claim_seq: int) -> Any:
    return await cell.return_unit("c", "m2", claim_seq, "returned")


async def _scan_holders(cell: Cell, claim_seq: int) -> Any:
    return await cell.scan_holders(cell.keys.of_campaign("c").claims, b"0", 10)


async def _set_state(cell: Cell, claim_seq: int) -> Any:
    return await cell.set_state("c", "pause")


async def _set_stock(cell: Cell, claim_seq: int) -> Any:
    return await cell.set_stock("c", 5, 4)


async def _snapshot(cell: Cell, claim_seq: int) -> Any:
    return await cell.snapshot(["c"])


async def _tail(cell: Cell, claim_seq: int) -> Any:
    return await cell.tail(0, 100)


Call = Callable[[Cell, int], Awaitable[Any]]

CALLS: Final[Mapping[str, Call]] = MappingProxyType(
    {
        "explain": _explain,
        "grab": _grab,
        "load_codes": _load_codes,
        "publish_campaign": _publish_campaign,
        "publish_members": _publish_members,
        "read_campaigns": _read_campaigns,
        "read_claims": _read_claims,
        "return_unit": _return_unit,
        "scan_holders": _scan_holders,
        "set_state": _set_state,
        "set_stock": _set_stock,
        "snapshot": _snapshot,
        "tail": _tail,
    }
)
"""By the command's name. After `furnish`, each writer writes to every key it can write to."""


def key_names(cell: Cell) -> list[str]:
    """Every key that a command could be given here, there or not."""
    keys = cell.keys
    names = [keys.cell, keys.log, keys.members, keys.campaigns]
    for campaign in (keys.of_campaign("c"), keys.of_campaign("d")):
        names += [campaign.campaign, campaign.claims, campaign.bindings, campaign.free, campaign.returns, campaign.codes]
    return names
