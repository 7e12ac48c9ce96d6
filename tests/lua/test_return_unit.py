"""A unit comes back once, to the stock it came from, and only for the claim that holds it."""

from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis

from grab_service.cell.store import Cell
from grab_service.vocabulary import events
from grab_service.vocabulary.campaigns import BenefitKind
from grab_service.vocabulary.claims import ClaimState, parse_holding
from tests.harness.cells import Published, enrol, everything, grab, log_of, publish, won, words

MEMBERS = ["m1", "m2", "m3", "m4"]


@pytest.fixture
async def cell(armed_cell: Cell) -> Cell:
    await enrol(armed_cell, MEMBERS)
    return armed_cell


async def counters(raw: Redis, cell: Cell) -> tuple[int, ...]:
    names = ["active", "issued", "unit_sum", "seq_sum"]
    values: Any = await raw.hmget(cell.keys.of_campaign("c").campaign, names)
    return tuple(int(value) for value in values)


async def test_what_came_back_is_free_again_and_the_claim_is_gone(cell: Cell, raw: Redis) -> None:
    await publish(cell, Published(stock=3))
    first, second = [won(answer) for answer in (await grab(cell, ["m1", "m2"])).answers]
    assert await cell.return_unit("c", "m1", first.seq, "returned") == ("returned", second.seq + 1)
    assert await counters(raw, cell) == (1, 2, second.unit_no, second.seq)
    assert await cell.read_claims("m1", ["c"]) == [b""]
    assert await raw.zrange(cell.keys.of_campaign("c").free, 0, -1) == [b"1"]
    assert await raw.hgetall(cell.keys.of_campaign("c").returns) == {b"%d" % first.seq: b"%d" % (second.seq + 1)}
    entry = (await log_of(raw, cell))[-1]
    assert entry == events.Returned(
        second.seq + 1, second.seq + 1, 1, entry.at_ms, "c", "m1", first.seq, first.unit_no, "returned"
    )


async def test_given_back_twice_it_comes_back_once(cell: Cell, raw: Redis) -> None:
    await publish(cell, Published(stock=3))
    claim = won((await grab(cell, ["m1"])).answers[0])
    _, seq = await cell.return_unit("c", "m1", claim.seq, "returned")
    await grab(cell, ["m2"])
    before = await everything(raw, cell)
    for reason in ("returned", "lapsed"):
        assert await cell.return_unit("c", "m1", claim.seq, reason) == ("already", seq)
    assert await everything(raw, cell) == before


@pytest.mark.parametrize(("member", "offset"), [("m2", 0), ("m1", 1), ("m1", -1), ("m9", 0)])
async def test_a_claim_that_the_member_does_not_hold_does_not_come_back(
    member: str, offset: int, cell: Cell, raw: Redis
) -> None:
    await publish(cell, Published(stock=3))
    claim = won((await grab(cell, ["m1"])).answers[0])
    await grab(cell, ["m2"])
    before = await everything(raw, cell)
    assert await cell.return_unit("c", member, claim.seq + offset, "returned") == ("unknown_claim", cell.seen_seq)
    assert await everything(raw, cell) == before


async def test_a_campaign_that_is_not_there_takes_nothing_back(cell: Cell) -> None:
    assert await cell.return_unit("c", "m1", 1, "returned") == ("campaign_not_found", cell.seen_seq)


@pytest.mark.parametrize("place", [0, 1, 2])
async def test_of_several_claims_only_the_one_named_goes(place: int, cell: Cell) -> None:
    await publish(cell, Published(stock=9, limit_per_member=3))
    claims = [won(answer) for answer in (await grab(cell, [("m1", "a"), ("m1", "b"), ("m1", "c")])).answers]
    assert (await cell.return_unit("c", "m1", claims[place].seq, "returned"))[0] == "returned"
    kept = [claim for claim in claims if claim is not claims[place]]
    assert parse_holding((await cell.read_claims("m1", ["c"]))[0]) == kept


