"""When a command fails, nothing is half done.

A script is isolated and not rolled back: what it wrote before it failed stays. So each failure that can be made is made, at
each key, and the whole cell is compared with before.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from grab_service.cell.connect import connect
from grab_service.cell.scripts import ScriptSources
from grab_service.cell.store import Cell, CellClosedError
from grab_service.embedded.valkey import AppendFsync, ValkeyServer
from tests.harness.cells import Member, Published, arm, enrol, everything, grab, now_ms, publish, words
from tests.harness.every_command import CALLS, furnish, key_names

LOGGING = ["grab", "load_codes", "make_good", "publish_campaign", "publish_members", "return_unit", "set_state", "set_stock"]
WRITERS = [*LOGGING, "note_counts"]
PLACES = range(18)
FIELDS = sorted({name for rule in ScriptSources.read().rules for name in (*rule.fields, *rule.counters)})


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", CALLS)
async def test_a_key_of_the_wrong_type_stops_a_command_before_it_writes(
    name: str, place: int, armed_cell: Cell, raw: Redis
) -> None:
    claim_seq = await furnish(armed_cell)
    wrong = key_names(armed_cell)[place]
    await raw.set(wrong, "not what it should be")
    before = await everything(raw, armed_cell)
    problem = await _problem_of(CALLS[name](armed_cell, claim_seq))
    after = await everything(raw, armed_cell)
    if problem is None:
        assert wrong not in NEEDED[name](armed_cell)
        assert after[wrong.encode()] == before[wrong.encode()]
    else:
        assert "WRONGTYPE" in problem
        assert after == before


async def _problem_of(call: Awaitable[Any]) -> str | None:
    try:
        await call
    except CellClosedError as error:
        return f"{error} {error.__context__}"
    return None


def _of(cell: Cell, *names: str) -> set[str]:
    """Keys of the campaign c, or of the cell, by what they are called in Python."""
    campaign = cell.keys.of_campaign("c")
    return {getattr(campaign, name) if hasattr(campaign, name) else getattr(cell.keys, name) for name in names}


NEEDED: dict[str, Any] = {
    "explain": lambda c: _of(c, "cell", "members", "campaign", "claims", "bindings", "free", "codes"),
    "grab": lambda c: _of(c, "cell", "log", "members", "campaign", "claims", "bindings", "free", "codes"),
    "load_codes": lambda c: _of(c, "cell", "log", "campaign", "codes"),
    "make_good": lambda c: _of(c, "cell", "log", "members", "campaign", "claims", "bindings", "free", "codes"),
    "note_counts": lambda c: _of(c, "cell", "counts", "workers"),
    "publish_campaign": lambda c: _of(c, "cell", "log", "campaigns") | {c.keys.of_campaign("d").campaign},
    "publish_members": lambda c: _of(c, "cell", "log", "members"),
    "read_campaigns": lambda c: _of(c, "cell", "campaigns", "campaign"),
    "read_claims": lambda c: _of(c, "cell", "claims"),
    "return_unit": lambda c: _of(c, "cell", "log", "campaign", "claims", "free", "returns", "codes", "bindings"),
    "scan_holders": lambda c: _of(c, "cell", "claims"),
    "set_state": lambda c: _of(c, "cell", "log", "campaign"),
    "set_stock": lambda c: _of(c, "cell", "log", "campaign", "free", "codes"),
    "snapshot": lambda c: _of(c, "cell", "workers", "campaign", "claims", "free", "returns", "codes"),
    "tail": lambda c: _of(c, "cell", "log"),
}


def test_every_place_is_planted(armed_cell: Cell) -> None:
    assert len(key_names(armed_cell)) == len(PLACES)


@pytest.mark.parametrize("name", LOGGING)
async def test_a_log_that_is_ahead_of_the_cell_stops_a_command_before_it_writes(
    name: str, armed_cell: Cell, raw: Redis
) -> None:
    claim_seq = await furnish(armed_cell)
    await raw.xadd(armed_cell.keys.log, {"type": "poison"}, id=f"{armed_cell.seen_seq + 100}-0")
    before = await everything(raw, armed_cell)
    with pytest.raises(CellClosedError):
        await CALLS[name](armed_cell, claim_seq)
    assert await everything(raw, armed_cell) == before


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("name", ["grab", "make_good", "return_unit", "set_state", "set_stock"])
async def test_a_campaign_with_a_field_missing_stops_a_command_before_it_writes(
    name: str, field: str, armed_cell: Cell, raw: Redis
) -> None:
    claim_seq = await furnish(armed_cell)
    await raw.hdel(armed_cell.keys.of_campaign("c").campaign, field)
    before = await everything(raw, armed_cell)
    if await _problem_of(CALLS[name](armed_cell, claim_seq)):
        assert await everything(raw, armed_cell) == before
    else:
        # It needs no such field, and makes none up.
        assert not await raw.hexists(armed_cell.keys.of_campaign("c").campaign, field)


def _grab_all(cell: Cell, names: list[str]) -> Awaitable[Any]:
    return grab(cell, names)


def _load_all(cell: Cell, names: list[str]) -> Awaitable[Any]:
    return cell.load_codes("c", 1, names)


def _publish_all(cell: Cell, names: list[str]) -> Awaitable[Any]:
    return cell.publish_members(2, [text for name in names for text in (name, Member(version=2).record())])


@pytest.mark.parametrize(
    ("call", "count"),
    [(_grab_all, 513), (_grab_all, 3000), (_load_all, 1001), (_load_all, 7000), (_publish_all, 1001), (_publish_all, 5000)],
)
async def test_more_than_one_call_may_carry_is_refused_whole(
    call: Callable[[Cell, list[str]], Awaitable[Any]], count: int, armed_cell: Cell, raw: Redis
) -> None:
    names = [f"w{number}" for number in range(count)]
    await enrol(armed_cell, names)
    await publish(armed_cell, Published(stock=count))
    before = await everything(raw, armed_cell)
    with pytest.raises(CellClosedError):
        await call(armed_cell, names)
    assert await everything(raw, armed_cell) == before


@pytest.mark.parametrize("total", ["0", "-1", "1e3", "3.5", "", "many", "0x10", "03"])
async def test_a_stock_that_is_no_number_of_units_is_refused_whole(total: Any, armed_cell: Cell, raw: Redis) -> None:
    await publish(armed_cell, Published(stock=5))
    before = await everything(raw, armed_cell)
    with pytest.raises(CellClosedError):
        await armed_cell.set_stock("c", 5, total)
    assert await everything(raw, armed_cell) == before


@pytest.mark.parametrize(
    ("name", "written"),
    [
        *(
            ("releases", releases)
            for releases in ("", "5", "5:", ":5", "5:0", "5:1,", "5:1,4:1", "5:1,5:1", "5:1;6:1", "5:1,6:-1", "5:1.5")
        ),
        ("releases", ",".join(f"{at}:1" for at in range(51))),
        *(
            (name, number)
            for name in ("version", "closes_at_ms", "limit_per_member")
            for number in ("", "0", "-1", "1.5", "many", "1e3", "9" * 16)
        ),
        *(("benefit_kind", kind) for kind in ("points", "code", "generated_code code_pool ")),
    ],
)
async def test_a_campaign_that_the_rules_could_not_read_is_refused_whole(
    name: str, written: str, armed_cell: Cell, raw: Redis
) -> None:
    fields = Published().fields(now_ms()) | {name: written}
    before = await everything(raw, armed_cell)
    with pytest.raises(CellClosedError):
        await armed_cell.publish_campaign("c", fields)
    assert await everything(raw, armed_cell) == before


@pytest.mark.parametrize("name", ["releases", "display", "orgs", "version"])
async def test_a_campaign_that_lacks_a_field_or_has_one_that_no_rule_knows_is_refused_whole(
    name: str, armed_cell: Cell, raw: Redis
) -> None:
    fields = Published().fields(now_ms())
    before = await everything(raw, armed_cell)
    for wrong in ({key: value for key, value in fields.items() if key != name}, fields | {f"{name}s": "1"}):
        with pytest.raises(CellClosedError):
            await armed_cell.publish_campaign("c", wrong)
    assert await everything(raw, armed_cell) == before


@pytest.mark.parametrize("record", ["", "active|org|||||", "x|active|org|||||", "-1|active|||||"])
async def test_a_member_without_a_version_is_refused_whole(record: str, armed_cell: Cell, raw: Redis) -> None:
    await enrol(armed_cell, ["m1"])
    before = await everything(raw, armed_cell)
    with pytest.raises(CellClosedError):
        await armed_cell.publish_members(2, ["m2", Member(version=2).record(), "m3", record])
    assert await everything(raw, armed_cell) == before


@pytest.fixture(scope="module")
def small_server(tmp_path_factory: pytest.TempPathFactory) -> Any:
    server = ValkeyServer(tmp_path_factory.mktemp("small"), appendfsync=AppendFsync.NO)
    asyncio.run(server.start())
    yield server
    asyncio.run(server.stop())


@pytest.fixture
async def small_cell(small_server: ValkeyServer, cell_name: str, sources: ScriptSources) -> AsyncIterator[tuple[Cell, Redis]]:
    client = connect(small_server.url, connections_max=2, timeout_s=5)
    await client.config_set("maxmemory", 0)
    await arm(client, cell_name, sources)
    yield Cell(client, cell_name, sources), client
    await client.aclose()


@pytest.mark.parametrize("name", WRITERS)
async def test_when_memory_is_full_a_command_does_nothing_and_goes_on_when_there_is_room(
    name: str, small_cell: tuple[Cell, Redis]
) -> None:
    cell, client = small_cell
    claim_seq = await furnish(cell)
    await client.config_set("maxmemory", 1)
    before = await everything(client, cell)
    with pytest.raises(CellClosedError, match=r"maxmemory|a moment ago"):
        await CALLS[name](cell, claim_seq)
    assert await everything(client, cell) == before
    assert (await cell.tail(0, 100)).seq == cell.seen_seq
    await client.config_set("maxmemory", 0)
    await CALLS[name](cell, claim_seq)
    assert await everything(client, cell) != before


async def test_memory_that_runs_out_in_the_middle_of_a_rush_leaves_whole_grabs_only(small_cell: tuple[Cell, Redis]) -> None:
    cell, client = small_cell
    names = [f"w{number}" for number in range(4000)]
    await enrol(cell, names)
    await publish(cell, Published(stock=4000))
    used = (await client.info("memory"))["used_memory"]
    await client.config_set("maxmemory", used + 200_000)
    batches = [names[start : start + 20] for start in range(0, len(names), 20)]
    wins = 0
    while (problem := await _problem_of(grab(cell, batches[wins // 20]))) is None:
        wins += 20
    assert "maxmemory" in problem
    assert 0 < wins < 4000
    await client.config_set("maxmemory", 0)
    campaign = (await cell.read_campaigns(["c"])).campaigns["c"]
    assert campaign.active == campaign.issued == wins == await client.hlen(cell.keys.of_campaign("c").claims)
    replies = [await grab(cell, batch) for batch in batches]
    assert sum(words(reply).count("held") for reply in replies) == wins
