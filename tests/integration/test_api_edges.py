"""Every request gets an answer that names its fault, within its limits."""

import asyncio
import hashlib
import re
from pathlib import PurePath
from typing import Any

import httpx
import orjson
import pytest
import structlog
from structlog.testing import capture_logs

from grab_service.problems import CATALOGUE
from grab_service.server.bodies import DISCARD_MAX_BYTES
from grab_service.service.app import build_app
from tests.harness.raw_http import serving, wire
from tests.harness.service import Service, claim_of, definition, running_service
from tests.integration.test_ops_campaigns import problem

CHUNK_BYTES = 65_536
NAME = "欧阳锋"


async def test_malformed_json_is_malformed_before_anything_else(service: Service) -> None:
    for body in (b"{", b"\xff", b'{"a": NaN}', b'{"title": "\\ud800"}', b"[" * 2000):
        headers = {**service.ops(), "Content-Type": "application/json"}
        response = await service.http.post("/v1/ops/campaigns", content=body, headers=headers)
        assert problem(response) == (400, "malformed"), body[:20]


async def test_json_of_the_wrong_shape_is_named(service: Service) -> None:
    for body in (b"[]", b"7", b'"x"', b"null", b""):
        headers = {**service.ops(), "Content-Type": "application/json"}
        response = await service.http.post("/v1/ops/campaigns", content=body, headers=headers)
        assert problem(response) == (422, "validation"), body


async def test_what_is_not_said_to_be_json_is_not_read_as_json(service: Service) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "text/csv", "nonsense", "application/xml"):
        headers = {**service.ops(), "Content-Type": kind}
        response = await service.http.post("/v1/ops/campaigns", content=b"{}", headers=headers)
        assert problem(response) == (415, "unsupported-media-type"), kind


async def test_a_stranger_learns_nothing_by_sending_things(service: Service) -> None:
    for body in ({}, definition()):
        assert problem(await service.http.post("/v1/ops/campaigns", json=body)) == (401, "sign-in-required")


def sent(path: str, *lines: str, body: bytes = b"", method: str = "POST") -> bytes:
    head = "\r\n".join([f"{method} {path} HTTP/1.1", "Host: grab", *lines])
    return f"{head}\r\n\r\n".encode() + body


async def test_a_body_that_is_announced_too_large_is_refused(service: Service) -> None:
    limit = service.worker.settings.body_max_bytes
    lines = [f"Authorization: {service.ops()['Authorization']}", "Content-Type: application/json", "Content-Length: 1000000"]
    async with serving(service.worker, service.app) as port, wire(port) as one, wire(port) as asking:
        answer = await one.ask(sent("/v1/ops/campaigns", *lines, body=b"x" * 1_000_000))
        assert answer.startswith(b"HTTP/1.1 413")
        assert b"connection: close" not in answer
        assert orjson.loads(answer.partition(b"\r\n\r\n")[2])["limit_bytes"] == limit
        assert b"x-server-time-ms: " in answer
        assert (await one.ask(sent("/v1/time", method="GET"))).startswith(b"HTTP/1.1 200"), "the connection goes on"
        # A caller who asks first is told before anything of the body is sent.
        assert (await asking.ask(sent("/v1/ops/campaigns", *lines, "Expect: 100-continue"))).startswith(b"HTTP/1.1 413")


async def test_a_body_that_does_not_end_is_cut_off_where_it_becomes_too_large(service: Service) -> None:
    chunk = b"%x\r\n%b\r\n" % (CHUNK_BYTES, b"x" * CHUNK_BYTES)
    async with serving(service.worker, service.app) as port, wire(port) as one:
        one.writer.write(sent("/v1/dev/sessions", "Content-Type: application/json", "Transfer-Encoding: chunked"))
        sent_bytes = 0
        answer = asyncio.create_task(one.answer())
        while not answer.done() and sent_bytes < 2**28:
            one.writer.write(chunk)
            await one.writer.drain()
            sent_bytes += CHUNK_BYTES
            await asyncio.sleep(0)
        assert (await answer).startswith(b"HTTP/1.1 413")
        assert b"connection: close" in answer.result()
        assert sent_bytes < 2 * DISCARD_MAX_BYTES, "it would be read for ever"