@pytest.mark.parametrize("action", ["pause", "close", "cancel"])
async def test_a_claim_can_be_given_back_whatever_ops_do(action: str, cell: Cell) -> None:
    await publish(cell, Published(stock=1))
    claim = won((await grab(cell, ["m1"])).answers[0])
    await cell.set_state("c", action)
    assert (await cell.return_unit("c", "m1", claim.seq, "returned"))[0] == "returned"


async def test_the_code_of_a_pool_goes_back_with_its_unit_and_its_claim_names_it_no_longer(cell: Cell, raw: Redis) -> None:
    await publish(cell, Published(stock=2, benefit_kind=BenefitKind.CODE_POOL), codes=["a", "b"])
    first, _ = [won(answer) for answer in (await grab(cell, [("m1", "k"), "m2"])).answers]
    assert (await cell.return_unit("c", "m1", first.seq, "returned"))[0] == "returned"
    assert (await log_of(raw, cell))[-1] == events.Returned(
        *(cell.seen_seq, cell.seen_seq, 1, (await log_of(raw, cell))[-1].at_ms), "c", "m1", first.seq, 1, "returned", "a"
    )
    assert await raw.lrange(cell.keys.of_campaign("c").codes, 0, -1) == [b"a"]
    again = won((await grab(cell, ["m3"])).answers[0])
    assert (again.unit_no, again.code) == (first.unit_no, "a")
    bound = replace(first, code="", state=ClaimState.RETURNED)
    assert (await grab(cell, [("m1", "k")])).answers == [f"held\t{bound.encode()}".encode()]


async def test_codes_as_many_as_units_are_enough_to_give_back(cell: Cell, raw: Redis) -> None:
    await publish(cell, Published(stock=3, benefit_kind=BenefitKind.CODE_POOL), codes=["a", "b", "c"])
    claims = [won(answer) for answer in (await grab(cell, ["m1", "m2"])).answers]
    for member, claim in zip(("m1", "m2"), claims, strict=True):
        assert (await cell.return_unit("c", member, claim.seq, "lapsed"))[0] == "returned"
    assert await raw.lrange(cell.keys.of_campaign("c").codes, 0, -1) == [b"c", b"a", b"b"]
    assert words(await grab(cell, ["m1", "m2", "m3", "m4"])) == ["won", "won", "won", "sold_out"]


async def test_a_code_that_was_generated_goes_nowhere(cell: Cell, raw: Redis) -> None:
    await publish(cell, Published(stock=1, benefit_kind=BenefitKind.GENERATED_CODE))
    claim = won((await grab(cell, [("m1", "k", "x")])).answers[0])
    await cell.return_unit("c", "m1", claim.seq, "returned")
    entry = (await log_of(raw, cell))[-1]
    assert isinstance(entry, events.Returned)
    assert entry.code == ""
    assert await raw.exists(cell.keys.of_campaign("c").codes) == 0
    assert (await grab(cell, [("m1", "k")])).answers == [f"held\t{replace(claim, state=ClaimState.RETURNED).encode()}".encode()]


async def test_a_record_of_another_version_is_kept_and_keeps_no_other_claim_from_going_back(
    armed_cell: Cell, raw: Redis
) -> None:
    await enrol(armed_cell, MEMBERS)
    await publish(armed_cell, Published(stock=2, limit_per_member=2))
    first, second = [won(answer) for answer in (await grab(armed_cell, [("m1", "a"), ("m1", "b")])).answers]
    claims, old = armed_cell.keys.of_campaign("c").claims, "4\t1\t1\t1\t1795763780003\t\ta"
    await raw.hset(claims, "m1", f"{old}\n{second.encode()}")
    assert (await armed_cell.return_unit("c", "m1", first.seq, "returned")).outcome == "unknown_claim"
    assert (await armed_cell.return_unit("c", "m1", second.seq, "returned")).outcome == "returned"
    assert await raw.hget(claims, "m1") == old.encode()
