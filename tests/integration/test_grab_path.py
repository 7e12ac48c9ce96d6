"""The grab path of one worker over a real Valkey: gate, batcher, lane."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from redis.asyncio import Redis

from grab_service.cell.replies import CampaignsReply
from grab_service.cell.scripts import ScriptSources
from grab_service.cell.store import Cell
from grab_service.embedded.valkey import ValkeyServer
from grab_service.grabpath import batcher
from grab_service.grabpath import view as view_module
from grab_service.grabpath.answers import Answer
from grab_service.grabpath.batcher import Grab
from grab_service.grabpath.gate import CLOCK_STEP_MS, Gate, Refusal
from grab_service.grabpath.view import CampaignView, StaleViewError, View
from grab_service.server.worker import Worker
from grab_service.vocabulary.campaigns import BenefitKind, Release
from grab_service.vocabulary.claims import ClaimRecord
from grab_service.vocabulary.outcomes import Outcome
from grab_service.vocabulary.passes import PassKeys, mint
from tests.harness import cells
from tests.harness.cells import A_RUSH as RUSH
from tests.harness.cells import arm, armed_cell, grab, now_ms, word
from tests.harness.embedded import started
from tests.harness.pace import before_a_timer
from tests.harness.proxy import Proxy, through
from tests.harness.raw_http import serving
from tests.harness.service import claim_of
from tests.harness.worker import LaneClients, grab_worker, publish, view_of

MEMBERS = [f"m-{number}" for number in range(300)]


def refusal(gate: Gate, view: View, campaign_id: str, member_id: str, *, now_s: float | None = None) -> Refusal | None:
    return gate.refuse(view.campaign(campaign_id), member_id, time.monotonic() if now_s is None else now_s)


def outcome_of(refused: Refusal | None) -> Outcome | None:
    return None if refused is None else refused.outcome


@pytest.fixture
async def cell(cell_name: str, redis_client: Redis) -> Cell:
    return await armed_cell(redis_client, cell_name, MEMBERS)


@pytest.fixture
async def worker(valkey_url: str, cell: Cell) -> AsyncIterator[Worker]:
    async with grab_worker(valkey_url, cell.name) as worker:
        yield worker


@pytest.fixture
async def crowd(worker: Worker) -> AsyncIterator[LaneClients]:
    async with LaneClients(worker) as crowd:
        yield crowd


async def seen(worker: Worker, seq: int) -> None:
    """Wait until the worker's view is complete up to a seq, and young."""
    asked_at_s = worker.clock()
    async with asyncio.timeout(5):
        while worker.view.seq < seq or worker.view.complete_at_s < asked_at_s:
            await asyncio.sleep(0.002)


async def test_a_crowd_takes_the_stock_and_not_one_more(crowd: LaneClients, cell: Cell) -> None:
    await publish(cell, replace(RUSH, stock=40))
    answers = Counter(answer.status_code for answer in await crowd.all_grab(MEMBERS))
    assert answers == {201: 40, 409: 260}


async def test_fifty_taps_at_once_are_one_claim(crowd: LaneClients, cell: Cell) -> None:
    await publish(cell, replace(RUSH, stock=40))
    answers = await crowd.all_grab(["m-1"] * 50)
    assert Counter(answer.status_code for answer in answers) == {201: 1, 200: 49}
    assert len({answer.content for answer in answers}) == 1
    won = answers[0].json()
    assert won["member_id"] == "m-1"
    assert won["unit_no"] == 1
    assert won["voucher"]["code"]


async def test_a_winner_who_asks_again_gets_the_claim_whatever_has_happened_since(
    crowd: LaneClients, worker: Worker, cell: Cell
) -> None:
    await publish(cell, replace(RUSH, stock=1))
    won = await crowd.grab("m-1")
    assert won.status_code == 201
    for action in ("pause", "resume", "close"):
        _, seq, _ = await cell.set_state("c", action)
        await seen(worker, seq)
        again = await crowd.grab("m-1")
        assert (again.status_code, claim_of(again)) == (200, claim_of(won)), action


