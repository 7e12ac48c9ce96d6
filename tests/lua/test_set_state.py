"""Pause, resume, close and cancel do what they say, from each state, before and after closing time."""

import pytest
from redis.asyncio import Redis

from grab_service.cell.store import Cell
from grab_service.vocabulary import events
from grab_service.vocabulary.campaigns import CampaignState
from tests.harness.cells import Published, everything, grab, log_of, publish, words

HOW = {"scheduled": (), "paused": ("pause",), "closed": ("close",), "cancelled": ("cancel",)}
TARGET = {"pause": "paused", "resume": "scheduled", "close": "closed", "cancel": "cancelled"}
# What each action does in each state while the campaign may still be open; then, once closing time has passed.
OPEN = {
    "scheduled": {"pause": "state_set", "resume": "already", "close": "state_set", "cancel": "state_set"},
    "paused": {"pause": "already", "resume": "state_set", "close": "state_set", "cancel": "state_set"},
    "closed": {"pause": "wrong_state", "resume": "wrong_state", "close": "already", "cancel": "wrong_state"},
    "cancelled": {"pause": "wrong_state", "resume": "wrong_state", "close": "wrong_state", "cancel": "already"},
}
ENDED = {
    "scheduled": {"pause": "wrong_state", "resume": "already", "close": "state_set", "cancel": "wrong_state"},
    "paused": {"pause": "already", "resume": "wrong_state", "close": "state_set", "cancel": "wrong_state"},
    "closed": OPEN["closed"],
    "cancelled": OPEN["cancelled"],
}


@pytest.mark.parametrize("action", TARGET)
@pytest.mark.parametrize("state", HOW)
@pytest.mark.parametrize("table", [OPEN, ENDED], ids=["open", "ended"])
async def test_from_each_state_each_action_does_what_the_table_says(
    table: dict[str, dict[str, str]], state: str, action: str, armed_cell: Cell, raw: Redis
) -> None:
    await publish(armed_cell, Published())
    for step in HOW[state]:
        assert (await armed_cell.set_state("c", step))[0] == "state_set"
    if table is ENDED:
        await raw.hset(armed_cell.keys.of_campaign("c").campaign, "closes_at_ms", 1)
    before, seq = await everything(raw, armed_cell), armed_cell.seen_seq
    expected = table[state][action]
    outcome, now_seq, now_state = await armed_cell.set_state("c", action)
    assert outcome == expected
    if expected == "state_set":
        assert (now_seq, now_state) == (seq + 1, TARGET[action])
        entry = (await log_of(raw, armed_cell))[-1]
        assert entry == events.StateSet(seq + 1, seq + 1, 1, entry.at_ms, "c", CampaignState(TARGET[action]))
        assert (await armed_cell.read_campaigns(["c"])).campaigns["c"].state == TARGET[action]
    else:
        assert (now_seq, now_state) == (seq, state)
        assert await everything(raw, armed_cell) == before


@pytest.mark.parametrize("action", ["", "open", "scheduled", "PAUSE", "cancelled"])
async def test_an_action_that_nobody_knows_changes_nothing(action: str, armed_cell: Cell, raw: Redis) -> None:
    await publish(armed_cell, Published())
    before = await everything(raw, armed_cell)
    assert (await armed_cell.set_state("c", action))[0] == "wrong_state"
    assert await everything(raw, armed_cell) == before


async def test_a_campaign_that_is_not_there_has_no_state(armed_cell: Cell, raw: Redis) -> None:
    await armed_cell.load_codes("c", 1, ["ahead"])
    before = await everything(raw, armed_cell)
    assert await armed_cell.set_state("c", "pause") == ("campaign_not_found", 1, "")
    assert await everything(raw, armed_cell) == before


async def test_a_paused_campaign_grants_nothing_and_goes_on_where_it_stopped(armed_cell: Cell) -> None:
    await armed_cell.publish_members(1, ["m1", "1|active|||||", "m2", "1|active|||||"])
    await publish(armed_cell, Published(stock=2))
    assert words(await grab(armed_cell, ["m1"])) == ["won"]
    await armed_cell.set_state("c", "pause")
    assert words(await grab(armed_cell, ["m1", "m2"])) == ["held", "paused"]
    await armed_cell.set_state("c", "resume")
    assert words(await grab(armed_cell, ["m1", "m2"])) == ["held", "won"]
