"""The figures of running programs: two workers count together, and the ledger shows its own."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx
import psutil
import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from grab_service.embedded.ports import free_port
from tests.harness.district import District, Site, running_district
from tests.harness.raw_http import wire

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(120),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.xdist_group("figures"),
]

CONNECTIONS, MEMBERS, STOCK = 40, 120, 30


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def district(tmp_path_factory: pytest.TempPathFactory, ledger_port: int) -> AsyncIterator[District]:
    site = Site(workers=2, ledger_metrics_port=ledger_port)
    async with running_district(tmp_path_factory.mktemp("district"), site, members=MEMBERS) as running:
        await running.programs.wait_ready()
        yield running


@pytest.fixture(scope="module")
def ledger_port() -> int:
    return free_port()


@pytest.fixture
def ledger_url(ledger_port: int) -> str:
    return f"http://127.0.0.1:{ledger_port}"


async def figures(url: str) -> dict[str, dict[str, float]]:
    """Figure to its samples, each by the values of its labels."""
    async with httpx.AsyncClient(trust_env=False) as client:
        text = (await client.get(f"{url}/metrics")).text
    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[" ".join(sample.labels.values())] = sample.value
    return found


async def test_two_workers_count_together_to_the_last_answer(district: District) -> None:
    campaign_id = await district.open_campaign(STOCK)
    answers: Counter[str] = Counter()
    async with AsyncExitStack() as wires:
        port = district.settings.port
        opened = [await wires.enter_async_context(wire(port)) for _ in range(CONNECTIONS)]
        for number, grab in enumerate(district.grabs(campaign_id, range(1, MEMBERS + 1))):
            answer = await opened[number % CONNECTIONS].ask(grab)
            answers[{"201": "won", "409": "sold_out"}[answer[9:12].decode()]] += 1
        await asyncio.sleep(2)
        shown = await figures(district.programs.url)
        served = [len(psutil.Process(pid).net_connections("tcp")) for pid in district.worker_pids()]
    assert min(served) > 5, "both workers have clients"
    assert answers == {"won": STOCK, "sold_out": MEMBERS - STOCK}
    told = Counter(shown["grab_answers_total"]) + Counter(shown.get("grab_gate_refusals_total", {}))
    assert told == answers
    assert shown["grab_answer_seconds_count"] == answers
    assert shown["grab_workers"] == {"": 2}
    assert shown["grab_connections_open"][""] >= CONNECTIONS
    assert shown["grab_campaign_units_left"] == {campaign_id: 0}
    assert shown["grab_campaign_claims_active"] == {campaign_id: STOCK}
    assert shown["grab_loop_lag_seconds_count"][""] > 20


async def test_a_worker_that_was_killed_is_no_longer_there_and_what_it_counted_is(district: District) -> None:
    before = await figures(district.programs.url)
    os.kill(district.worker_pids()[0], signal.SIGKILL)

    async def replaced() -> bool:
        shown = await figures(district.programs.url)
        return shown["grab_workers"] == {"": 2} and shown["grab_connections_open"][""] < CONNECTIONS

    await district.until(replaced, 20, pause_s=0.5)
    after = await figures(district.programs.url)
    for outcome, count in before["grab_answer_seconds_count"].items():
        assert after["grab_answer_seconds_count"][outcome] == count


async def test_the_ledger_shows_what_it_leads(district: District, ledger_url: str) -> None:
    async def drained() -> bool:
        return (await figures(ledger_url))["ledger_claims_total"][""] >= STOCK

    await district.until(drained, 10)
    shown = await figures(ledger_url)
    assert shown["ledger_leading"] == shown["ledger_armed"] == {"": 1}
    assert shown["ledger_cell_epoch"] == (await figures(district.programs.url))["grab_cell_epoch"]
    assert shown["ledger_build_info"].keys() == (await figures(district.programs.url))["grab_build_info"].keys()
    assert shown["ledger_replicas"] == {"": 0}
    assert sum(shown["ledger_open_alarms"].values()) == 0
    await district.ask_postgres("INSERT INTO alarms (raised_at_ms, kind, detail) VALUES (1, 'audit_red', '{}')")

    async def told() -> bool:
        return (await figures(ledger_url))["ledger_open_alarms"]["audit_red open"] == 1

    await district.until(told, 10)
    await district.ask_postgres("UPDATE alarms SET acknowledged_at_ms = 2")

    async def known() -> bool:
        alarms = (await figures(ledger_url))["ledger_open_alarms"]
        return (alarms["audit_red open"], alarms["audit_red acknowledged"]) == (0, 1)

    await district.until(known, 10)