async def test_the_gate_refuses_as_lua_would(worker: Worker, cell: Cell) -> None:
    now = now_ms()
    situations = {
        "later": (replace(RUSH, campaign_id="later", releases=(Release(now + 60_000, 5),)), "not_open_yet"),
        "gone": (replace(RUSH, campaign_id="gone", stock=1), "sold_out"),
        "halted": (replace(RUSH, campaign_id="halted", stock=5), "paused"),
        "over": (replace(RUSH, campaign_id="over", stock=5), "ended"),
        "off": (replace(RUSH, campaign_id="off", stock=5), "cancelled"),
        "past": (replace(RUSH, campaign_id="past", stock=5, closes_in_ms=-1000), "ended"),
        "between": (
            replace(RUSH, campaign_id="between", releases=(Release(now - 1000, 1), Release(now + 60_000, 5))),
            "sold_out",
        ),
        "open": (replace(RUSH, campaign_id="open", stock=5), None),
    }
    for campaign, _ in situations.values():
        await publish(cell, campaign)
    for name in ("gone", "between"):
        await grab(cell, ["m-0"], name)
    for name, action in (("halted", "pause"), ("over", "close"), ("off", "cancel")):
        await cell.set_state(name, action)
    await seen(worker, cell.seen_seq)
    gate = Gate(worker.view, age_max_s=0.05)
    for name, (_, expected) in situations.items():
        await seen(worker, cell.seen_seq)
        assert outcome_of(refusal(gate, worker.view, name, "m-9")) == expected, name
        if expected is not None:
            assert word((await grab(cell, ["m-9"], name)).answers[0]) == expected
    refused = refusal(gate, worker.view, "between", "m-9")
    assert refused is not None
    assert refused.next_release_at_ms == now + 60_000


async def test_a_campaign_whose_holders_could_not_be_read_at_first_is_known_in_the_end(
    worker: Worker, cell: Cell, redis_client: Redis
) -> None:
    await seen(worker, cell.seen_seq)
    bindings = cell.keys.of_campaign("c").bindings
    await redis_client.set(bindings, "of a wrong type")
    await publish(cell, replace(RUSH, stock=1))
    await asyncio.sleep(0.2)
    known = worker.view.campaign("c")
    assert known is None or not known.ready
    await redis_client.delete(bindings)
    await grab(cell, ["m-0"])
    await seen(worker, cell.seen_seq)
    assert (known := worker.view.campaign("c")) is not None
    assert known.ready
    assert "m-0" in known.holders


async def test_the_gate_never_refuses_a_holder_nor_whom_a_key_binds_to_a_claim_given_back(worker: Worker, cell: Cell) -> None:
    await publish(cell, replace(RUSH, stock=2))
    await grab(cell, [("m-0", "key"), "m-1"])
    record = (await cell.read_claims("m-0", ["c"]))[0]
    outcome, _ = await cell.return_unit("c", "m-0", ClaimRecord.parse(record).seq, "returned")
    assert outcome == "returned"
    await grab(cell, ["m-2"])
    await seen(worker, cell.seen_seq)
    gate = Gate(worker.view, age_max_s=0.05)
    assert refusal(gate, worker.view, "c", "m-0") is None
    assert refusal(gate, worker.view, "c", "m-1") is None
    assert outcome_of(refusal(gate, worker.view, "c", "m-9")) is Outcome.SOLD_OUT


async def test_the_gate_says_nothing_once_its_view_is_old(worker: Worker, cell: Cell) -> None:
    await publish(cell, replace(RUSH, stock=1))
    await grab(cell, ["m-0"])
    await seen(worker, cell.seen_seq)
    gate = Gate(worker.view, age_max_s=0.05)
    assert refusal(gate, worker.view, "c", "m-9") is not None
    assert refusal(gate, worker.view, "c", "m-9", now_s=worker.view.complete_at_s + 0.051) is None


async def test_the_gate_is_silent_around_an_opening(worker: Worker, cell: Cell) -> None:
    opens_at_ms = now_ms() + 400
    await publish(cell, replace(RUSH, releases=(Release(opens_at_ms, 1000),)))
    gate = Gate(worker.view, age_max_s=0.05)
    await seen(worker, cell.seen_seq)
    refused_at_ms = 0
    while now_ms() < opens_at_ms + 20:
        asked_at_ms = now_ms()
        if refusal(gate, worker.view, "c", "m-9") is not None:
            refused_at_ms = asked_at_ms
        await asyncio.sleep(0)
    assert opens_at_ms - 100 < refused_at_ms < opens_at_ms


async def test_a_second_release_opens_by_the_clock(crowd: LaneClients, cell: Cell) -> None:
    opens_at_ms = now_ms() + 500
    await publish(cell, replace(RUSH, releases=(Release(now_ms() - 1000, 1), Release(opens_at_ms, 3))))
    assert (await crowd.grab("m-0")).status_code == 201
    number = 1
    first_win_ms = None
    async with asyncio.timeout(5):
        while first_win_ms is None:
            answer = await crowd.grab(f"m-{number}")
            number += 1
            if answer.status_code == 201:
                first_win_ms = answer.json()["granted_at_ms"]
            else:
                assert answer.json()["next_release_at_ms"] == opens_at_ms
                await asyncio.sleep(0.002)
    assert 0 <= first_win_ms - opens_at_ms < 100


