"""A grab gives records, units and codes, one claim to a key, and only while the window is open."""

import asyncio
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from grab_service.cell.replies import Question
from grab_service.cell.store import Cell
from grab_service.vocabulary import events, voucher_codes
from grab_service.vocabulary.campaigns import BenefitKind, Release
from grab_service.vocabulary.claims import ClaimRecord, ClaimState, parse_holding
from tests.harness.cells import (
    HOUR_MS,
    Member,
    Published,
    enrol,
    everything,
    grab,
    held,
    log_of,
    now_ms,
    publish,
    won,
    word,
    words,
)

MEMBERS = [f"m{number}" for number in range(1, 10)]


@pytest.fixture
async def cell(armed_cell: Cell) -> Cell:
    await enrol(armed_cell, MEMBERS)
    return armed_cell


# What a win says


async def test_a_win_says_which_unit_when_where_in_the_log_and_under_which_key(cell: Cell) -> None:
    seq = await publish(cell, Published(stock=3))
    before_ms = now_ms()
    reply = await grab(cell, [("m1", "tap-1")])
    assert before_ms <= reply.now_ms <= now_ms()
    assert reply.seq == seq + 1
    assert won(reply.answers[0]) == ClaimRecord(
        seq=seq + 1, epoch=1, unit_no=1, ordinal=1, granted_at_ms=reply.now_ms, code="", idempotency_key="tap-1"
    )
    assert won(reply.answers[0]).encode().encode() == reply.answers[0].removeprefix(b"won\t")


