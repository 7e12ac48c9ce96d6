"""What do browsers hear of every answer, whoever gives it?"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn

from grab_service.api.serve import configured
from grab_service.grabpath.lane import GrabLane
from tests.integration.stack import Service, running_service

SECURITY = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "strict-transport-security": "max-age=31536000",
}


@pytest.fixture
async def service(valkey_url: str, database_url: str, cell_name: str) -> AsyncIterator[Service]:
    async with running_service(valkey_url, database_url, cell_name, hsts_s=31_536_000) as running:
        yield running


@asynccontextmanager
async def served(service: Service, *, fast: bool = True, **changes: Any) -> AsyncIterator[int]:
    """The service by uvicorn, as `grab serve` configures it; its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    settings = service.worker.settings.model_copy(update=changes)
    lane: GrabLane = service.http._transport.app  # type: ignore[attr-defined]  # and all behind it
    lane.fast = fast
    config = configured(settings, lane)
    config.lifespan = "off"  # it runs already
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await task
        listener.close()


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
    await service.enrol("m-1")
    campaign_id = await service.publish()
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


async def test_https_alone_is_asked_for_only_where_it_is_set(service: Service) -> None:
    async with served(service, hsts_s=0) as port:
        _, headers = await ask(port, request("GET /livez"))
        assert "strict-transport-security" not in dict(headers)