async def test_without_scripts_nothing_is_decided_and_it_goes_on_by_itself(tmp_path: Path, cell_name: str) -> None:
    async with (
        started(ValkeyServer(tmp_path / "valkey")) as server,
        Redis.from_url(server.url) as client,
        grab_worker(server.url, cell_name) as worker,
        LaneClients(worker) as crowd,
    ):
        refused = await crowd.grab("m-1")
        assert (refused.status_code, refused.json()["code"]) == (503, "paused-for-recovery")
        assert int(refused.headers["Retry-After"]) >= 1
        await publish(await armed_cell(client, cell_name, ["m-1", "m-2"]), replace(RUSH, stock=2))
        await asyncio.sleep(0.2)
        assert (await crowd.grab("m-1")).status_code == 201
        await client.script_flush()
        assert (await crowd.grab("m-2")).json()["code"] == "paused-for-recovery"


@asynccontextmanager
async def behind_a_redis_of_its_own(
    tmp_path: Path, cell_name: str, **settings: Any
) -> AsyncIterator[tuple[ValkeyServer, LaneClients]]:
    """A Valkey that may be stopped, and members who grab at a worker of it; it goes on when the block ends."""
    async with (
        started(ValkeyServer(tmp_path / "valkey")) as server,
        Redis.from_url(server.url) as client,
    ):
        await publish(await armed_cell(client, cell_name, MEMBERS), replace(RUSH, stock=300))
        async with grab_worker(server.url, cell_name, **settings) as worker, LaneClients(worker) as crowd:
            # So that a grab need not wait for a new connection, which nobody answers, while the view waits on the only one.
            await asyncio.gather(*(worker.batcher._cell.tail(0, 1) for _ in range(4)))
            try:
                yield server, crowd
            finally:
                server.send(signal.SIGCONT)


async def test_a_redis_that_hangs_is_an_unknown_outcome_within_the_deadline(tmp_path: Path, cell_name: str) -> None:
    settings = {"grab_deadline_s": 0.5, "waiting_max": 10}
    async with behind_a_redis_of_its_own(tmp_path, cell_name, **settings) as (server, crowd):
        assert (await crowd.grab("m-0")).status_code == 201
        server.send(signal.SIGSTOP)
        first = asyncio.create_task(crowd.grab("m-1"))
        await asyncio.sleep(0.1)
        answers = await before_a_timer(1.4, crowd.all_grab(MEMBERS[2:30]))
        codes = Counter(answer.json()["code"] for answer in (await before_a_timer(0, first), *answers))
        server.send(signal.SIGCONT)
        assert codes["outcome-unknown"] >= 1
        assert codes["overloaded"] >= 18
        assert sum(codes.values()) == 29
        # A repeat tells the outcome.
        async with asyncio.timeout(5):
            while (again := await crowd.grab("m-1")).status_code == 503:
                await asyncio.sleep(0.05)
        assert again.status_code in {200, 201}


@pytest.mark.parametrize(
    ("headers", "content", "status", "code"),
    [
        ({"Content-Type": "text/plain"}, b"hello", 415, "unsupported-media-type"),
        ({"Content-Type": "application/json"}, b"{", 400, "malformed"),
        ({"Content-Type": "application/json"}, b'{"quantity": 2}', 422, "validation"),
        ({"Content-Type": "application/json"}, b"[]", 422, "validation"),
        ({"Content-Type": "application/json"}, b"{}", 201, None),
        ({"Content-Type": "application/json"}, b"x" * 1_000_000, 413, "too-large"),
        ({"Idempotency-Key": "with a space"}, b"", 400, "malformed"),
        ({"Idempotency-Key": "k" * 65}, b"", 400, "malformed"),
    ],
)
async def test_what_is_sent_along_is_checked_before_anything_is_decided(
    crowd: LaneClients, worker: Worker, cell: Cell, headers: dict[str, str], content: bytes, status: int, code: str | None
) -> None:
    await publish(cell, replace(RUSH, stock=1))
    sent = {"Authorization": f"Bearer {crowd.pass_of('m-1')}", **headers}
    async with serving(worker) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        answer = await client.post("/v1/campaigns/c/claims", headers=sent, content=content)
    assert (answer.status_code, answer.json().get("code")) == (status, code)
    assert "X-Server-Time-Ms" in answer.headers
    if status != 201:
        assert (await cell.read_claims("m-1", ["c"])) == [b""]
        assert answer.headers["Content-Type"] == "application/problem+json"


