"""The stock is changed by compare-and-set, within its bounds, and the change lands in the right release."""

import pytest
from redis.asyncio import Redis

from grab_service.cell.replies import StockReply
from grab_service.cell.store import Cell
from grab_service.vocabulary import events
from grab_service.vocabulary.campaigns import BenefitKind, Release
from grab_service.vocabulary.outcomes import StockOutcome
from tests.harness.cells import HOUR_MS, Published, enrol, everything, grab, log_of, now_ms, publish, won, words

MEMBERS = [f"m{number}" for number in range(1, 21)]


@pytest.fixture
async def cell(armed_cell: Cell) -> Cell:
    await enrol(armed_cell, MEMBERS)
    return armed_cell


async def quantities(cell: Cell) -> list[int]:
    return [release.quantity for release in (await cell.read_campaigns(["c"])).campaigns["c"].releases]


# (when each release opens, quantities before, the total asked for, quantities after)
ARITHMETIC = [
    pytest.param((1,), (5,), 8, [8], id="the only release, not yet open, grows"),
    pytest.param((-1,), (5,), 8, [8], id="the only release, open, grows"),
    pytest.param((1, 2, 3), (5, 5, 5), 16, [6, 5, 5], id="before opening, more goes to the first"),
    pytest.param((-1, 2, 3), (5, 5, 5), 16, [6, 5, 5], id="more goes to the newest that is open: the first"),
    pytest.param((-2, -1, 3), (5, 5, 5), 16, [5, 6, 5], id="more goes to the newest that is open: the second"),
    pytest.param((-3, -2, -1), (5, 5, 5), 16, [5, 5, 6], id="more goes to the newest that is open: the last"),
    pytest.param((-1, 2, 3), (5, 5, 5), 14, [5, 5, 4], id="less is taken off the last"),
    pytest.param((-1, 2, 3), (5, 5, 5), 10, [5, 5, 0], id="the last is emptied"),
    pytest.param((-1, 2, 3), (5, 5, 5), 7, [5, 2, 0], id="then the one before it"),
    pytest.param((-1, 2, 3), (5, 5, 5), 1, [1, 0, 0], id="and what is open comes last"),
    pytest.param((1, 2, 3), (5, 5, 5), 1, [1, 0, 0], id="to one, before opening"),
]


@pytest.mark.parametrize(("opens", "before", "total", "after"), ARITHMETIC)
async def test_more_joins_the_newest_open_release_and_less_comes_off_the_last(
    opens: tuple[int, ...], before: tuple[int, ...], total: int, after: list[int], cell: Cell, raw: Redis
) -> None:
    at_ms = now_ms()
    releases = tuple(Release(at_ms + when * 600_000, quantity) for when, quantity in zip(opens, before, strict=True))
    await publish(cell, Published(releases=releases))
    seq = cell.seen_seq
    assert await cell.set_stock("c", sum(before), total) == StockReply(StockOutcome.STOCK_SET, seq + 1, total, 1)
    assert await quantities(cell) == after
    entry = (await log_of(raw, cell))[-1]
    now_in_force = tuple(Release(r.opens_at_ms, quantity) for r, quantity in zip(releases, after, strict=True))
    assert entry == events.StockSet(seq + 1, seq + 1, 1, entry.at_ms, "c", total, now_in_force)


async def test_a_release_that_was_emptied_takes_more_again(cell: Cell) -> None:
    at_ms = now_ms()
    await publish(cell, Published(releases=(Release(at_ms - 2, 5), Release(at_ms - 1, 2), Release(at_ms + HOUR_MS, 5))))
    assert (await cell.set_stock("c", 12, 5)).outcome == "stock_set"
    assert await quantities(cell) == [5, 0, 0]
    assert (await cell.set_stock("c", 5, 9)).outcome == "stock_set"
    assert await quantities(cell) == [5, 4, 0]


async def test_a_caller_mistaken_about_the_total_is_told_and_changes_nothing(cell: Cell, raw: Redis) -> None:
    await publish(cell, Published(stock=5))
    before = await everything(raw, cell)
    assert await cell.set_stock("c", 4, 9) == StockReply(StockOutcome.STOCK_CHANGED, cell.seen_seq, 5, 1)
    assert await everything(raw, cell) == before


async def test_of_two_who_change_it_at_once_one_is_told(cell: Cell) -> None:
    await publish(cell, Published(stock=5))
    assert (await cell.set_stock("c", 5, 6)).outcome == "stock_set"
    assert await cell.set_stock("c", 5, 7) == StockReply(StockOutcome.STOCK_CHANGED, cell.seen_seq, 6, 1)


async def test_the_same_total_again_is_already_so(cell: Cell, raw: Redis) -> None:
    await publish(cell, Published(stock=5))
    before = await everything(raw, cell)
    assert await cell.set_stock("c", 5, 5) == StockReply(StockOutcome.ALREADY, cell.seen_seq, 5, 1)
    assert await everything(raw, cell) == before


async def test_units_in_hands_hold_the_stock_up(cell: Cell, raw: Redis) -> None:
    await publish(cell, Published(stock=9))
    assert words(await grab(cell, MEMBERS[:4])) == ["won"] * 4
    before = await everything(raw, cell)
    assert await cell.set_stock("c", 9, 3) == StockReply(StockOutcome.BELOW_ISSUED, cell.seen_seq, 9, 4)
    assert await everything(raw, cell) == before
    assert (await cell.set_stock("c", 9, 4)).outcome == "stock_set"
    assert words(await grab(cell, MEMBERS[3:5])) == ["held", "sold_out"]


