"""A crowd takes the stock, not one unit more and not one less.

Several callers with connections of their own ask at once, for 5,000 members and 300 units, in batches of every size, with
repeats; the scripts, the clock and the server are as they are in earnest.
"""

import asyncio
import random
from collections import Counter, defaultdict
from dataclasses import dataclass, field

import pytest
from redis.asyncio import Redis

from grab_service.cell.connect import connect
from grab_service.cell.scripts import ScriptSources
from grab_service.cell.store import Cell
from grab_service.vocabulary.campaigns import BenefitKind, Release
from grab_service.vocabulary.claims import ClaimRecord
from tests.harness.cells import Published, enrol, grab, now_ms, publish, word
from tests.lua.observed import observe, replay

CALLERS = 6
MEMBERS = [f"m{number}" for number in range(5000)]
STOCK = 300


@dataclass
class Heard:
    """What members were told, over all callers: the outcomes, and every record of a claim."""

    outcomes: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    records: dict[tuple[str, str], set[str]] = field(default_factory=lambda: defaultdict(set))
    too_early: int = 0

    def hear(self, wish: tuple[str, str, str], answer: bytes) -> None:
        self.outcomes[wish[:2]].append(word(answer))
        outcome, _, record = answer.decode().partition("\t")
        if outcome in {"won", "held"}:
            self.records[wish[:2]].add(record)

    def counted(self) -> Counter[str]:
        return Counter(outcome for outcomes in self.outcomes.values() for outcome in outcomes)


async def ask(valkey_url: str, name: str, sources: ScriptSources, wishes: list[tuple[str, str, str]], heard: Heard) -> None:
    """One caller: its wishes in its order, in batches of every size, a few at a time, as a worker does."""
    client = connect(valkey_url, connections_max=4, timeout_s=30)
    cell = Cell(client, name, sources)
    dice = random.Random(repr(wishes[:5]))

    async def carry() -> None:
        while wishes:
            size = dice.choice([1, 2, 7, 50, 256])
            batch, wishes[:] = wishes[:size], wishes[size:]
            reply = await grab(cell, batch)
            for wish, answer in zip(batch, reply.answers, strict=True):
                heard.hear(wish, answer)
            heard.too_early += reply.now_ms < reply.opens_at_ms and any(word(a) == "won" for a in reply.answers)

    await asyncio.gather(*(carry() for _ in range(3)))
    await client.aclose()


@pytest.mark.parametrize("kind", [BenefitKind.GENERATED_CODE, BenefitKind.CODE_POOL])
@pytest.mark.parametrize("limit", [1, 2])
async def test_a_crowd_takes_the_stock_and_not_one_more(
    limit: int, kind: BenefitKind, armed_cell: Cell, valkey_url: str, sources: ScriptSources, raw: Redis
) -> None:
    codes = [f"pool-{number:05}" for number in range(STOCK)]
    opens_at_ms = now_ms() + 300
    releases = (Release(opens_at_ms, 200), Release(opens_at_ms + 150, STOCK - 200))
    campaign = Published(releases=releases, limit_per_member=limit, benefit_kind=kind)
    await enrol(armed_cell, MEMBERS)
    await publish(armed_cell, campaign, codes=codes if kind is BenefitKind.CODE_POOL else ())

    dice = random.Random(11)
    heard = Heard()
    everybody = [(name, key) for name in MEMBERS for key in (["k1", "k2"] if limit > 1 else [""])]
    while not heard.counted()["sold_out"] or now_ms() < opens_at_ms + 200:
        crowd = []
        for caller in range(CALLERS):
            wishes = dice.sample(everybody, len(everybody) // 4) + dice.choices(everybody[:50], k=100)
            wished = [(*wish, f"code-{caller}-{n}-{dice.random()}") for n, wish in enumerate(wishes)]
            crowd.append(ask(valkey_url, armed_cell.name, sources, wished, heard))
        await asyncio.gather(*crowd)

    outcomes = heard.counted()
    assert outcomes["won"] == STOCK
    assert outcomes.keys() <= {"won", "held", "sold_out", "not_open_yet", "per_member_limit"}
    assert heard.too_early == 0
    assert all(told.count("won") <= 1 for told in heard.outcomes.values())
    assert all(len(records) == 1 for records in heard.records.values()), "somebody was told of one claim in two ways"

    claims = [ClaimRecord.parse(record.encode()) for records in heard.records.values() for record in records]
    assert sorted(claim.unit_no for claim in claims) == list(range(1, STOCK + 1))
    assert len({claim.code for claim in claims}) == STOCK
    assert Counter(name for name, _ in heard.records).most_common(1)[0][1] <= limit

    now = await observe(raw, armed_cell.keys, ["c"])
    pool = {"c": codes} if kind is BenefitKind.CODE_POOL else {}
    assert replay(now.log, pool)["c"] == now.campaigns["c"]
    assert [entry.seq for entry in now.log] == [1, *(entry.last_seq + 1 for entry in now.log[:-1])]
    assert now.log[-1].last_seq == now.seq
    assert {(name, record.idempotency_key): record.encode() for name, record in now.campaigns["c"].held} == {
        wish: next(iter(records)) for wish, records in heard.records.items()
    }
    granted = [claim.seq for claim in sorted(claims, key=lambda claim: claim.seq)]
    assert granted == list(range(now.seq - STOCK + 1, now.seq + 1)), "the log holds claims that nobody heard of"