async def test_passes_that_are_not_ours_are_refused(crowd: LaneClients, worker: Worker, cell: Cell) -> None:
    await publish(cell, replace(RUSH, stock=10))
    good = crowd.pass_of("m-1")
    stranger = mint(PassKeys.build(cell.name, [("k1", b"another secret altogether")]), "m-1", int(time.time()) + 60)
    refused = {
        "": "pass-invalid",
        "Bearer": "pass-invalid",
        "Bearer ": "pass-invalid",
        "Basic abc": "pass-invalid",
        f"Bearer {good[:-1]}": "pass-invalid",
        f"Bearer {stranger}": "pass-invalid",
        f"Bearer {crowd.pass_of('m-1', ttl_s=-1)}": "pass-expired",
        f"Bearer {'x' * 5000}": "pass-invalid",
    }
    for authorization, code in refused.items():
        answer = await crowd.grab("m-1", headers={"Authorization": authorization})
        assert (answer.status_code, answer.json()["code"]) == (401, code), authorization
    assert (await crowd.grab("m-1")).status_code == 201


async def test_unknown_campaigns_are_not_found_and_other_paths_are_passed_on(crowd: LaneClients, cell: Cell) -> None:
    for campaign_id in ("nothing", "UPPER", "a" * 41, "c%2Fd"):
        answer = await crowd.grab("m-1", campaign_id)
        if answer.headers.get("x-passed-on") is None:
            assert (answer.status_code, answer.json()["code"]) == (404, "campaign-not-found"), campaign_id
    assert (await crowd.http.get("/v1/campaigns/c/claims")).headers["x-passed-on"] == "1"
    assert (await crowd.http.post("/v1/campaigns/c/d/claims")).headers["x-passed-on"] == "1"


async def test_where_the_limit_is_above_one_a_key_is_required_and_binds(crowd: LaneClients, cell: Cell) -> None:
    await publish(cell, replace(RUSH, stock=10, limit_per_member=2))
    assert (await crowd.grab("m-1")).json()["code"] == "idempotency-key-missing"
    first = await crowd.grab("m-1", headers={"Idempotency-Key": "a"})
    again = await crowd.grab("m-1", headers={"Idempotency-Key": "a"})
    second = await crowd.grab("m-1", headers={"Idempotency-Key": "b"})
    third = await crowd.grab("m-1", headers={"Idempotency-Key": "c"})
    assert [answer.status_code for answer in (first, again, second, third)] == [201, 200, 201, 409]
    assert claim_of(first) == claim_of(again)
    assert (third.json()["limit"], third.json()["used"]) == (2, 2)


@pytest.mark.parametrize("limit", [1, 2])
async def test_a_record_that_cannot_be_read_keeps_its_member_waiting_and_nobody_else(
    limit: int, crowd: LaneClients, worker: Worker, cell: Cell, redis_client: Redis
) -> None:
    await publish(cell, replace(RUSH, stock=40, limit_per_member=limit))
    key = {"Idempotency-Key": "k"}
    assert (await crowd.grab("m-3", headers=key)).status_code == 201
    await redis_client.hset(cell.keys.of_campaign("c").claims, "m-3", "4\t1\t1\t1\t1795763780003\tCODE\t")
    await redis_client.delete(cell.keys.of_campaign("c").bindings)
    answers = await asyncio.gather(*(crowd.grab(name, headers=key) for name in MEMBERS[:8]))
    assert [answer.status_code for answer in answers] == [201, 201, 201, 503, 201, 201, 201, 201]
    assert answers[3].json()["code"] == "paused-for-recovery"
    assert "CODE" not in answers[3].text


async def test_a_win_whose_record_cannot_be_read_leaves_no_other_grab_without_an_answer(
    crowd: LaneClients, cell: Cell, redis_client: Redis
) -> None:
    pool = replace(RUSH, stock=8, benefit_kind=BenefitKind.CODE_POOL)
    await cell.load_codes(pool.campaign_id, 1, [f"code-{number}" for number in range(8)])
    await publish(cell, pool)
    await redis_client.lset(cell.keys.of_campaign("c").codes, 3, "A\tB")
    answers = await asyncio.gather(*(crowd.grab(name) for name in MEMBERS[:8]))
    assert sorted(answer.status_code for answer in answers) == [201] * 7 + [503]
    assert [answer.json()["code"] for answer in answers if answer.status_code == 503] == ["outcome-unknown"]


async def test_a_member_who_hammers_is_slowed_down_and_nobody_else(crowd: LaneClients, cell: Cell) -> None:
    await publish(cell, replace(RUSH, stock=10))
    answers = await crowd.all_grab(["m-1"] * 101)
    slowed = [answer for answer in answers if answer.status_code == 429]
    assert len(slowed) == 1
    assert slowed[0].json()["code"] == "rate-limited"
    assert int(slowed[0].headers["Retry-After"]) >= 1
    assert (await crowd.grab("m-2")).status_code == 201