async def test_a_high_unit_holds_the_stock_up_and_units_above_the_total_are_forgotten_when_it_comes_back(
    cell: Cell, raw: Redis
) -> None:
    await publish(cell, Published(stock=9))
    reply = await grab(cell, MEMBERS[:6])
    seqs = [won(answer).seq for answer in reply.answers]
    for place in (0, 1, 2, 4):  # units 4 and 6 stay in hands; 1, 2, 3, 5 come back
        await cell.return_unit("c", MEMBERS[place], seqs[place], "returned")
    assert await cell.set_stock("c", 9, 5) == StockReply(StockOutcome.BELOW_ISSUED, cell.seen_seq, 9, 6)
    await cell.return_unit("c", MEMBERS[5], seqs[5], "returned")
    assert await cell.set_stock("c", 9, 3) == StockReply(StockOutcome.BELOW_ISSUED, cell.seen_seq, 9, 4)
    assert await cell.set_stock("c", 9, 4) == StockReply(StockOutcome.STOCK_SET, cell.seen_seq, 4, 4)
    assert await raw.zrange(cell.keys.of_campaign("c").free, 0, -1) == [b"1", b"2", b"3"]
    assert (await cell.read_campaigns(["c"])).campaigns["c"].issued == 4
    # Three units below, and after a new rise the numbers above begin anew, each once.
    assert (await cell.set_stock("c", 4, 6)).outcome == "stock_set"
    again = await grab(cell, MEMBERS[6:])
    assert [won(answer).unit_no for answer in again.answers[:5]] == [1, 2, 3, 5, 6]
    assert words(again)[5:] == ["sold_out"] * 9


async def test_when_everything_came_back_the_stock_can_go_down_to_one(cell: Cell, raw: Redis) -> None:
    await publish(cell, Published(stock=3))
    reply = await grab(cell, MEMBERS[:3])
    for name, answer in zip(MEMBERS, reply.answers, strict=False):
        await cell.return_unit("c", name, won(answer).seq, "returned")
    assert await cell.set_stock("c", 3, 1) == StockReply(StockOutcome.STOCK_SET, cell.seen_seq, 1, 1)
    assert [won(answer).unit_no for answer in (await grab(cell, ["m9"])).answers] == [1]
    assert words(await grab(cell, ["m8"])) == ["sold_out"]


async def test_a_pool_holds_the_stock_down_until_codes_are_loaded(cell: Cell, raw: Redis) -> None:
    await publish(cell, Published(stock=2, benefit_kind=BenefitKind.CODE_POOL), codes=["a", "b", "c"])
    await grab(cell, ["m1"])
    before = await everything(raw, cell)
    assert await cell.set_stock("c", 2, 4) == StockReply(StockOutcome.TOO_FEW_CODES, cell.seen_seq, 2, 1)
    assert await everything(raw, cell) == before
    assert (await cell.set_stock("c", 2, 3)).outcome == "stock_set"
    await cell.load_codes("c", 4, ["d"])
    assert (await cell.set_stock("c", 3, 4)).outcome == "stock_set"
    assert words(await grab(cell, MEMBERS[1:6])) == ["won", "won", "won", "sold_out", "sold_out"]


@pytest.mark.parametrize("how", ["close", "cancel", "clock"])
@pytest.mark.parametrize(("expected", "total"), [(5, 6), (5, 5), (4, 6)])
async def test_when_a_campaign_is_over_its_stock_stays(how: str, expected: int, total: int, cell: Cell, raw: Redis) -> None:
    await publish(cell, Published(stock=5))
    if how == "clock":
        await raw.hset(cell.keys.of_campaign("c").campaign, "closes_at_ms", now_ms() - 1)
    else:
        await cell.set_state("c", how)
    before = await everything(raw, cell)
    assert await cell.set_stock("c", expected, total) == StockReply(StockOutcome.WRONG_STATE, cell.seen_seq, 5, 1)
    assert await everything(raw, cell) == before


async def test_a_paused_campaign_may_be_restocked(cell: Cell) -> None:
    await publish(cell, Published(stock=5))
    await cell.set_state("c", "pause")
    assert (await cell.set_stock("c", 5, 6)).outcome == "stock_set"


async def test_a_campaign_that_is_not_there_has_no_stock(cell: Cell) -> None:
    assert await cell.set_stock("c", 5, 6) == StockReply(StockOutcome.CAMPAIGN_NOT_FOUND, cell.seen_seq, 0, 0)


async def test_what_is_added_can_be_had_at_once_by_those_who_were_told_it_was_sold_out(cell: Cell) -> None:
    at_ms = now_ms()
    await publish(cell, Published(releases=(Release(at_ms - 1, 1), Release(at_ms + HOUR_MS // 2, 1))))
    assert words(await grab(cell, ["m1", "m2"])) == ["won", "sold_out"]
    await cell.set_stock("c", 2, 3)
    assert words(await grab(cell, ["m2", "m3"])) == ["won", "sold_out"]
