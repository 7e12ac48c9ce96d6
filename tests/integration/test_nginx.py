"""nginx with `deploy/nginx.conf` behaves as docs/OPERATIONS.md says.

Behind it stand two small servers that say who they are, so that it can be seen who was asked, and how often.
"""

import asyncio
import re
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from grab_service.embedded.ports import free_port
from tests.integration.front_door import NGINX, Door, follows_names, front_door, needs_nginx

pytestmark = needs_nginx


class Upstream:
    """Says its name, and counts what it was asked; told to hang up or to be silent, it reads and does not answer."""

    def __init__(self, name: str, address: str, port: int) -> None:
        self.name = name
        self.address = address
        self.port = port
        self.asked: list[str] = []
        self.hangs_up = False
        self.silence_s = 0.0
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, self.address, self.port)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.asked.append(head.split(b"\r\n")[0].decode())
            length = re.search(rb"^content-length: (\d+)", head, re.IGNORECASE | re.MULTILINE)
            await reader.readexactly(int(length[1]) if length else 0)  # a connection that is closed before is reset
            await asyncio.sleep(self.silence_s)
            if not self.hangs_up:
                body = self.name.encode()
                writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@contextmanager
def nobody_there(upstream: Upstream) -> Iterator[None]:
    """Its address as one that is gone: who knocks hears nothing, not even a refusal."""
    with socket.socket() as full:
        full.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        full.bind((upstream.address, upstream.port))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex((upstream.address, upstream.port))
        yield
        for one in waiting:
            one.close()


@pytest.fixture
async def upstreams() -> AsyncIterator[list[Upstream]]:
    port = free_port()
    both = [Upstream("a", "127.0.0.2", port), Upstream("b", "127.0.0.3", port)]
    for upstream in both:
        await upstream.start()
    yield both
    for upstream in both:
        await upstream.stop()


@pytest.fixture
async def door(tmp_path: Path, upstreams: list[Upstream]) -> AsyncIterator[Door]:
    async with front_door(tmp_path, {upstream.name: upstream.address for upstream in upstreams}, upstreams[0].port) as running:
        for upstream in upstreams:
            upstream.asked.clear()
        yield running


async def test_members_reach_the_service_and_ops_and_machines_have_a_door_of_their_own(
    door: Door, upstreams: list[Upstream]
) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        for path in ("/v1/time", "/v1/campaigns/x/claims", "/", "/docs"):
            assert (await client.get(door.public + path)).status_code == 200, path
        asked = sum(len(upstream.asked) for upstream in upstreams)
        odd = ("/v1/ops", "/v1//ops/x", "/v1/%6Fps/x", "/v1/x/../ops/y")
        for path in ("/v1/ops/campaigns", *odd, "/v1/dev/sessions", "/metrics", "/readyz", "/livez"):
            closed = await client.get(door.public + path)
            assert (closed.status_code, closed.json()["code"]) == (404, "not-found"), path
        assert sum(len(upstream.asked) for upstream in upstreams) == asked, "nobody behind was asked"
        for path in ("/v1/ops/campaigns", "/metrics", "/readyz", "/livez"):
            assert (await client.get(door.ops + path)).status_code == 200, path


async def test_tls_answers_once_there_is_a_certificate(door: Door, tmp_path: Path) -> None:
    trusts = ssl.create_default_context(cafile=str(tmp_path / "tls.d/chain.pem"))
    async with httpx.AsyncClient(trust_env=False, verify=trusts) as client:
        assert (await client.get(f"{door.tls}/v1/time")).status_code == 200
        assert (await client.get(f"{door.tls}/v1/ops/campaigns")).status_code == 404


async def test_while_one_service_is_replaced_the_other_answers_everything(door: Door, upstreams: list[Upstream]) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        for gone in upstreams:
            await gone.stop()
            answers = [await client.post(f"{door.public}/v1/campaigns/x/claims") for _ in range(30)]
            said = [(answer.status_code, answer.text[:1]) for answer in answers]
            assert {status for status, _ in said} == {200}, ("what took no connection was never sent", gone.name, said)
            assert gone.name not in {answer.text for answer in answers}
            await gone.start()
        assert {(await client.get(f"{door.public}/v1/time")).text for _ in range(20)} == {"a", "b"}


async def test_what_was_on_its_way_to_an_address_that_is_gone_goes_to_the_other(door: Door, upstreams: list[Upstream]) -> None:
    """A container that is taken away leaves nobody who would refuse."""
    gone, there = upstreams
    await gone.stop()
    with nobody_there(gone):
        async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
            answers = await asyncio.gather(*(client.post(f"{door.public}/v1/campaigns/x/claims") for _ in range(10)))
    assert {(answer.status_code, answer.text) for answer in answers} == {(200, there.name)}
    await gone.start()


@pytest.mark.skipif(NGINX is None or not follows_names(), reason="needs nginx 1.27.3 or newer (GRAB_NGINX)")
async def test_a_service_that_comes_back_at_another_address_is_found(door: Door, upstreams: list[Upstream]) -> None:
    moved, other = upstreams
    async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
        await moved.stop()
        del door.addresses[moved.name]
        answers = [await client.post(f"{door.public}/v1/campaigns/x/claims") for _ in range(10)]
        moved.address = "127.0.0.4"
        await moved.start()
        door.addresses[moved.name] = moved.address
        async with asyncio.timeout(15):
            while moved.name not in {answer.text for answer in answers}:
                await asyncio.sleep(0.1)
                answers.append(await client.post(f"{door.public}/v1/campaigns/x/claims"))
        assert {answer.status_code for answer in answers} == {200}
        await other.stop()
        assert (await client.post(f"{door.public}/v1/campaigns/x/claims")).text == moved.name
        await other.start()


async def test_a_grab_that_was_sent_and_has_no_answer_is_never_sent_again(door: Door, upstreams: list[Upstream]) -> None:
    for upstream in upstreams:
        upstream.hangs_up = True
    async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
        answer = await client.post(f"{door.public}/v1/campaigns/x/claims")
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "outcome-unknown", "2")
    assert sum(len(upstream.asked) for upstream in upstreams) == 1


@pytest.mark.slow
async def test_what_was_waited_for_in_vain_is_asked_only_once(door: Door, upstreams: list[Upstream]) -> None:
    for upstream in upstreams:
        upstream.silence_s = 6
    url = f"{door.public}/v1/campaigns/x/claims"
    async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
        answers = await asyncio.gather(client.post(url), client.get(url), client.delete(url))
    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(503, "outcome-unknown")] * 3
    assert sorted(line for upstream in upstreams for line in upstream.asked) == [
        f"{method} /v1/campaigns/x/claims HTTP/1.1" for method in ("DELETE", "GET", "POST")
    ]


async def test_requests_without_an_answer_shut_the_door_for_nobody_else(door: Door, upstreams: list[Upstream]) -> None:
    url = f"{door.public}/v1/campaigns/x/claims"
    async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
        for upstream in upstreams:
            upstream.hangs_up = True
        assert {(await client.post(url)).status_code for _ in range(4)} == {503}
        for upstream in upstreams:
            upstream.hangs_up = False
        assert {(await client.post(url)).status_code for _ in range(10)} == {200}


async def test_large_bodies_are_for_ops_alone(door: Door) -> None:
    body = b"x" * 100_000
    async with httpx.AsyncClient(trust_env=False) as client:
        refused = await client.post(f"{door.public}/v1/sessions", content=body)
        assert (refused.status_code, refused.json()["code"]) == (413, "too-large")
        assert (await client.post(f"{door.ops}/v1/ops/members/import", content=body)).status_code == 200
