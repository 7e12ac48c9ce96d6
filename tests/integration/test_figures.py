"""The figures of workers and ledger: their names, what they count, and what is left out."""

import asyncio
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from grab_service.measures.durations import Durations
from grab_service.server import figures
from grab_service.vocabulary.passes import Role
from reconcile.alarms import AlarmKind
from reconcile.counters import Counters, shown
from tests.harness.raw_http import request, serving, wire
from tests.harness.service import Service, at

OPERATIONS = Path(__file__).parents[2] / "docs/OPERATIONS.md"
ALARMS = {(kind.value, "open"): 0 for kind in AlarmKind}


def families(text: str) -> Iterator[Metric]:
    """The figures of ours in a page of metrics, but for the moments at which counters began."""
    for family in text_string_to_metric_families(text):
        if family.name.startswith(("grab_", "ledger_")) and not family.name.endswith("_created"):
            yield family


def samples(text: str, name: str) -> dict[str, float]:
    """Samples by the value of their only label, or of all of them."""
    found = (sample for family in families(text) for sample in family.samples if sample.name == name)
    return {" ".join(value for key, value in sorted(sample.labels.items()) if key != "le"): sample.value for sample in found}


async def page(service: Service) -> str:
    """All that was counted so far."""
    service.worker.figures.flush()
    await asyncio.sleep(1.05)  # a page is kept for a second
    return (await service.http.get("/metrics")).text


def of_ledger(counters: Counters) -> str:
    return generate_latest(shown(counters, "rules")).decode()


async def test_all_figures_are_documented_and_no_others(service: Service) -> None:
    documented = re.findall(r"^\| (`(?:grab|ledger)_[^|]+) \|", OPERATIONS.read_text(encoding="utf-8"), re.MULTILINE)
    names = Counter(name for cell in documented for name in re.findall(r"`(\w+)[^`]*`", cell))
    text = await page(service) + of_ledger(Counters(open_alarms=ALARMS))
    shown_names = {family.name + ("_total" if family.type == "counter" else "") for family in families(text)}
    assert names == dict.fromkeys(shown_names, 1)


async def test_prometheus_own_check_finds_nothing_to_say_of_the_names(service: Service) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not there (Debian: the package prometheus)")
    await service.grab("m-1", await service.sale("m-1"))
    texts = (await page(service), of_ledger(Counters(open_alarms=ALARMS)))
    for text in texts:
        checked = await asyncio.to_thread(
            subprocess.run, [promtool, "check", "metrics"], input=text.encode(), capture_output=True, check=False
        )
        assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


async def test_every_answer_to_a_grab_is_timed_by_its_outcome_whichever_way_it_takes(service: Service) -> None:
    campaign_id = await service.sale("m-1", "m-2", releases=[{"opens_at": at(-1), "quantity": 1}])
    heard: Counter[str] = Counter()
    async with serving(service.worker, service.app) as port, wire(port) as one:
        for member, more in (
            ("m-1", ()),
            ("m-1", ()),
            ("m-2", ()),
            ("m-2", ("Expect: nothing",)),
            ("m-1", ("Content-Length: 1",)),
        ):
            lines = (f"Authorization: {service.member(member)['Authorization']}", *more)
            answer = await one.ask(request(campaign_id, *lines) + (b"{" if "Content-Length: 1" in more else b""))
            heard[answer[9:12].decode()] += 1
    assert heard == {"201": 1, "200": 1, "409": 2, "400": 1}
    text = await page(service)
    assert samples(text, "grab_answer_seconds_count") == {"won": 1, "held": 1, "sold_out": 2, "malformed": 1}
    assert 0 < samples(text, "grab_answer_seconds_sum")["won"] < 2


def test_a_duration_lies_in_the_bucket_whose_bound_is_not_below_it() -> None:
    durations = Durations("grab_of_a_test_seconds", "Of a test", ["kind"], (0.1, 0.5))
    for kept_s in ([0.5, 0.05, 0.1], [0.7, 0.100001]):
        durations["a"] += kept_s
        durations.flush()
        assert not durations["a"]
    (family,) = [family for family in REGISTRY.collect() if family.name == "grab_of_a_test_seconds"]
    buckets = {sample.labels["le"]: sample.value for sample in family.samples if sample.name.endswith("_bucket")}
    assert buckets == {"0.1": 2, "0.5": 4, "+Inf": 5}


