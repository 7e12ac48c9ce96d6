"""What workers answer is counted, once, and added up; what is shown says whether it is exact."""

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import pytest
from redis.asyncio import Redis

from grab_service.cell.connect import connect
from grab_service.cell.scripts import ScriptSources
from grab_service.cell.store import Cell
from grab_service.embedded.valkey import ValkeyServer
from grab_service.metrics import CAMPAIGNS_MAX, GrabMetrics
from grab_service.server import counting as module
from grab_service.server.counting import Counting
from grab_service.server.worker import Worker
from grab_service.vocabulary.counts import BadCountsError, Place, decode_counts, encode_counts
from grab_service.vocabulary.durability import Durability
from grab_service.vocabulary.keys import CellKeys
from grab_service.vocabulary.passes import Role
from grab_service.vocabulary.times import rfc3339
from reconcile.drain.cursor import CursorMovedError
from reconcile.maintenance.counts import ENTRIES_MAX, CountsReader
from reconcile.redis_link import RedisLink
from tests.harness.backend import Backend, until
from tests.harness.cells import A_RUSH, armed_cell
from tests.harness.command_line import CommandLine
from tests.harness.proxy import Proxy, through
from tests.harness.service import Service, at, definition
from tests.harness.worker import LaneClients, forget_metrics, grab_worker, publish, view_of

S: Final = 1_790_000_000
MEMBERS: Final = [f"m-{number}" for number in range(10)]
Sums = Counter[tuple[str, str]]


async def written(redis: Redis, cell_name: str) -> Sums:
    """What workers have written into the cell, over all seconds."""
    sums: Sums = Counter()
    entries: Any = await redis.xrange(CellKeys.of(cell_name).counts)
    for _, entry in entries:
        for place, n in decode_counts(entry[b"counts"]).items():
            sums[place.campaign_id, place.outcome] += n
    return sums


async def becomes(sums: Callable[[], Awaitable[Sums]], expected: Sums, patience_s: float = 5) -> None:
    """Wait until the sums are these, and see that they stay so for more than a second."""
    for rest_s in (patience_s, 0):
        async with asyncio.timeout(rest_s or None):
            while rest_s and await sums() != expected:
                await asyncio.sleep(0.05)
        if rest_s:
            await asyncio.sleep(1.2)
    assert await sums() == expected


def heard(answers: list[httpx.Response], campaign_id: str = "c") -> Sums:
    """The same of answers that members got."""
    tells = {201: "won", 200: "held"}
    return Counter(
        (campaign_id, tells.get(answer.status_code) or answer.json()["code"].replace("-", "_")) for answer in answers
    )


@pytest.fixture
async def cell(redis_client: Redis, cell_name: str) -> Cell:
    return await armed_cell(redis_client, cell_name, MEMBERS)


@pytest.fixture
async def worker(valkey_url: str, cell: Cell) -> AsyncIterator[Worker]:
    async with grab_worker(valkey_url, cell.name) as worker:
        yield worker


async def test_every_answer_is_counted_once_and_made_up_ids_for_no_campaign(
    worker: Worker, cell: Cell, redis_client: Redis
) -> None:
    await publish(cell, A_RUSH)
    began_s = int(time.time())
    async with LaneClients(worker) as crowd:
        answers = await crowd.all_grab(MEMBERS)  # one wins; Lua and the gate refuse the others
        answers += await crowd.all_grab([*MEMBERS, "stranger"])
        answers.append(await crowd.grab("m-1", headers={"Authorization": "Bearer x"}))
        made_up = [await crowd.grab("m-1", f"made-up-{number}") for number in range(20)]
        made_up += [await crowd.grab("m-1", f"made-up-{number}", headers={"Authorization": ""}) for number in range(20)]
        made_up.append(await crowd.grab("m-1", headers={"Idempotency-Key": "no key at all"}))
    expected = heard(answers) + heard(made_up, "")
    assert len({outcome for _, outcome in expected}) >= 6, expected
    assert set(worker.metrics.answers) <= {"", "c"}
    await becomes(lambda: written(redis_client, cell.name), expected)
    entries: Any = await redis_client.xrange(cell.keys.counts)
    seconds = {place.second for _, entry in entries for place in decode_counts(entry[b"counts"])}
    assert all(began_s - 1 <= second <= time.time() for second in seconds)
    noted: Any = await redis_client.hkeys(cell.keys.workers)
    assert noted == [worker.counting.name.encode()]


