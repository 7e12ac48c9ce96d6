"""A series of rounds: a fault under load, lifted, the sale resumes; after each block of rounds, the verdict.

One district serves a whole series. A block of rounds has a campaign of its own, which is sold out to the last unit at the
end of the block, so that both too many and too few show.
"""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from grab_service.vocabulary.passes import Role, mint_ops
from loadtest.service import Service
from loadtest.verifier.truth import parse_claims
from tests.faults.fault import Fault
from tests.faults.verdict import SeriesVerdict, judge
from tests.harness.crowd import Crowd
from tests.harness.district import District

CLIENTS: Final = 24
THINK_S: Final = 0.05
FINISH_S: Final = 120.0
OVER_DEMAND: Final = 1.05
"""Members for each unit."""


class NotResumedError(AssertionError):
    """The sale did not go on after the fault was lifted."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Size of a series. The stock of a block should outlast its rounds: a round takes some 500 units."""

    rounds: int
    rounds_of_block: int
    stock: int

    @property
    def members(self) -> int:
        """The number of members."""
        return int(self.stock * OVER_DEMAND)


@dataclass(slots=True)
class Series:
    """The result of a series of one fault."""

    fault: Fault
    rounds: int = 0
    resume_s: list[float] = field(default_factory=list)
    before_audit: int = 0
    verdict: SeriesVerdict = field(default_factory=SeriesVerdict)
    figures: dict[str, float] = field(default_factory=dict)


async def run_series(district: District, faults: Sequence[Fault], scale: Scale, seed: int) -> dict[str, Series]:
    """Make so many rounds of each fault, in turn, and judge; a campaign that is judged counts for all its faults.

    Raises:
        NotResumedError: the sale did not go on.
    """
    dice = random.Random(seed)
    series = {fault.name: Series(fault) for fault in faults}
    to_do = [fault for _ in range(scale.rounds) for fault in faults if fault.rounds_max > 0]
    if len(faults) == 1:
        to_do = to_do[: faults[0].rounds_max]
    block = 0
    while to_do:
        block += 1
        began_s = time.monotonic()
        verdict, done = await _block(district, series, to_do[: scale.rounds_of_block], scale, block, dice)
        to_do = to_do[done:]
        for one in series.values():
            one.verdict.add(verdict)
            one.figures = dict(district.figures)
        print(f"  block {block}: {done} rounds in {time.monotonic() - began_s:.0f} s, {verdict}", flush=True)  # noqa: T201
    return series


async def _block(
    district: District, series: dict[str, Series], faults: list[Fault], scale: Scale, block: int, dice: random.Random
) -> tuple[SeriesVerdict, int]:
    campaign_id = await district.open_campaign(scale.stock)
    receipts = district.home / f"block-{block}.receipts"
    crowd = district.crowd = Crowd(
        district.settings.port, campaign_id, district.members, receipts, clients=CLIENTS, think_s=THINK_S
    )
    crowd.start()
    done = 0
    try:
        for fault in faults:
            if await crowd.won_since(_now_us(), fault.patience_s) is None:
                break  # sold out before the rounds were over: the rest goes to the next block
            await _round(district, crowd, series[fault.name], dice)
            done += 1
        await district.restore()
        await crowd.finish(FINISH_S)
    except BaseException:
        await crowd.abandon()
        raise
    assert not crowd.oddities, crowd.oddities[:3]
    audit = await district.until(lambda: _audit(district), pause_s=0.3)
    verdict = await asyncio.to_thread(_judge, district, campaign_id, receipts, audit, crowd.asked)
    return verdict, done


async def _round(district: District, crowd: Crowd, series: Series, dice: random.Random) -> None:
    fault = series.fault
    crowd.wins_log.clear()
    struck_us = _now_us()
    act = fault.act(district, dice)
    await anext(act)
    lifted_us = _now_us()
    async for _ in act:
        raise AssertionError(f"{fault.name} yields once")
    try:
        resumed_us = await crowd.won_since(lifted_us, fault.patience_s)
    except TimeoutError:
        said = [event for _, event in district.ledger_events(struck_us)]
        raise NotResumedError(f"{fault.name}: no win for {fault.patience_s:.0f} s; the ledger said {said[-12:]}") from None
    series.rounds += 1
    if resumed_us is not None:
        series.resume_s.append((resumed_us - lifted_us) / 1e6)
        if fault.closes:
            series.before_audit += _wins_before_audit(district, crowd, struck_us, lifted_us)


def _wins_before_audit(district: District, crowd: Crowd, struck_us: int, lifted_us: int) -> int:
    """Wins decided after the fault was lifted and before the audit that armed the cell anew had begun.

    By Redis' clock, not by when the answer was heard: one that was decided before the fault may be heard after it.
    """
    began_us = 0
    for at_us, event in district.ledger_events(struck_us):
        if event in {"cell_judged", "recovery_done"}:
            began_us = at_us
        elif event == "cell_armed" and began_us:
            break
    else:
        began_us = _now_us()  # nobody armed anything: every win since then is one too early
    return sum(lifted_us <= granted_ms * 1000 < began_us for _, granted_ms in crowd.wins_log)


async def _audit(district: District) -> dict[str, Any] | None:
    """The audit once the log is drained."""
    async with district.ops() as ops:
        answer = await ops.get("/v1/ops/audit")
        return answer.json() if answer.status_code == 200 else None


def _judge(district: District, campaign_id: str, receipts: Path, audit: dict[str, Any], asked: int) -> SeriesVerdict:
    now_s = int(time.time())
    token = mint_ops(district.settings.pass_keys(), "faults", Role.ADMIN, now_s, now_s + 3600)
    with Service(f"http://127.0.0.1:{district.settings.port}", timeout_s=60) as service:
        facts = service.campaign(campaign_id)
        truth = parse_claims(service.claims_csv(campaign_id, token))
    return judge(receipts, facts, truth, audit, asked)


def _now_us() -> int:
    return time.time_ns() // 1000
