"""Every answer, from every part of the service, carries the headers that browsers heed."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import ValidationError

from grab_service.server.lane import GrabLane
from grab_service.service.serve import configured
from grab_service.settings import Settings
from tests.harness import raw_http
from tests.harness.service import Service, at, running_service

SECURITY = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "strict-transport-security": "max-age=31536000",
}

H5 = "https://h5.example"
PREFLIGHT = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "authorization,idempotency-key"}


@pytest.fixture
async def service(valkey_url: str, database_url: str, cell_name: str) -> AsyncIterator[Service]:
    async with running_service(valkey_url, database_url, cell_name, hsts_s=31_536_000) as running:
        yield running


@pytest.fixture
async def open_service(valkey_url: str, database_url: str, cell_name: str) -> AsyncIterator[Service]:
    """One that pages of two origins may call."""
    async with running_service(valkey_url, database_url, cell_name, cors_origins=f"{H5}, http://localhost:5173") as running:
        yield running


@asynccontextmanager
async def served(service: Service, *, fast: bool = True, **changes: Any) -> AsyncIterator[int]:
    """The service by uvicorn, as `grab serve` configures it; its port."""
    settings = service.worker.settings.model_copy(update=changes)
    lane: GrabLane = service.http._transport.app  # type: ignore[attr-defined]  # and all behind it
    lane.fast = fast
    config = configured(settings, lane)
    config.lifespan = "off"  # it runs already
    async with raw_http.served(config) as port:
        yield port


def request(line: str, **headers: str) -> bytes:
    named = {"Host": "grab", "Connection": "close", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return "\r\n".join((f"{line} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items()), "", "")).encode()


async def ask(port: int, sent: bytes) -> tuple[int, list[tuple[str, str]]]:
    """The status, and the headers as they came."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    async with asyncio.timeout(5):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    writer.close()
    first, *lines = head.split("\r\n")[:-2]
    named = [line.partition(": ")[::2] for line in lines]
    return int(first.split()[1]), [(name.lower(), value) for name, value in named]


@pytest.mark.parametrize("fast", [True, False])
async def test_every_answer_carries_the_headers_that_browsers_heed_and_none_twice(service: Service, fast: bool) -> None:
    campaign_id = await service.sale("m-1")
    grab, member = f"POST /v1/campaigns/{campaign_id}/claims", service.member("m-1")
    plain = request(grab, **member).replace(b"Connection: close\r\n", b"")
    cases = [
        (201, plain),
        (200, plain),
        (401, request(grab)),
        (400, request(grab, **{**member, "Content-Length": "1"}) + b"{"),
        (200, request("GET /livez")),
        (200, request("GET /v1/time")),
        (200, request("GET /v1/campaigns")),
        (200, request("GET /problems")),
        (200, request("GET /docs")),
        (200, request("GET /openapi.json")),
        (200, request(f"GET /v1/ops/campaigns/{campaign_id}/claims.csv", **service.ops())),
        (404, request("GET /nowhere")),
        (405, request("DELETE /v1/time")),
        (400, b"this is no HTTP\r\n\r\n"),
    ]
    async with served(service, fast=fast) as port:
        for status, sent in cases:
            got, headers = await ask(port, sent)
            assert got == status, sent
            assert SECURITY.items() <= {name: value for name, value in headers if "default-src" not in value}.items(), sent
            names = [name for name, value in headers if "default-src" not in value]
            assert len(names) == len(set(names)), (sent, names)


async def test_every_answer_of_a_call_that_is_no_grab_has_the_id_of_its_request(service: Service) -> None:
    cases = [
        (200, "GET /livez"),
        (200, "GET /v1/time"),
        (200, "GET /v1/campaigns"),
        (200, "GET /docs"),
        (401, "GET /v1/me/claims"),
        (404, "GET /nowhere"),
        (405, "DELETE /v1/time"),
    ]
    async with served(service) as port:
        for status, line in cases:
            for brought, heard in (("caller.7", "caller.7"), ("no id; really", None), ("x" * 65, None), (None, None)):
                got, headers = await ask(port, request(line, **({"X-Request-Id": brought} if brought else {})))
                (said,) = (value for name, value in headers if name == "x-request-id")
                assert (got, said) == (status, heard or said), line
                assert heard or re.fullmatch("[0-9a-f]{16}", said), line
        # Refused before the call began: the same bytes for all, unless they bring an id.
        for sent in (b"GET / HTTP/1.1\r\nX-Request-Id: a\r\n\r\n", b"no HTTP\r\n\r\n"):
            got, headers = await ask(port, sent)
            assert (got, dict(headers).get("x-request-id")) == (400, None)
        too_large = request("POST /v1/sessions", Content_Length="70000000", X_Request_Id="big")
        assert ("x-request-id", "big") in (await ask(port, too_large))[1]


async def test_https_alone_is_asked_for_only_where_it_is_set(service: Service) -> None:
    async with served(service, hsts_s=0) as port:
        _, headers = await ask(port, request("GET /livez"))
        assert "strict-transport-security" not in dict(headers)