async def test_refusals_speak_the_language_asked_for(crowd: LaneClients, cell: Cell) -> None:
    chinese = await crowd.grab("m-1", "nothing")
    english = await crowd.grab("m-1", "nothing", headers={"Accept-Language": "en"})
    assert chinese.headers["Content-Language"] == "zh"
    assert english.headers["Content-Language"] == "en"
    assert chinese.json()["detail"] != english.json()["detail"]
    assert english.json()["detail"].isascii()


class HeldUp(Cell):
    """A cell whose answers about campaigns are handed over late: after `released` is set, once `held` is."""

    def __init__(self, client: Redis, name: str) -> None:
        super().__init__(client, name, ScriptSources.read())
        self.late: dict[tuple[str, ...], asyncio.Event] = {}
        self.asked: dict[tuple[str, ...], asyncio.Event] = {}

    def hold_up(self, *campaign_ids: str) -> None:
        self.late[campaign_ids], self.asked[campaign_ids] = asyncio.Event(), asyncio.Event()

    async def read_campaigns(self, campaign_ids: Sequence[str]) -> CampaignsReply:
        reply = await super().read_campaigns(campaign_ids)
        late = self.late.pop(tuple(campaign_ids), None)
        if late is not None:
            self.asked[tuple(campaign_ids)].set()
            await late.wait()
        return reply


async def test_what_was_read_in_the_life_before_is_not_taken_for_the_one_after(cell: Cell, redis_client: Redis) -> None:
    """Else a campaign would stay as it was before a recovery: sold out by claims that are gone."""
    held = HeldUp(redis_client, cell.name)
    async with view_of(held, poll_s=0.9) as view:
        await publish(cell, replace(RUSH, stock=3))
        assert {word(answer) for answer in (await grab(cell, MEMBERS[:3])).answers} == {"won"}

        held.hold_up("c")
        held.hold_up()
        late, late_list = held.late[("c",)], held.late[()]
        knowing = asyncio.create_task(view._load(["c"]))
        await held.asked[("c",)].wait()
        # Another life, in which nobody has won anything yet.
        await redis_client.delete(cell.keys.of_campaign("c").claims, cell.keys.log)
        nothing_yet: dict[Any, Any] = {"active": 0, "issued": 0, "unit_sum": 0, "seq_sum": 0}
        await redis_client.hset(cell.keys.of_campaign("c").campaign, mapping=nothing_yet)
        await arm(redis_client, cell.name, ScriptSources.read(), epoch=2, seq=2)
        view.wake()
        await held.asked[()].wait()
        late.set()
        await asyncio.sleep(0.05)
        late_list.set()
        await knowing
        async with asyncio.timeout(5):
            while view.seq != 2 or view.campaign("c") is None:
                view.wake()
                await asyncio.sleep(0.01)
        now = view.campaign("c")
        assert now is not None
        assert (now.active, now.as_of_seq, now.holders) == (0, 2, set())