async def test_the_reply_says_what_is_left_and_when_the_next_units_come(cell: Cell) -> None:
    at_ms = now_ms()
    releases = (Release(at_ms - 1000, 2), Release(at_ms - 500, 3), Release(at_ms + HOUR_MS // 2, 5))
    await publish(cell, Published(releases=releases))
    reply = await grab(cell, ["m1", "m2", "stranger"])
    assert (reply.available, reply.opens_at_ms, reply.next_release_at_ms) == (3, at_ms - 1000, at_ms + HOUR_MS // 2)


async def test_a_release_that_closing_or_a_cut_of_the_stock_has_taken_away_is_not_promised(cell: Cell) -> None:
    at_ms = now_ms()
    await publish(cell, Published("late", (Release(at_ms - 1, 1), Release(at_ms + 2 * HOUR_MS, 1))))
    assert (await grab(cell, ["m1", "m2"], "late")).next_release_at_ms is None
    await publish(cell, Published("cut", (Release(at_ms - 1, 2), Release(at_ms + 1000_000, 1), Release(at_ms + 2000_000, 1))))
    assert (await cell.set_stock("cut", 4, 3)).outcome == "stock_set"
    assert (await grab(cell, ["m1"], "cut")).next_release_at_ms == at_ms + 1000_000
    assert (await cell.set_stock("cut", 3, 2)).outcome == "stock_set"
    assert (await grab(cell, ["m1"], "cut")).next_release_at_ms is None


async def test_units_are_numbered_from_one_to_the_last_and_no_further(cell: Cell) -> None:
    await publish(cell, Published(stock=7))
    reply = await grab(cell, MEMBERS)
    assert [won(answer).unit_no for answer in reply.answers[:7]] == [1, 2, 3, 4, 5, 6, 7]
    assert words(reply)[7:] == ["sold_out", "sold_out"]
    assert reply.available == 0


async def test_a_unit_that_came_back_goes_first_the_lowest_before_all(cell: Cell) -> None:
    await publish(cell, Published(stock=6))
    first = await grab(cell, MEMBERS[:5])
    for member in (3, 1):
        await cell.return_unit("c", MEMBERS[member], won(first.answers[member]).seq, "returned")
    reply = await grab(cell, MEMBERS[5:])
    assert [won(answer).unit_no for answer in reply.answers[:3]] == [2, 4, 6]
    assert words(reply)[3:] == ["sold_out"]


async def test_codes_of_a_pool_are_given_in_their_order_and_each_once(cell: Cell) -> None:
    codes = ["one", "two", "three", "four"]
    await publish(cell, Published(stock=3, benefit_kind=BenefitKind.CODE_POOL), codes=codes)
    first = await grab(cell, [("m1", "", "mine")])
    reply = await grab(cell, ["stranger", "m2", "m1", "m3", "m4"])
    assert [won(first.answers[0]).code, won(reply.answers[1]).code, won(reply.answers[3]).code] == codes[:3]
    assert words(reply) == ["member_unknown", "won", "held", "won", "sold_out"]


async def test_a_generated_code_is_the_candidate_that_came_with_the_member(cell: Cell) -> None:
    await publish(cell, Published(stock=2, benefit_kind=BenefitKind.GENERATED_CODE))
    codes = voucher_codes.generate(4)
    reply = await grab(cell, [(name, "", code) for name, code in zip(["x", "m2", "m3", "m4"], codes, strict=True)])
    assert words(reply) == ["member_unknown", "won", "won", "sold_out"]
    assert [won(answer).code for answer in reply.answers[1:3]] == codes[1:3]


async def test_without_a_benefit_no_code_is_kept(cell: Cell) -> None:
    await publish(cell, Published())
    assert won((await grab(cell, [("m1", "", "candidate")])).answers[0]).code == ""


# One claim to a member, or to a key


async def test_a_member_who_is_in_a_batch_twice_wins_once_and_hears_of_the_same_claim(cell: Cell) -> None:
    await publish(cell, Published(stock=5))
    reply = await grab(cell, ["m1", "m1", ("m1", "k"), "m2", "m1"])
    assert words(reply) == ["won", "held", "held", "won", "held"]
    for again in (1, 2, 4):
        assert held(reply.answers[again]) == ("fulfilled", won(reply.answers[0]))
    assert reply.available == 3


async def test_fifty_taps_at_once_over_many_connections_are_one_claim(cell: Cell) -> None:
    await publish(cell, Published(stock=60))
    replies = await asyncio.gather(*(grab(cell, [("m1", f"tap-{number}")]) for number in range(50)))
    answers = [reply.answers[0] for reply in replies]
    assert sorted(map(word, answers)) == ["held"] * 49 + ["won"]
    assert len({answer.partition(b"\t")[2] for answer in answers}) == 1


async def test_below_the_limit_every_key_is_a_wish_and_a_repeat_of_it_is_none(cell: Cell) -> None:
    await publish(cell, Published(stock=9, limit_per_member=3))
    reply = await grab(cell, [("m1", "a"), ("m1", "b"), ("m1", "a"), ("m1", "c"), ("m1", "d"), ("m1", "b"), ("m2", "a")])
    assert words(reply) == ["won", "won", "held", "won", "per_member_limit", "held", "won"]
    assert held(reply.answers[2]) == ("fulfilled", won(reply.answers[0]))
    assert held(reply.answers[5]) == ("fulfilled", won(reply.answers[1]))
    assert [won(reply.answers[at]).ordinal for at in (0, 1, 3, 6)] == [1, 2, 3, 1]
    assert reply.answers[4] == b"per_member_limit\t3\t3"
    holding = await cell.read_claims("m1", ["c"])
    assert [record.idempotency_key for record in parse_holding(holding[0])] == ["a", "b", "c"]


async def test_an_ordinal_that_came_free_is_the_next_to_be_taken(cell: Cell) -> None:
    await publish(cell, Published(stock=9, limit_per_member=3))
    first = await grab(cell, [("m1", "a"), ("m1", "b"), ("m1", "c")])
    await cell.return_unit("c", "m1", won(first.answers[1]).seq, "returned")
    reply = await grab(cell, [("m1", "d"), ("m1", "e")])
    assert won(reply.answers[0]).ordinal == 2
    assert words(reply) == ["won", "per_member_limit"]


async def test_a_key_stays_bound_to_its_claim_when_the_claim_is_given_back(cell: Cell) -> None:
    await publish(cell, Published(stock=9, limit_per_member=2))
    first = await grab(cell, [("m1", "a")])
    assert (await cell.return_unit("c", "m1", won(first.answers[0]).seq, "returned"))[0] == "returned"
    again = await grab(cell, [("m1", "a"), ("m1", "b"), ("m1", "c"), ("m1", "d")])
    assert held(again.answers[0]) == ("returned", replace(won(first.answers[0]), state=ClaimState.RETURNED))
    assert words(again)[1:] == ["won", "won", "per_member_limit"]


@pytest.mark.parametrize("key", ["", "another"])
async def test_who_gave_the_one_claim_back_may_win_again_but_not_with_the_same_key(key: str, cell: Cell) -> None:
    await publish(cell, Published(stock=1))
    first = won((await grab(cell, [("m1", "a")])).answers[0])
    await cell.return_unit("c", "m1", first.seq, "returned")
    reply = await grab(cell, [("m1", "a"), ("m1", key), ("m1", "a")])
    assert words(reply) == ["held", "won", "held"]
    assert held(reply.answers[0]) == held(reply.answers[2]) == ("returned", replace(first, state=ClaimState.RETURNED))


@pytest.mark.parametrize("action", ["pause", "close", "cancel"])
async def test_who_holds_a_claim_hears_of_it_whatever_ops_do(action: str, cell: Cell, raw: Redis) -> None:
    await publish(cell, Published(stock=2))
    first = won((await grab(cell, ["m1"])).answers[0])
    await cell.set_state("c", action)
    await enrol(cell, {"m1": Member(status="left")}, version=2)
    reply = await grab(cell, ["m1", "m2"])
    assert held(reply.answers[0]) == ("fulfilled", first)
    assert words(reply)[1] == {"pause": "paused", "close": "ended", "cancel": "cancelled"}[action]


# The window


async def ask_until(cell: Cell, campaign_id: str, until_ms: int) -> list[tuple[int, str]]:
    """(now_ms, outcome) of one grab after the other, each by a new member, until the cell's clock has passed."""
    asked: list[tuple[int, str]] = []
    while not asked or asked[-1][0] < until_ms:
        reply = await grab(cell, [f"w{len(asked)}"], campaign_id)
        asked.append((reply.now_ms, words(reply)[0]))
    return asked


async def test_a_second_release_opens_by_the_clock_to_the_millisecond_with_nobody_touching_anything(cell: Cell) -> None:
    await enrol(cell, [f"w{number}" for number in range(10_000)])
    at_ms = now_ms()
    opens_at_ms = at_ms + 400
    await publish(cell, Published(releases=(Release(at_ms - 1, 1), Release(opens_at_ms, 20_000))))
    seq = (await grab(cell, ["m1"])).seq
    asked = await ask_until(cell, "c", opens_at_ms + 50)
    assert {outcome for now, outcome in asked if now < opens_at_ms} == {"sold_out"}
    assert {outcome for now, outcome in asked if now >= opens_at_ms} == {"won"}
    assert cell.seen_seq - seq == sum(outcome == "won" for _, outcome in asked)


async def test_nobody_wins_before_opening_or_from_closing_on(cell: Cell) -> None:
    await enrol(cell, [f"w{number}" for number in range(10_000)])
    at_ms = now_ms()
    opens_at_ms, closes_at_ms = at_ms + 300, at_ms + 600
    releases = (Release(opens_at_ms, 20_000),)
    await publish(cell, Published(releases=releases, closes_in_ms=closes_at_ms - now_ms()))
    closes_at_ms = (await cell.read_campaigns(["c"])).campaigns["c"].closes_at_ms
    asked = await ask_until(cell, "c", closes_at_ms + 30)
    assert {outcome for now, outcome in asked if now < opens_at_ms} == {"not_open_yet"}
    assert {outcome for now, outcome in asked if opens_at_ms <= now < closes_at_ms} == {"won"}
    assert {outcome for now, outcome in asked if now >= closes_at_ms} == {"ended"}


async def test_what_the_first_release_left_over_is_there_for_the_second(cell: Cell) -> None:
    at_ms = now_ms()
    await publish(cell, Published(releases=(Release(at_ms - 2, 2), Release(at_ms + 300, 3))))
    assert (await grab(cell, ["m1"])).available == 1
    while (reply := await grab(cell, ["m1"])).now_ms < at_ms + 300:
        assert reply.available == 1
    assert reply.available == 4


# The log


async def test_the_log_says_what_the_answers_said(cell: Cell, raw: Redis) -> None:
    await publish(cell, Published(stock=4, limit_per_member=2, benefit_kind=BenefitKind.GENERATED_CODE))
    wishes = [("m1", 'a/b"\\', "c-1"), ("x", "a", "c-2"), ("m2", "~!", "c-3"), ("m1", "b", "c-4"), ("m1", "c", "c-5")]
    reply = await grab(cell, wishes)
    assert words(reply) == ["won", "member_unknown", "won", "won", "per_member_limit"]
    entry = (await log_of(raw, cell))[-1]
    assert isinstance(entry, events.Granted)
    assert (entry.seq, entry.last_seq, entry.epoch, entry.at_ms) == (reply.seq - 2, reply.seq, 1, reply.now_ms)
    told = [won(reply.answers[at]) for at in (0, 2, 3)]
    assert [
        ClaimRecord(entry.seq + i, entry.epoch, unit_no, ordinal, entry.at_ms, code, key)
        for i, (_, unit_no, ordinal, code, key) in enumerate(entry.claims)
    ] == told
    assert [member_id for member_id, *_ in entry.claims] == ["m1", "m2", "m1"]


async def test_who_loses_writes_nothing(cell: Cell, raw: Redis) -> None:
    await publish(cell, Published(stock=1))
    await grab(cell, ["m1"])
    before = await everything(raw, cell)
    assert words(await grab(cell, ["m2", "x", ("m1", "k"), "m3"])) == ["sold_out", "member_unknown", "held", "sold_out"]
    assert await everything(raw, cell) == before


# Large batches


@pytest.mark.parametrize("kind", list(BenefitKind))
async def test_the_largest_batch_is_decided_at_once(kind: BenefitKind, cell: Cell, raw: Redis) -> None:
    names = [f"w{number}" for number in range(512)]
    codes = [f"{kind}-{number}" for number in range(512)]
    await enrol(cell, names)
    campaign = Published(stock=500, limit_per_member=2, benefit_kind=kind)
    await publish(cell, campaign, codes=codes if kind is BenefitKind.CODE_POOL else ())
    reply = await grab(cell, [(name, "k", code) for name, code in zip(names, codes, strict=True)])
    assert words(reply) == ["won"] * 500 + ["sold_out"] * 12
    records = [won(answer) for answer in reply.answers[:500]]
    assert [record.unit_no for record in records] == list(range(1, 501))
    assert [record.code for record in records] == ([""] * 500 if kind is BenefitKind.NONE else codes[:500])
    log = await log_of(raw, cell)
    assert log[-1].last_seq - log[-1].seq == 499


@pytest.mark.parametrize("limit", [1, 2])
async def test_a_record_of_another_version_stops_no_other_wish_of_the_batch(limit: int, cell: Cell, raw: Redis) -> None:
    await publish(cell, Published(stock=9, limit_per_member=limit))
    old = "4\t1\t1\t1\t1795763780003\t\ta"
    await raw.hset(cell.keys.of_campaign("c").claims, "m2", old)
    triples = [part for name in ("m1", "m2", "m3") for part in (name, "key", "")]
    for question in Question:
        explained = await cell.explain("c", question, triples)
        assert [word(answer) for answer in explained.answers][::2] == ["won" if question is Question.GRAB else "eligible"] * 2
        assert explained.answers[1] == f"held\t{old}".encode()
    answers = (await cell.grab("c", b"b", triples)).answers
    assert [word(answer) for answer in answers] == ["won", "held", "won"]
    assert answers[1] == f"held\t{old}".encode()