async def test_a_win_that_is_told_too_late_is_counted_as_what_was_answered(
    valkey_url: str, cell: Cell, redis_client: Redis
) -> None:
    async with (
        grab_worker(valkey_url, cell.name, durability=Durability.RECORD, grab_deadline_s=0.3) as worker,
        LaneClients(worker) as crowd,
    ):
        seq = await publish(cell, A_RUSH)
        silent = await crowd.all_grab(["m-1", "m-1"])
        await redis_client.hset(cell.keys.cell, "recorded", f"1:{seq + 1}")
        told = await crowd.all_grab(["m-1", "m-2"])
    assert heard(silent + told) == {("c", "outcome_unknown"): 2, ("c", "held"): 1, ("c", "sold_out"): 1}
    # A worker that ends writes down what it has counted.
    assert await written(redis_client, cell.name) == heard(silent + told)


async def test_a_full_redis_refuses_the_counts_and_gets_them_later_and_members_are_answered_meanwhile(
    valkey: ValkeyServer, cell_name: str
) -> None:
    async with Redis.from_url(valkey.url, protocol=2) as redis:
        cell = await armed_cell(redis, cell_name, MEMBERS)
        async with grab_worker(valkey.url, cell_name) as worker, LaneClients(worker) as crowd:
            await publish(cell, A_RUSH)
            answers = await crowd.all_grab(MEMBERS[:1])
            await asyncio.sleep(1.2)
            before = await written(redis, cell_name)
            await redis.config_set("maxmemory", 1)
            for _ in range(3):
                answers += await crowd.all_grab(MEMBERS[1:])
                await asyncio.sleep(0.8)
            assert heard(answers) == {("c", "won"): 1, ("c", "sold_out"): 27}
            assert await written(redis, cell_name) == before
            await redis.config_set("maxmemory", 0)
            await becomes(lambda: written(redis, cell_name), heard(answers))
        entries: Any = await redis.xrange(cell.keys.counts)
        per_second = Counter(place.second for _, entry in entries for place in decode_counts(entry[b"counts"]))
        assert len(per_second) >= 3, "each second keeps its own"


async def test_a_call_without_an_answer_is_not_repeated(valkey_url: str, cell: Cell, redis_client: Redis) -> None:
    async with Proxy(urlsplit(valkey_url).port or 0) as proxy, view_of(cell) as view:
        client = connect(through(valkey_url, proxy.port), connections_max=2, timeout_s=0.5)
        forget_metrics()
        metrics = GrabMetrics()
        distant = Cell(client, cell.name, ScriptSources.read())
        counting = Counting(distant, metrics, view)
        await distant.reload()
        proxy.weather.swallows_replies = True
        metrics.answers["c"]["sold_out"] += 5
        await counting.close()
        proxy.fine()
        metrics.answers["c"]["sold_out"] += 2
        await counting.close()
        await client.aclose()
    assert await written(redis_client, cell.name) == {("c", "sold_out"): 7}