async def test_a_page_of_an_origin_that_is_set_is_granted_its_calls_before_it_makes_them(open_service: Service) -> None:
    campaign_id = await open_service.publish()
    async with served(open_service) as port:
        for path in (f"/v1/campaigns/{campaign_id}/claims", "/v1/me/claims", f"/v1/ops/campaigns/{campaign_id}"):
            for origin in (H5, "http://localhost:5173"):
                status, headers = await ask(port, request(f"OPTIONS {path}", Origin=origin, **PREFLIGHT))
                said = dict(headers)
                assert (status, said["access-control-allow-origin"], said["vary"]) == (204, origin, "Origin")
                assert {"POST", "PATCH", "PUT", "DELETE"} <= set(said["access-control-allow-methods"].split(", "))
                assert set(said["access-control-allow-headers"].split(", ")) == {
                    *(
                        "authorization",
                        "idempotency-key",
                        "content-type",
                        "if-match",
                        "if-none-match",
                        "accept-language",
                        "x-request-id",
                    ),
                }
                assert int(said["access-control-max-age"]) > 0
                assert said["x-server-time-ms"].isdigit()
                assert "access-control-allow-credentials" not in said
            for stranger in ("https://h5.example.evil", "http://h5.example", "https://H5.example", "null", "*"):
                status, headers = await ask(port, request(f"OPTIONS {path}", Origin=stranger, **PREFLIGHT))
                assert (status, [name for name, _ in headers if name.startswith("access-control")]) == (405, []), stranger


async def test_a_page_of_an_origin_that_is_set_can_read_every_answer_also_refusals(open_service: Service) -> None:
    service = open_service
    campaign_id = await service.sale("m-1", "m-2", releases=[{"opens_at": at(-1), "quantity": 1}])
    grab, member = f"POST /v1/campaigns/{campaign_id}/claims", service.member("m-1")
    json = {"Content-Type": "application/json"}
    cases = [
        # Plain but for the origin: the lane would answer them below ASGI.
        (201, "location", request(grab, **member, Connection="keep-alive")),
        (409, "content-language", request(grab, **service.member("m-2"), Connection="keep-alive")),
        (401, "www-authenticate", request(grab, Connection="keep-alive")),
        (422, "content-language", request(grab, **member, **json, Content_Length="2") + b"[]"),
        (200, "x-server-time-ms", request("GET /v1/campaigns", **member)),
        (404, "content-language", request("GET /nowhere")),
        (405, "allow", request("OPTIONS /v1/time")),
        (413, "content-language", request("POST /v1/sessions", Content_Length="70000") + b"x" * 70_000),
        (413, "content-language", request("POST /v1/sessions", Content_Length="70000000")),
        (503, "retry-after", request("GET /v1/campaigns", **member)),
        (503, "retry-after", request("GET /v1/campaigns", Connection="keep-alive")),
    ]
    async with served(service) as port:
        for status, header, sent in cases:
            if status == 503:
                while service.worker.admission.enter(caller := f"m-{service.worker.admission.free}"):
                    assert caller
            for origin in (H5, "https://stranger.example", None):
                named = (
                    sent if origin is None else sent.replace(b"Host: grab\r\n", f"Host: grab\r\nOrigin: {origin}\r\n".encode())
                )
                got, headers = await ask(port, named)
                assert got in {status, 200 if status == 201 else status}, named[:300]
                assert header in dict(headers), named
                granted = {value for name, value in headers if name == "access-control-allow-origin"}
                assert granted == ({H5} if origin == H5 else set()), named[:300]
                exposed = [value for name, value in headers if name == "access-control-expose-headers"]
                assert len(exposed) == (origin == H5)
                assert ("vary", "Origin") in headers
                assert "*" not in dict(headers).values()


async def test_without_origins_no_page_of_others_is_granted_anything(service: Service) -> None:
    campaign_id = await service.publish()
    async with served(service) as port:
        for method in ("OPTIONS", "POST"):
            sent = request(f"{method} /v1/campaigns/{campaign_id}/claims", Origin=H5, **PREFLIGHT)
            status, headers = await ask(port, sent)
            assert status == {"OPTIONS": 405, "POST": 401}[method]
            assert not [name for name, _ in headers if name.startswith("access-control") or name == "vary"]


@pytest.mark.parametrize(
    "origins", ["https://h5.example", "https://a.example, http://127.0.0.1:5173,app://h5", "http://[::1]:80000"]
)
def test_origins_are_taken_as_browsers_write_them(origins: str) -> None:
    assert Settings(cors_origins=origins).allowed_origins == tuple(origins.replace(" ", "").split(","))


@pytest.mark.parametrize(
    "origins",
    ["*", "null", "h5.example", "https://h5.example/", "https://H5.example", "https://*.example", "https://a.example:443"],
)
def test_what_no_browser_writes_as_an_origin_is_refused_at_the_start(origins: str) -> None:
    with pytest.raises(ValidationError, match="no origin as a browser writes it"):
        Settings(cors_origins=f"https://good.example,{origins}")
