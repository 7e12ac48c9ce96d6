"""The commands that only read tell the whole truth of one moment."""

import pytest
from redis.asyncio import Redis

from grab_service.audit.cut import FACTS, SIZES
from grab_service.cell.store import Cell
from grab_service.vocabulary import events
from grab_service.vocabulary.campaigns import BenefitKind, decode_releases
from grab_service.vocabulary.claims import parse_holding
from tests.harness.cells import Published, enrol, everything, grab, log_of, now_ms, publish, won
from tests.harness.every_command import CALLS, furnish
from tests.rules import counters

READERS = ["read_campaigns", "read_claims", "scan_holders", "snapshot", "tail"]


@pytest.mark.parametrize("name", READERS)
async def test_reading_changes_nothing(name: str, armed_cell: Cell, raw: Redis) -> None:
    claim_seq = await furnish(armed_cell)
    before = await everything(raw, armed_cell)
    await CALLS[name](armed_cell, claim_seq)
    assert await everything(raw, armed_cell) == before


# tail


async def test_the_tail_is_the_log_after_a_seq_and_the_clock(armed_cell: Cell, raw: Redis) -> None:
    await furnish(armed_cell)
    log = await log_of(raw, armed_cell)
    for after in range(armed_cell.seen_seq + 1):
        before_ms = now_ms()
        reply = await armed_cell.tail(after, 100)
        assert before_ms <= reply.now_ms <= now_ms()
        assert reply.seq == armed_cell.seen_seq
        assert [events.decode(*entry) for entry in reply.entries] == [entry for entry in log if entry.last_seq > after]


async def test_the_tail_comes_in_pages_that_join_without_a_gap(armed_cell: Cell, raw: Redis) -> None:
    await furnish(armed_cell)
    seen: list[events.Event] = []
    after = 0
    while len(page := (await armed_cell.tail(after, 2)).entries) == 2:
        seen += [events.decode(*entry) for entry in page]
        after = seen[-1].last_seq
    assert seen + [events.decode(*entry) for entry in page] == await log_of(raw, armed_cell)


async def test_at_the_end_of_the_log_the_tail_is_empty(armed_cell: Cell) -> None:
    assert (await armed_cell.tail(0, 10)).entries == []
    await furnish(armed_cell)
    assert (await armed_cell.tail(armed_cell.seen_seq, 10)).entries == []


# read_campaigns


async def test_all_campaigns_are_named_and_those_asked_for_are_told(armed_cell: Cell) -> None:
    await furnish(armed_cell)
    await publish(armed_cell, Published("d"))
    await armed_cell.load_codes("e", 1, ["ahead"])
    reply = await armed_cell.read_campaigns(["d", "c", "e", "nobody's"])
    assert sorted(reply.campaign_ids) == ["c", "d"]
    assert reply.campaigns.keys() == {"c", "d"}
    assert (reply.campaigns["c"].active, reply.campaigns["c"].issued, reply.campaigns["c"].codes_loaded) == (2, 3, 10)
    assert (reply.campaigns["d"].active, reply.campaigns["d"].benefit_kind) == (0, BenefitKind.NONE)
    assert reply.seq == armed_cell.seen_seq
    assert abs(reply.now_ms - now_ms()) < 10_000


# read_claims


async def test_a_members_claims_are_told_campaign_by_campaign(armed_cell: Cell) -> None:
    await enrol(armed_cell, ["m1", "m2"])
    for name in ("c", "d", "e"):
        await publish(armed_cell, Published(name, stock=5, limit_per_member=2))
    first = await grab(armed_cell, [("m1", "a"), ("m2", "a"), ("m1", "b")], "c")
    second = await grab(armed_cell, [("m1", "a")], "e")
    holdings = await armed_cell.read_claims("m1", ["e", "d", "c", "nobody's"])
    assert [parse_holding(holding) for holding in holdings] == [
        [won(second.answers[0])],
        [],
        [won(first.answers[0]), won(first.answers[2])],
        [],
    ]


# scan_holders


@pytest.mark.parametrize("holders", [0, 3, 1200])
async def test_a_walk_through_the_holders_meets_everybody(holders: int, armed_cell: Cell) -> None:
    names = [f"m{number}" for number in range(holders)]
    await enrol(armed_cell, names)
    await publish(armed_cell, Published(stock=max(holders, 1)))
    for start in range(0, holders, 256):
        await grab(armed_cell, [(name, "k") for name in names[start : start + 256]])
    keys = armed_cell.keys.of_campaign("c")
    for key, expected in ((keys.claims, names), (keys.bindings, [f"{name}\tk" for name in names])):
        found: set[str] = set()
        cursor = b"0"
        while True:
            cursor, fields = await armed_cell.scan_holders(key, cursor, 100)
            found |= {field.decode() for field in fields}
            if cursor == b"0":
                break
        assert found == set(expected)


# snapshot


async def test_a_snapshot_has_the_counters_of_all_campaigns_at_one_seq(armed_cell: Cell) -> None:
    await furnish(armed_cell)
    await publish(armed_cell, Published("d", stock=4))
    reply = await armed_cell.snapshot(["c", "d", "nobody's"])
    c, d, unknown = (dict(campaign) for campaign in reply.campaigns)
    assert (reply.epoch, reply.seq, reply.members_version) == (1, armed_cell.seen_seq, 1)
    assert abs(reply.now_ms - now_ms()) < 10_000
    assert c.pop(b"state") == b"scheduled"
    assert [release.quantity for release in decode_releases(bytes(c.pop(b"releases")).decode())] == [5]
    held = [record for name in ("m2", "m3") for record in parse_holding((await armed_cell.read_claims(name, ["c"]))[0])]
    assert {name.decode(): int(number) for name, number in c.items()} == {
        **counters(held, free_units=1),
        "codes_loaded": 10,
        "holders": 2,
        "free_units": 1,
        "returns": 1,
        "free_codes": 8,
    }
    assert {name: int(number) for name, number in d.items() if name in c} == dict.fromkeys(c, 0)
    assert set(unknown.values()) == {b"", 0}
    assert unknown.keys() == d.keys() == c.keys() | {b"state", b"releases"}


async def test_what_a_snapshot_counts_is_what_the_rules_and_the_audit_name(armed_cell: Cell) -> None:
    (campaign,) = (await armed_cell.snapshot(["c"])).campaigns
    assert {name.decode() for name in campaign} == {*FACTS, *SIZES}


async def test_a_snapshot_of_no_campaign_tells_of_the_cell(armed_cell: Cell) -> None:
    reply = await armed_cell.snapshot([])
    assert (reply.epoch, reply.seq, reply.members_version, reply.campaigns) == (1, 0, 0, [])