async def test_what_a_worker_keeps_is_bounded(
    valkey_url: str, cell: Cell, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_metrics()
    metrics = GrabMetrics()
    for number in range(CAMPAIGNS_MAX + 10):
        metrics.answers[f"c-{number}"]["sold_out"] += 1
    taken = metrics.take_counts()
    assert len(taken) == CAMPAIGNS_MAX + 1
    assert taken[""] == {"sold_out": 10}
    assert metrics.take_counts() == {}

    monkeypatch.setattr(module, "KEPT_MAX", 3)
    async with view_of(cell) as view, Redis.from_url(valkey_url, protocol=2) as client:
        closed = Cell(client, f"{cell.name}-closed", ScriptSources.read())
        counting = Counting(closed, metrics, view)
        for second in range(5):
            counting._keep(S + second, {"c": Counter({"sold_out": 1 + second})})
            await counting._write()
        assert counting._kept == {S + second: {"c": {"sold_out": 1 + second}} for second in (2, 3, 4)}


def entry(counts: dict[int, dict[str, dict[str, int]]]) -> dict[Any, Any]:
    return {"worker": "w", "counts": encode_counts(counts)}


async def table(backend: Backend) -> dict[Place, int]:
    rows = await backend.sql("SELECT second, campaign_id, outcome, n FROM counts")
    return {Place(row.second, row.campaign_id, row.outcome): row.n for row in rows}


def reader_of(backend: Backend) -> CountsReader:
    leader: Any = None  # a step asks nobody whether this ledger leads: the cursor decides
    return CountsReader(backend.ledger_engine, backend.settings.cell, backend.open_link, leader)


@asynccontextmanager
async def stepping(backend: Backend) -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """A step of a reader that was started just now."""
    link = await backend.open_link()
    yield lambda: reader_of(backend).step(link)
    await link.close()


async def test_counts_are_added_up_once_by_second_campaign_and_outcome(backend: Backend) -> None:
    key = backend.keys.counts
    async with stepping(backend) as step:
        assert await step() == 0
        await backend.redis.xadd(key, entry({S: {"c": {"sold_out": 3, "opened": 1}}, S + 1: {"c": {"sold_out": 4}}}))
        await backend.redis.xadd(key, entry({S: {"c": {"sold_out": 10}, "d": {"sold_out": 1}}}))
        assert [await step(), await step()] == [2, 0]
        await backend.redis.xadd(key, entry({S: {"c": {"sold_out": 100}}}))
        assert [await step(), await step()] == [1, 0]
        expected = {
            Place(S, "c", "sold_out"): 113,
            Place(S, "c", "opened"): 1,
            Place(S + 1, "c", "sold_out"): 4,
            Place(S, "d", "sold_out"): 1,
        }
        assert await table(backend) == expected
        # A stream that is gone begins anew, with later ids.
        await backend.redis.delete(key)
        assert await step() == 0
        await backend.redis.xadd(key, entry({S: {"d": {"sold_out": 1}}}))
        assert [await step(), await step()] == [1, 0]
        assert await table(backend) == expected | {Place(S, "d", "sold_out"): 2}


async def test_without_a_campaign_counts_are_kept_by_the_hour(backend: Backend) -> None:
    hour = S - S % 3600
    await backend.redis.xadd(backend.keys.counts, entry({hour + at: {"": {"pass_invalid": 2}} for at in (0, 1, 3599, 3600)}))
    async with stepping(backend) as step:
        await step()
    assert await table(backend) == {Place(hour, "", "pass_invalid"): 6, Place(hour + 3600, "", "pass_invalid"): 2}


async def test_more_than_a_page_is_read_page_by_page(backend: Backend) -> None:
    async with backend.redis.pipeline(transaction=False) as pipe:
        for _ in range(2 * ENTRIES_MAX + 1):
            pipe.xadd(backend.keys.counts, entry({S: {"c": {"sold_out": 1}}}))
        await pipe.execute()
    async with stepping(backend) as step:
        assert [await step() for _ in range(4)] == [ENTRIES_MAX, ENTRIES_MAX, 1, 0]
    assert await table(backend) == {Place(S, "c", "sold_out"): 2 * ENTRIES_MAX + 1}


@pytest.mark.parametrize("before", [None, "1-0"])
async def test_of_two_ledgers_that_have_read_the_same_one_adds_it(before: str | None, backend: Backend) -> None:
    reader, sums = reader_of(backend), Counter({Place(S, "c", "sold_out"): 3})
    if before is not None:
        await reader._write(Counter(), None, before)
    await reader._write(sums, before, "2-0")
    with pytest.raises(CursorMovedError):
        await reader._write(sums, before, "2-0")
    assert await table(backend) == sums


BAD: Final = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"7",
    b'{"x":{"c":{"won":1}}}',
    b'{"-1":{"c":{"won":1}}}',
    b'{"1":{"C D":{"won":1}}}',
    b'{"1":{"c":{"w-n":1}}}',
    b'{"1":{"c":{"won":0}}}',
    b'{"1":{"c":{"won":-1}}}',
    b'{"1":{"c":{"won":true}}}',
    b'{"1":{"c":{"won":1.5}}}',
    b'{"1":{"c":{"won":99999999999}}}',
    b'{"99999999999":{"c":{"won":1}}}',
    b'{"1":{"c":{"won":1},"d":{"w n":1}}}',
    b'{"1":{"c":1}}',
]


@pytest.mark.parametrize("text", BAD)
def test_what_no_worker_writes_is_no_count(text: bytes) -> None:
    with pytest.raises(BadCountsError):
        decode_counts(text)


async def test_an_entry_that_no_worker_wrote_is_passed_over(backend: Backend) -> None:
    for text in BAD:
        await backend.redis.xadd(backend.keys.counts, {"worker": "w", "counts": text})
    await backend.redis.xadd(backend.keys.counts, {"something": "else"})
    await backend.redis.xadd(backend.keys.counts, entry({S: {"c": {"won": 1}}}))
    async with stepping(backend) as step:
        assert [await step(), await step()] == [len(BAD) + 2, 0]
    assert await table(backend) == {Place(S, "c", "won"): 1}