async def test_ordinary_calls_are_counted_by_their_route_and_never_by_what_callers_make_up(service: Service) -> None:
    campaign_id = await service.publish()
    asked = [
        ("GET", f"/v1/campaigns/{campaign_id}", 200),
        ("GET", f"/v1/campaigns/{campaign_id}/state", 200),
        ("GET", "/v1/campaigns/unknown/state", 404),
        ("GET", "/v1/time", 200),
        ("DELETE", "/v1/time", 405),
        ("GET", "/made/up", 404),
        ("MADEUP", "/made/up", 404),
        ("GET", "/v1/me/claims", 401),
    ]
    before = samples(await page(service), "grab_http_requests_total")
    for method, path, status in asked:
        assert (await service.http.request(method, path)).status_code == status
    text = await page(service)
    grown = Counter(samples(text, "grab_http_requests_total")) - Counter(before)
    assert grown == {
        "GET /v1/campaigns/{campaign_id} 200": 1,
        "GET /v1/campaigns/{campaign_id}/state 200": 1,
        "GET /v1/campaigns/{campaign_id}/state 404": 1,
        "GET /v1/time 200": 1,
        "DELETE /v1/time 405": 1,
        "GET other 404": 1,
        "other other 404": 1,
        "GET /v1/me/claims 401": 1,
        "GET /metrics 200": 1,
    }
    assert "made" not in text.lower()
    assert samples(text, "grab_http_request_seconds_count")["GET /v1/time"] == 1


async def test_requests_refused_before_their_call_are_counted_by_problem(service: Service) -> None:
    async with serving(service.worker, service.app) as port:
        for sent in (b"no HTTP\r\n\r\n", b"POST /v1/sessions HTTP/1.1\r\nHost: grab\r\nContent-Length: 70000000\r\n\r\n"):
            async with wire(port) as one:
                assert (await one.ask(sent))[9:10] == b"4"
    assert samples(await page(service), "grab_http_refusals_total") == {"malformed": 1, "too_large": 1}


async def test_campaigns_that_are_not_over_are_shown_up_to_a_bound_and_others_are_gone(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "CAMPAIGNS_SHOWN_MAX", 2)
    await service.enrol("m-1")
    opened = await service.publish(releases=[{"opens_at": at(-1), "quantity": 10}])
    soon = await service.publish(releases=[{"opens_at": at(600), "quantity": 3}])
    late = await service.publish(releases=[{"opens_at": at(1200), "quantity": 4}])
    await service.grab("m-1", opened)
    await asyncio.sleep(0.1)
    text = await page(service)
    assert samples(text, "grab_campaign_units_left") == {opened: 9, soon: 0}
    assert samples(text, "grab_campaign_claims_active") == {opened: 1, soon: 0}
    assert samples(text, "grab_campaign_opens_timestamp_seconds")[soon] == pytest.approx(
        service.worker.view.now_ms() / 1000 + 598, abs=5
    )
    assert samples(text, "grab_campaigns_unshown") == {"": 1}
    closed = await service.http.post(
        f"/v1/ops/campaigns/{opened}/close", json={"reason": "test"}, headers=service.ops(Role.ADMIN)
    )
    assert closed.status_code == 200, closed.text
    text = await page(service)
    assert samples(text, "grab_campaign_units_left").keys() == {soon, late}
    assert samples(text, "grab_campaigns_unshown") == {"": 0}


async def test_waits_connections_and_the_loop_are_shown(service: Service) -> None:
    async with serving(service.worker, service.app) as port, wire(port) as one:
        assert await one.ask(
            b"GET /v1/ops/campaigns HTTP/1.1\r\nHost: grab\r\nAuthorization: %b\r\n\r\n"
            % service.ops()["Authorization"].encode()
        )
        await asyncio.sleep(0.3)
        text = await page(service)
        assert samples(text, "grab_connections_open") == {"": 1}
    waited = samples(text, "grab_pool_wait_seconds_count")
    assert waited.keys() == {"redis", "redis_grabs", "postgres", "calls"}
    assert waited["calls"] >= 1
    assert samples(text, "grab_loop_lag_seconds_count")[""] > 5
    assert samples(text, "grab_workers") == {"": 1}
    assert samples(text, "grab_cell_epoch") == {"": service.worker.cell.epoch}
    assert samples(text, "grab_build_info").keys() == {f"{service.worker.cell.release} 0.1.0"}


async def test_connections_beyond_the_limit_are_counted(service: Service) -> None:
    connections = service.worker.connections
    connections._connections_max = 1
    async with serving(service.worker, service.app) as port, wire(port), wire(port) as beyond:
        assert (await beyond.ask(b"GET /livez HTTP/1.1\r\nHost: grab\r\n\r\n")).startswith(b"HTTP/1.1 503")
    assert samples(await page(service), "grab_connections_turned_away_total") == {"": 1}