async def test_a_fresh_view_says_by_itself_that_a_campaign_does_not_exist(
    worker: Worker, cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def asked(*_: object) -> None:
        raise AssertionError("the cell was asked for an id that somebody made up")

    await seen(worker, cell.seen_seq)
    monkeypatch.setattr(worker.view._cell, "read_campaigns", asked)
    assert await worker.view.find("made-up") is None


async def test_all_who_wait_for_a_fresh_view_share_one_poll(
    cell: Cell, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with view_of(worker.cell) as view:
        await cells.publish(cell, replace(RUSH, stock=1))
        await asyncio.sleep(0.06)
        assert not view.is_fresh
        polls, tail = 0, view._cell.tail

        async def counted(*asked: Any) -> Any:
            nonlocal polls
            polls += 1
            return await tail(*asked)

        monkeypatch.setattr(view._cell, "tail", counted)
        found = await asyncio.gather(*(view.find("c") for _ in range(50)), view.find("made-up"))
        assert {campaign.campaign_id for campaign in found[:50] if campaign} == {"c"}
        assert found[50] is None
        assert polls == 1


async def test_a_view_that_begins_anew_says_of_no_campaign_that_it_does_not_exist(
    worker: Worker, cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view_module, "FIND_TIMEOUT_S", 0.01)
    await publish(cell, replace(RUSH, stock=1))
    async with view_of(worker.cell, age_max_s=10) as view:
        assert await view.find("c") is not None
        read_campaigns, go_on = view._cell.read_campaigns, asyncio.Event()

        async def late(campaign_ids: list[str]) -> CampaignsReply:
            await go_on.wait()
            return await read_campaigns(campaign_ids)

        monkeypatch.setattr(view._cell, "read_campaigns", late)
        view._epoch = 0
        view.wake()
        await asyncio.sleep(0.05)
        with pytest.raises(StaleViewError):
            await view.find("c")
        go_on.set()
        await asyncio.sleep(0.05)
        assert await view.find("c") is not None


async def test_a_view_that_does_not_become_fresh_says_nothing_about_a_campaign(
    worker: Worker, cell: Cell, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view_module, "FIND_TIMEOUT_S", 0.1)
    await publish(cell, replace(RUSH, stock=1))
    await redis_client.client_pause(600)
    await asyncio.sleep(0.1)
    with pytest.raises(StaleViewError):
        await worker.view.find("made-up")
    async with LaneClients(worker) as crowd:
        answer = await crowd.grab("m-1", "made-up")
        assert (answer.status_code, answer.json()["code"]) == (503, "paused-for-recovery")
        await asyncio.sleep(0.6)
        assert (await crowd.grab("m-1", "made-up")).status_code == 404
        assert (await crowd.grab("m-1")).status_code == 201


async def test_no_code_is_offered_again_once_it_is_won(
    crowd: LaneClients, worker: Worker, cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Candidates that nobody won are used again; here they all are within a few batches."""
    monkeypatch.setattr(batcher, "CODES_KEPT", 16)
    worker.batcher._codes._codes.clear()
    await publish(cell, replace(RUSH, stock=40))
    codes = []
    for at in range(0, 60, 10):
        answers = await crowd.all_grab(MEMBERS[at : at + 10])
        codes += [answer.json()["voucher"]["code"] for answer in answers if answer.status_code == 201]
    assert len(codes) == len(set(codes)) == 40


async def test_who_may_not_wait_any_more_is_told_so_at_once(worker: Worker, cell: Cell) -> None:
    await publish(cell, replace(RUSH, stock=300))
    await seen(worker, cell.seen_seq)
    told: list[Answer] = []
    worker.batcher._waiting_max = 10
    for name in MEMBERS[:31]:  # nothing is sent before this task waits for something
        worker.batcher.submit(Grab("c", name, "", "zh", told.append), worker.clock())
    assert [one.status for one in told] == [503] * 21
    assert {orjson.loads(one.body)["code"] for one in told} == {"overloaded"}
    async with asyncio.timeout(5):
        while len(told) < 31:
            await asyncio.sleep(0.01)
    assert sum(one.status == 201 for one in told) == 10


async def test_as_many_batches_are_on_their_way_as_the_setting_says_and_no_more(
    cell: Cell, valkey_url: str, redis_client: Redis
) -> None:
    names = [f"c{number}" for number in range(5)]
    for name in names:
        await publish(cell, replace(RUSH, campaign_id=name, stock=5))
    async with grab_worker(valkey_url, cell.name, batches_in_flight_max=2) as worker, LaneClients(worker) as crowd:
        await seen(worker, cell.seen_seq)
        batches = worker.batcher._tasks
        await redis_client.client_pause(60_000, all=False)  # nothing that writes is answered
        grabs = [asyncio.create_task(crowd.grab(f"m-{number}", name)) for number, name in enumerate(names)]
        while worker.batcher.waiting + len(batches) < len(names):
            await asyncio.sleep(0.002)
        assert len(batches) == 2
        await redis_client.client_unpause()
        assert [answer.status_code for answer in await asyncio.gather(*grabs)] == [201] * 5


async def test_what_was_sent_too_late_to_be_heard_is_an_unknown_outcome(tmp_path: Path, cell_name: str) -> None:
    """It waited behind a batch that was not answered, was sent, and then its time was over."""
    async with behind_a_redis_of_its_own(tmp_path, cell_name, grab_deadline_s=2.0) as (server, crowd):
        server.send(signal.SIGSTOP)
        first = asyncio.create_task(crowd.grab("m-1"))
        await asyncio.sleep(1.4)
        asked_s = time.monotonic()
        # The call in which it travels would go on until 2.6 s after it was asked.
        second = await before_a_timer(2.3, crowd.grab("m-2"))
        took_s = time.monotonic() - asked_s
        server.send(signal.SIGCONT)
        assert (await first).json()["code"] == "outcome-unknown"
        assert second.json()["code"] == "outcome-unknown"
        assert took_s > 1.9, "the deadline is the grab's own"


async def test_a_slow_network_makes_the_view_old_and_never_young(
    cell: Cell, valkey_url: str, valkey_server: ValkeyServer
) -> None:
    async with Proxy(valkey_server.port) as proxy, grab_worker(through(valkey_url, proxy.port), cell.name) as worker:
        await publish(cell, replace(RUSH, stock=1))
        await grab(cell, ["m-0"])
        await seen(worker, cell.seen_seq)
        gate = Gate(worker.view, age_max_s=0.05)
        assert refusal(gate, worker.view, "c", "m-9") is not None
        proxy.weather.delay_s = 0.04
        await asyncio.sleep(0.2)
        # Each answer is read at least 80 ms after its question was sent.
        for _ in range(100):
            assert refusal(gate, worker.view, "c", "m-9") is None
            await asyncio.sleep(0.005)
        proxy.fine()


async def test_a_worker_that_starts_late_knows_all_who_hold_or_held(cell: Cell, valkey_url: str) -> None:
    await publish(cell, replace(RUSH, stock=2))
    await grab(cell, [("m-0", "key"), "m-1"])
    record = (await cell.read_claims("m-0", ["c"]))[0]
    await cell.return_unit("c", "m-0", ClaimRecord.parse(record).seq, "returned")
    await grab(cell, ["m-2"])
    async with grab_worker(valkey_url, cell.name) as worker:
        gate = Gate(worker.view, age_max_s=0.05)
        for name, is_refused in (("m-0", False), ("m-1", False), ("m-2", False), ("m-9", True)):
            await seen(worker, cell.seen_seq)
            assert (refusal(gate, worker.view, "c", name) is not None) is is_refused, name


async def test_nobody_is_refused_before_all_who_hold_are_known(
    worker: Worker, cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with view_of(worker.cell, poll_s=5) as view:
        read_holders, go_on = view._read_holders, asyncio.Event()

        async def late(campaign: CampaignView) -> None:
            await go_on.wait()
            await read_holders(campaign)

        monkeypatch.setattr(view, "_read_holders", late)
        await publish(cell, replace(RUSH, stock=1))
        await grab(cell, ["m-0"])
        knowing = asyncio.create_task(view._load(["c"]))
        gate = Gate(view, age_max_s=0.05)
        async with asyncio.timeout(5):
            while view.seq < cell.seen_seq:
                await asyncio.sleep(0.02)
                view.wake()
        assert refusal(gate, view, "c", "m-0") is None
        go_on.set()
        await knowing
        async with asyncio.timeout(5):
            while refusal(gate, view, "c", "m-9") is None:
                view.wake()
                await asyncio.sleep(0.002)
        assert refusal(gate, view, "c", "m-0") is None


async def test_a_view_that_missed_an_entry_is_built_anew(worker: Worker, cell: Cell, redis_client: Redis) -> None:
    async with view_of(worker.cell, poll_s=5) as view:
        seq = await publish(cell, replace(RUSH, campaign_id="missed"))
        await publish(cell, replace(RUSH, campaign_id="seen"))
        await redis_client.xdel(cell.keys.log, f"{seq}-0")
        async with asyncio.timeout(5):
            while view.campaign("seen") is None:
                view.wake()
                await asyncio.sleep(0.01)
        assert view.campaign("missed") is not None


async def test_the_gate_is_silent_around_a_closing(worker: Worker, cell: Cell) -> None:
    await publish(cell, replace(RUSH, stock=5, closes_in_ms=400))
    await seen(worker, cell.seen_seq)
    campaign = worker.view.campaign("c")
    assert campaign is not None
    gate = Gate(worker.view, age_max_s=0.05)
    async with asyncio.timeout(5):
        while refusal(gate, worker.view, "c", "m-9") is None:
            await asyncio.sleep(0)
    assert now_ms() >= campaign.closes_at_ms


async def test_a_campaign_that_cannot_be_read_stops_no_worker(
    crowd: LaneClients, worker: Worker, cell: Cell, redis_client: Redis
) -> None:
    await publish(cell, replace(RUSH, stock=1))
    await publish(cell, replace(RUSH, campaign_id="odd", display="{}"))

    async def until_fresh(wanted: bool) -> None:
        async with asyncio.timeout(10):
            while worker.view.is_fresh is not wanted:
                await asyncio.sleep(0.01)

    await until_fresh(False)
    assert (await crowd.grab("m-1")).status_code == 201, "Lua decides on"
    await redis_client.hset(cell.keys.of_campaign("odd").campaign, "display", RUSH.display)
    await until_fresh(True)
    assert (await crowd.grab("m-2")).json()["code"] == "sold-out"


async def test_a_stock_that_rises_is_sold_and_one_that_falls_to_what_is_held_is_sold_out(
    crowd: LaneClients, worker: Worker, cell: Cell
) -> None:
    await publish(cell, replace(RUSH, stock=1))
    gate = Gate(worker.view, age_max_s=0.05)

    async def outcome() -> Outcome | None:
        await seen(worker, cell.seen_seq)
        return outcome_of(refusal(gate, worker.view, "c", "m-9"))

    assert (await crowd.grab("m-0")).status_code == 201
    await grab(cell, ["m-9"])  # brings the seq of the win
    assert await outcome() is Outcome.SOLD_OUT
    # One unit more is one win more, by the gate that refused a moment ago.
    assert (await cell.set_stock("c", 1, 2)).outcome == "stock_set"
    assert await outcome() is None
    assert [(await crowd.grab(name)).status_code for name in ("m-1", "m-2")] == [201, 409]
    assert (await cell.set_stock("c", 2, 5)).outcome == "stock_set"
    assert await outcome() is None
    # Down to one above what is held: one is left. Down to what is held: nothing is.
    assert (await cell.set_stock("c", 5, 3)).outcome == "stock_set"
    assert await outcome() is None
    assert (await cell.set_stock("c", 3, 2)).outcome == "stock_set"
    assert await outcome() is Outcome.SOLD_OUT
    assert word((await grab(cell, ["m-9"])).answers[0]) == "sold_out"


async def test_the_gate_follows_every_change_of_state(worker: Worker, cell: Cell) -> None:
    await publish(cell, replace(RUSH, stock=1))
    gate = Gate(worker.view, age_max_s=0.05)
    for action, expected in (("pause", Outcome.PAUSED), ("resume", None), ("pause", Outcome.PAUSED), ("close", Outcome.ENDED)):
        await cell.set_state("c", action)
        await seen(worker, cell.seen_seq)
        assert outcome_of(refusal(gate, worker.view, "c", "m-9")) is expected, action


EDGES = {
    "an opening": (replace(RUSH, opens_in_ms=60_000), "opens_at_ms", Outcome.NOT_OPEN_YET, None),
    "an opening, paused": (replace(RUSH, opens_in_ms=60_000), "opens_at_ms", Outcome.NOT_OPEN_YET, Outcome.PAUSED),
    "a later release": (RUSH, "later", Outcome.SOLD_OUT, None),
    "a closing, sold out": (RUSH, "closes_at_ms", Outcome.SOLD_OUT, Outcome.ENDED),
    "a closing, paused": (RUSH, "closes_at_ms", Outcome.PAUSED, Outcome.ENDED),
}


@pytest.mark.parametrize("edge", EDGES)
async def test_a_refusal_ends_at_the_last_moment_at_which_it_is_certain(edge: str, worker: Worker, cell: Cell) -> None:
    published, name, before, after = EDGES[edge]
    if name == "later":
        releases = (Release(now_ms() - 1_000, 1), Release(now_ms() + 60_000, 1), Release(now_ms() + 90_000, 1))
        published = replace(published, releases=releases)
    await publish(cell, published)
    await grab(cell, ["m-0"])
    if Outcome.PAUSED in (before, after):
        await cell.set_state("c", "pause")
    await seen(worker, cell.seen_seq)
    view, campaign = worker.view, worker.view.campaign("c")
    assert campaign is not None
    edge_ms = campaign.releases[1].opens_at_ms if name == "later" else int(getattr(campaign, name))
    now_s = time.monotonic()
    bounds = view.now_bounds_ms(now_s)
    assert bounds is not None
    high_ms = bounds[1]

    def at(time_ms: int, *, bound: int = 1) -> Outcome | None:
        """The refusal, judged anew, at a moment at which the lower (0) or the upper (1) bound of the clock shows that time."""
        middle_s = now_s + (time_ms - bounds[bound]) / 1000
        # A bound is a whole number of milliseconds, so that its step lies somewhere within the millisecond around the middle.
        near_s = (middle_s + tenth / 10_000 for tenth in range(-9, 10))
        moment_s = next(near for near in near_s if (view.now_bounds_ms(near) or bounds)[bound] == time_ms)
        return outcome_of(Gate(view, age_max_s=1e9).refuse(campaign, "m-9", moment_s))

    # Judged anew: certain as long as not even the highest possible time has reached it, and after it once the lowest has.
    assert at(edge_ms - CLOCK_STEP_MS - 1) is before
    assert at(edge_ms) is None
    if after is not None:
        assert at(edge_ms - 1, bound=0) is None
        assert at(edge_ms, bound=0) is after
    # Judged once: it holds until then, and no longer.
    gate = Gate(view, age_max_s=1e9)
    refused = gate.refuse(campaign, "m-9", now_s)
    assert refused is not None
    assert refused.outcome is before
    assert refused.until_s == pytest.approx(now_s + (edge_ms - high_ms - CLOCK_STEP_MS) / 1000, abs=1e-6, rel=0)
    assert gate.refuse(campaign, "m-9", refused.until_s) is refused
    assert gate.refuse(campaign, "m-9", refused.until_s + 0.0001) is None