async def test_a_ledger_adds_up_while_it_leads_and_trims_what_is_a_day_old(backend: Backend) -> None:
    old_ms = (int(time.time()) - 2 * 86_400) * 1000
    async with backend.redis.pipeline(transaction=False) as pipe:
        for number in range(250):
            pipe.xadd(backend.keys.counts, entry({S: {"c": {"won": 1}}}), id=f"{old_ms}-{number}")
        await pipe.execute()
    async with backend.open_ledger():
        await until(lambda: _is(backend, {Place(S, "c", "won"): 250}))
        await backend.redis.xadd(backend.keys.counts, entry({S: {"c": {"won": 1}}}))
        await until(lambda: _is(backend, {Place(S, "c", "won"): 251}))

        async def trimmed() -> bool:
            return bool(await backend.redis.xlen(backend.keys.counts) < 150)

        await until(trimmed)
    async with backend.ledger():
        await backend.redis.xadd(backend.keys.counts, entry({S: {"c": {"won": 1}}}))
        await until(lambda: _is(backend, {Place(S, "c", "won"): 252}))


async def test_a_postgres_that_is_away_is_waited_out(backend: Backend) -> None:
    async with backend.open_ledger():
        await backend.redis.xadd(backend.keys.counts, entry({S: {"c": {"won": 1}}}))
        await until(lambda: _is(backend, {Place(S, "c", "won"): 1}))
        async with backend.postgres_away():
            await backend.redis.xadd(backend.keys.counts, entry({S: {"c": {"won": 2}}}))
            await asyncio.sleep(2)
        await until(lambda: _is(backend, {Place(S, "c", "won"): 3}))


async def _is(backend: Backend, expected: dict[Place, int]) -> bool:
    return await table(backend) == expected


async def test_a_redis_that_is_emptied_takes_the_unread_along_and_counting_goes_on(
    mortal: Backend, valkey: ValkeyServer, cell_name: str
) -> None:
    async with mortal.open_ledger():
        names = await mortal.sale(20, stock=1)
        async with grab_worker(valkey.url, cell_name) as worker, LaneClients(worker) as crowd:
            answers = await crowd.all_grab(names)
            await until(lambda: _are(mortal, heard(answers)))
            await mortal.drained()
            answers += await crowd.all_grab(names)
            await mortal.empty_redis()
            await asyncio.sleep(0.1)  # no gate refuses any more
            answers.append(await crowd.grab(names[-1]))
            while answers[-1].status_code != 409:
                await asyncio.sleep(0.05)
                answers.append(await crowd.grab(names[-1]))
            while not crowd.knows("c"):
                await asyncio.sleep(0.01)
            strangers = await asyncio.gather(*(crowd.grab(name, headers={"Authorization": "Bearer x"}) for name in names))

            async def are_counted() -> bool:
                return (await _sums(mortal))["c", "pass_invalid"] == len(strangers)

            await until(are_counted)
            assert await _sums(mortal) <= heard([*answers, *strangers])


async def _sums(backend: Backend) -> Sums:
    sums: Sums = Counter()
    for place, n in (await table(backend)).items():
        sums[place.campaign_id, place.outcome] += n
    return sums


async def _are(backend: Backend, expected: Sums) -> bool:
    return await _sums(backend) == expected


OPS: Final = "/v1/ops/campaigns"


async def add_up(service: Service, valkey_url: str) -> None:
    """As the ledger does, once the worker has written down all that it counted."""
    await service.worker.counting.close()
    await service.drained()
    link = await RedisLink.open(valkey_url, 2)
    unused: Any = None
    while await CountsReader(service.ledger_engine, service.worker.settings.cell, unused, unused).step(link):
        pass
    await link.close()