async def test_a_large_file_is_taken_only_where_files_are_taken_and_from_those_who_may_send_them(service: Service) -> None:
    body = b"code\n" + b"x" * 70_000
    lines = ["Content-Type: text/csv", f"Content-Length: {len(body)}"]
    ops = f"Authorization: {service.ops()['Authorization']}"
    draft = await service.create(benefit={"kind": "code_pool", "name": "x"})
    async with serving(service.worker, service.app) as port, wire(port) as one:
        for path, line, status in (
            (f"/v1/ops/campaigns/{draft}/codes", ops, b"200"),
            (f"/v1/ops/campaigns/{draft}/pause", ops, b"413"),
            (f"/v1/ops/campaigns/{draft}/codes", "X-Nobody: x", b"413"),
        ):
            assert (await one.ask(sent(path, line, *lines, body=body)))[9:12] == status, (path, line)


async def test_a_body_that_never_comes_is_not_waited_for_forever(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grab_service.server.bodies.BODY_TIMEOUT_S", 0.05)
    async with serving(service.worker, service.app) as port, wire(port) as one:
        answer = await one.ask(
            sent("/v1/dev/sessions", "Content-Type: application/json", "Content-Length: 20", body=b'{"member_id": ')
        )
        assert answer.startswith(b"HTTP/1.1 408")
        assert b"connection: close" in answer


async def test_addresses_that_are_not_there_are_problems_too(service: Service) -> None:
    for path in ("/nothing", "/v1", "/v1/nothing", "/v1/campaigns/", "/v2/campaigns", "/v1/ops/accounts"):
        response = await service.http.get(path)
        assert problem(response) == (404, "not-found"), path
        assert response.headers["x-server-time-ms"].isdigit()


async def test_a_method_that_is_not_taken_is_answered_with_those_that_are(service: Service) -> None:
    for method, path, allowed in (
        ("PUT", "/v1/time", {"GET", "HEAD"}),
        ("DELETE", "/v1/ops/campaigns", {"GET", "HEAD", "POST"}),
        ("PUT", "/v1/ops/campaigns/x", {"GET", "HEAD", "PATCH", "DELETE"}),
        ("GET", "/v1/campaigns/x/claims", {"POST"}),
    ):
        response = await service.http.request(method, path)
        assert problem(response) == (405, "method-not-allowed")
        assert set(response.headers["allow"].split(", ")) == allowed, path


async def test_the_description_and_its_page_are_served(service: Service) -> None:
    described = await service.http.get("/openapi.json")
    assert described.json()["openapi"].startswith("3.1")
    assert "/v1/campaigns/{campaign_id}/claims" in described.json()["paths"]
    page = await service.http.get("/docs")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self'; " in policy
    assert "unsafe-eval" not in policy
    parts = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert [name for name in parts if ":" in name] == ["data:,"], "something is fetched from elsewhere"
    loaded = [name for name in parts if name.startswith("docs/")]
    assert [PurePath(name).name for name in loaded] == ["swagger-ui.css", "swagger-ui-bundle.js", "start.js"]
    for name in loaded:
        part = await service.http.get(f"/{name}")
        assert part.status_code == 200
        assert part.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert hashlib.sha256(part.content).hexdigest().startswith(PurePath(name).parent.name)
        stale = await service.http.get(f"/docs/0123456789abcdef/{PurePath(name).name}")
        assert problem(stale) == (404, "not-found")
    assert "openapi.json" in part.text
    for other in ("LICENSE", "vendored.json", "..%2Fapp.py"):
        assert problem(await service.http.get(f"/{PurePath(name).parent}/{other}")) == (404, "not-found")


async def test_at_the_root_stands_a_signpost(service: Service) -> None:
    program = await service.http.get("/")
    assert program.json()["name"] == "grab-service"
    browser = await service.http.get("/", headers={"Accept": "text/html,*/*;q=0.8"})
    assert browser.headers["content-type"].startswith("text/html")
    assert browser.headers["vary"] == "Accept, Accept-Language"
    ways = [way for way in program.json().values() if way.startswith("/")]
    assert set(re.findall(r'href="([^"]+)"', browser.text)) == set(ways)
    for way in ways:
        assert (await service.http.get(way)).status_code in {200, 503}, way


async def test_problems_are_in_chinese_unless_english_is_asked_for(service: Service) -> None:
    zh = await service.http.get("/v1/nothing")
    en = await service.http.get("/v1/nothing", headers={"Accept-Language": "en-GB,en;q=0.9,zh;q=0.1"})
    assert zh.headers["content-language"] == "zh"
    assert en.headers["content-language"] == "en"
    assert zh.json()["detail"] == CATALOGUE["not-found"].detail.zh
    assert en.json()["detail"] == CATALOGUE["not-found"].detail.en


async def test_a_bug_is_answered_without_a_word_of_what_it_is(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("grab_service.campaigns.ops_routes.read_campaign", broken)
    response = await service.http.get("/v1/ops/campaigns/x", headers=service.ops())
    assert problem(response) == (500, "internal-error")
    assert "secret" not in response.text
    assert "ZeroDivision" not in response.text


async def test_every_problem_has_its_page_in_both_languages(service: Service) -> None:
    index = await service.http.get("/problems")
    for slug, entry in CATALOGUE.items():
        assert f'href="/problems/{slug}"' in index.text
        zh = await service.http.get(entry.type)
        en = await service.http.get(entry.type, headers={"Accept-Language": "en"})
        assert (zh.status_code, zh.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert f"<h1>{entry.title.zh}</h1>" in zh.text
        assert 'lang="zh-CN"' in zh.text
        assert 'lang="en"' in en.text
        assert "default-src 'none'" in zh.headers["content-security-policy"]
    assert problem(await service.http.get("/problems/<script>")) == (404, "not-found")


async def test_development_mode_gives_passes_and_ops_tokens(service: Service) -> None:
    campaign_id = await service.sale("m-1")
    minted = await service.http.post("/v1/dev/sessions", json={"member_id": "m-1"})
    assert minted.status_code == 200
    headers = {"Authorization": f"Bearer {minted.json()['pass']}"}
    assert (await service.http.post(f"/v1/campaigns/{campaign_id}/claims", headers=headers)).status_code == 201
    stranger = (await service.http.post("/v1/dev/sessions", json={"member_id": "m-9"})).json()["pass"]
    refused = await service.http.post(f"/v1/campaigns/{campaign_id}/claims", headers={"Authorization": f"Bearer {stranger}"})
    assert problem(refused) == (403, "member-unknown")

    token = (await service.http.post("/v1/dev/ops-sessions", json={"role": "viewer"})).json()["token"]
    viewer = {"Authorization": f"Bearer {token}"}
    assert (await service.http.get("/v1/ops/campaigns", headers=viewer)).status_code == 200
    assert problem(await service.http.post("/v1/ops/campaigns", json=definition(), headers=viewer)) == (403, "forbidden")
    for wrong in ({"role": "king"}, {}, {"role": "admin", "actor": "a b"}):
        assert problem(await service.http.post("/v1/dev/ops-sessions", json=wrong)) == (422, "validation")
    nobodies: list[Any] = [{}, {"member_id": "a b"}, {"member_id": 7}, {"member_id": "m-1", "x": 1}]
    for nobody in nobodies:
        assert problem(await service.http.post("/v1/dev/sessions", json=nobody)) == (422, "validation")


async def test_without_development_mode_there_is_nothing_of_it(valkey_url: str, database_url: str, cell_name: str) -> None:
    async with running_service(valkey_url, database_url, cell_name, dev=False) as service:
        for path, body in (("sessions", {"member_id": "m-1"}), ("ops-sessions", {"role": "admin"})):
            assert problem(await service.http.post(f"/v1/dev/{path}", json=body)) == (404, "not-found")
        assert "/v1/dev" not in (await service.http.get("/openapi.json")).text


async def test_who_is_alive_says_so_even_when_the_cell_is_closed(service: Service) -> None:
    assert (await service.http.get("/livez")).json() == {"alive": True}
    await service.redis.hset(service.worker.cell.keys.cell, "nonce", "another life")
    assert (await service.http.get("/livez")).status_code == 200


async def test_without_postgres_members_see_campaigns_and_win_and_the_probe_says_what_is_missing(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign_id = await service.sale("m-1")
    await service.drain.stop()

    def nowhere(*_: object, **__: object) -> None:
        raise ConnectionRefusedError(111, "Connection refused")

    await service.worker.engine.dispose()
    monkeypatch.setattr("asyncpg.connect", nowhere)
    won = await service.grab("m-1", campaign_id)
    assert won.status_code == 201
    member = service.member("m-1")
    assert (await service.http.get(f"/v1/campaigns/{campaign_id}", headers=member)).json()["my_claims"] == [claim_of(won)]
    assert (await service.http.get(won.headers["location"], headers=member)).json() == claim_of(won)
    missing = await service.http.get("/v1/me/claims", headers=member)
    assert problem(missing) == (503, "ledger-unavailable")
    assert missing.headers["retry-after"].isdigit()
    ops = await service.http.get("/v1/ops/campaigns", headers=service.ops())
    assert problem(ops) == (503, "ledger-unavailable")
    checks = (await service.http.get("/readyz")).json()["checks"]
    # The Valkey of these tests does not sync its log: the probe says that at all times.
    assert {name for name, check in checks.items() if check["state"] == "failed"} == {"postgres", "lag", "aof_policy"}


async def test_no_members_name_gets_into_the_log_by_way_of_a_failing_statement(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        await service.enrol("m-1", name=NAME, status="no such status")

    monkeypatch.setattr("grab_service.campaigns.ops_routes.read_campaign", broken)
    with capture_logs() as lines:
        response = await service.http.get("/v1/ops/campaigns/x", headers=service.ops())
    assert problem(response) == (500, "internal-error")
    (line,) = [line for line in lines if line["event"] == "request_failed"]
    assert (line["error"], line["sqlstate"]) == ("IntegrityError", "23514")
    assert "enrol" in line["frames"]
    assert NAME not in str(lines)


async def test_a_fault_is_found_in_the_log_by_the_id_that_its_caller_was_given(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        await asyncio.sleep(0.01)
        log.warning("on_the_way")
        raise RuntimeError("a bug")

    log = structlog.get_logger()
    monkeypatch.setattr("grab_service.campaigns.ops_routes.read_campaign", broken)
    with capture_logs([structlog.contextvars.merge_contextvars]) as lines:
        headers = [{**service.ops(), **brought} for brought in ({}, {"X-Request-Id": "mine"}, {"X-Request-Id": "a b"})]
        responses = await asyncio.gather(*(service.http.get("/v1/ops/campaigns/x", headers=one) for one in headers))
        log.info("afterwards")
    ids = [response.headers["x-request-id"] for response in responses]
    assert len(set(ids)) == 3
    assert ids[1] == "mine"
    for response, request_id in zip(responses, ids, strict=True):
        assert response.json()["request_id"] == request_id
        assert request_id in response.json()["detail"]
        assert [line["event"] for line in lines if line.get("request_id") == request_id] == ["on_the_way", "request_failed"]
    assert [line for line in lines if "request_id" not in line] == [{"event": "afterwards", "log_level": "info"}]


async def test_metrics_count_grabs(service: Service) -> None:
    await service.enrol("m-1")
    await service.grab("m-1", await service.publish())
    await asyncio.sleep(0.6)
    response = await service.http.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    assert 'grab_answers_total{outcome="won"} 1.0' in response.text


async def test_who_glances_is_told_what_the_routes_say(service: Service) -> None:
    campaign_id = await service.publish()
    routes = {route.path: route for route in build_app(service.worker).state.routes}
    for path, template in (
        ("/v1/time", "/v1/time"),
        (f"/v1/campaigns/{campaign_id}/state", "/v1/campaigns/{campaign_id}/state"),
    ):
        glanced = await service.http.get(path)
        arguments = {"view": service.worker.view} | ({"campaign_id": campaign_id} if "{" in template else {})
        routed = await routes[template].endpoint(**arguments)
        changing = {"now_ms", "poll_after_ms"}
        assert glanced.json().keys() == orjson.loads(routed.body).keys()
        assert {name: value for name, value in glanced.json().items() if name not in changing} == {
            name: value for name, value in orjson.loads(routed.body).items() if name not in changing
        }
        assert {name: glanced.headers[name] for name in routed.headers} == dict(routed.headers)
        assert "x-server-time-ms" in glanced.headers


async def test_the_grab_through_fastapi_answers_as_the_lane_does(service: Service) -> None:
    campaign_id = await service.sale("m-1", "m-2")
    url = f"/v1/campaigns/{campaign_id}/claims"
    app = build_app(service.worker)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://grab") as plain:
        cases: list[dict[str, Any]] = [
            {"headers": service.member("m-1")},
            {"headers": {}},
            {"headers": {**service.member("m-1"), "Accept-Language": "en"}, "json": {"x": 1}},
            {"headers": {**service.member("m-1"), "Content-Type": "text/plain"}, "content": b"x"},
            {"headers": {**service.member("m-1"), "Content-Type": "application/json"}, "content": b"{"},
            {"headers": service.member("m-1"), "content": b"x" * 5000},
            {"headers": {**service.member("m-9")}},
        ]
        first = await plain.post(url, headers=service.member("m-1"))
        assert first.status_code == 201
        for case in cases:
            by_lane = await service.http.post(url, **case)
            by_route = await plain.post(url, **case)
            assert (by_route.status_code, by_route.content) == (by_lane.status_code, by_lane.content)
            differing = {name for name, value in by_lane.headers.items() if by_route.headers.get(name) != value} - {
                "x-server-time-ms"
            }
            assert not differing, case