async def report_of(service: Service, campaign_id: str, query: str = "") -> dict[str, Any]:
    answer = await service.http.get(f"{OPS}/{campaign_id}/report{query}", headers=service.ops(Role.VIEWER))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_the_report_says_what_happened_and_what_of_it_is_exact(service: Service, valkey_url: str) -> None:
    await service.enrol("m-9", org_id="org-2")
    everybody = {"releases": [{"opens_at": at(-1), "quantity": 1}], "eligibility": {"orgs": ["org-1"]}}
    campaign_id = await service.sale("m-1", "m-2", "m-3", **everybody)
    page = f"/v1/campaigns/{campaign_id}"
    etag = (await service.http.get(page)).headers["etag"]
    assert (await service.http.get(page, headers={"If-None-Match": etag})).status_code == 304
    assert (await service.http.get("/v1/campaigns/made-up")).status_code == 404
    barred, won, *others = [(await service.grab(name, campaign_id)) for name in ("m-9", "m-1", "m-2", "m-1")]
    assert (barred.json()["code"], [answer.status_code for answer in others]) == ("not-eligible", [409, 200])
    await service.drained()
    back = await service.http.post(f"/v1/claims/{won.json()['claim_id']}/return", headers=service.member("m-1"))
    assert back.status_code == 200, back.text
    await asyncio.sleep(0.2)  # the gate hears of it
    assert (await service.grab("m-3", campaign_id)).status_code == 201
    await add_up(service, valkey_url)
    await service.sql("INSERT INTO counts VALUES ($1, $2, 'overloaded', 5)", campaign_id, int(time.time()))

    report = await report_of(service, campaign_id)
    seconds = report.pop("seconds")
    refused = Counter({code: n for one in seconds for code, n in one["refused"].items()})
    assert refused.keys() == {"sold-out", "not-eligible"}
    assert report == {
        "campaign_id": campaign_id,
        "by_org": [{"org_id": "org-1", "name": "org-1", "audience": 3, "granted": 2}],
        "refused": {"not-eligible": 1, "sold-out": 1},
        "exact": ["won", "granted", "audience"],
        "lower_bound": ["opened", "refused", "shed"],
    }
    assert [sum(one[figure] for one in seconds) for figure in ("won", "opened", "shed")] == [2, 2, 5]
    assert seconds == sorted(seconds, key=lambda one: str(one["second"]))
    granted_at_ms = won.json()["granted_at_ms"]
    assert next(one["second"] for one in seconds if one["won"]) == rfc3339(granted_at_ms - granted_at_ms % 1000)

    later = await report_of(service, campaign_id, f"?from={rfc3339(granted_at_ms + 60_000)}")
    earlier = await report_of(service, campaign_id, f"?from={rfc3339(granted_at_ms - 3600_000 - 1000)}")
    assert (later, earlier) == (report | {"seconds": []},) * 2


async def test_nothing_has_happened_in_a_draft_and_who_is_not_of_ops_learns_nothing(service: Service) -> None:
    campaign_id = await service.create()
    report = await report_of(service, campaign_id)
    assert (report["seconds"], report["by_org"], report["refused"]) == ([], [], {})
    assert (await service.http.get(f"{OPS}/{campaign_id}/report", headers=service.member("m-1"))).status_code == 401
    assert (await service.http.get(f"{OPS}/nowhere/report", headers=service.ops())).json()["code"] == "campaign-not-found"
    wrong = await service.http.get(f"{OPS}/{campaign_id}/report?from=noon", headers=service.ops())
    assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "from")


async def test_the_command_line_draws_the_opening(grab: CommandLine, backend: Backend) -> None:
    async with backend.open_ledger():
        names = await backend.enrol(3)
        opening = int(time.time()) - 2
        written_down = json.dumps(definition(releases=[{"opens_at": rfc3339(opening * 1000), "quantity": 3}]))
        campaign_id = (await grab.ok("campaign", "create", "-", "--json", stdin=written_down)).json["campaign_id"]
        assert "0 won, 0 refused" in (await grab.ok("campaign", "report", campaign_id)).out
        await grab.ok("campaign", "schedule", campaign_id)
        await backend.win(campaign_id, names)
        await backend.drained()
    await backend.sql(
        "INSERT INTO counts VALUES (:id, :second, 'sold_out', 2000), (:id, :second, 'opened', 70)",
        id=campaign_id,
        second=opening,
    )
    await backend.sql(
        "INSERT INTO counts VALUES (:id, :second + 1, 'ended', 100)",
        id=campaign_id,
        second=opening,
    )
    said = await grab.ok("campaign", "report", campaign_id)
    lines = said.out.splitlines()
    assert lines[0] == f"{campaign_id}: 3 won, 2,100 refused (2,000 sold-out, 100 ended)"
    assert re.search(r":\d\d +0 +2,000 +0 +70 +·{46}", lines[2])
    assert re.search(r":\d\d +\d +100 +0 +0 +", lines[3])
    assert re.search(r"^org-1 +一工会 +3 +3$", lines[-1])
    assert said.err == "Exact: won, granted, audience. At least so many: opened, refused, shed.\n"
    short = await grab.ok("campaign", "report", campaign_id, "--seconds", "1")
    assert "There are more seconds: raise --seconds." in short.err
    assert (await grab.ok("campaign", "report", campaign_id, "--json")).json["refused"] == {"ended": 100, "sold-out": 2000}
    (await grab.run("campaign", "report", "nowhere")).is_refusal("no such campaign")
