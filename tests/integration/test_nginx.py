"""Does nginx do with `deploy/nginx.conf` what docs/OPERATIONS.md says?

Addresses are changed, and where nginx is older than 1.27.3, `resolve` is taken out.
Behind it stand two small servers that say who they are, so that it can be seen who was asked, and how often. `GRAB_NGINX` names
another nginx than that of the system.
"""

import asyncio
import os
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import cast

import httpx
import pytest

from grab_service.servers.ports import free_port

DEPLOY = Path(__file__).parents[2] / "deploy"
NGINX = os.environ.get("GRAB_NGINX") or shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin")
pytestmark = pytest.mark.skipif(NGINX is None, reason="needs nginx (Debian: nginx-light)")


def follows_names() -> bool:
    """Whether this nginx asks for a name again (`resolve`)."""
    assert NGINX is not None
    said = subprocess.run([NGINX, "-v"], capture_output=True, text=True, check=True).stderr
    version = re.search(r"nginx/(\d+)\.(\d+)\.(\d+)", said)
    assert version is not None, said
    return tuple(map(int, version.groups())) >= (1, 27, 3)


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


class Names(asyncio.DatagramProtocol):
    """Answers like the engine's name server: the address that an upstream has now; a name that has none is unknown."""

    def __init__(self, upstreams: list[Upstream]) -> None:
        self.upstreams = upstreams
        self.unknown: set[str] = set()
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)  # that of Python 3.11 does not say so

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        assert self._transport is not None
        end = data.index(b"\0", 12) + 5
        name = data[13 : 13 + data[12]].decode()
        found = [of.address for of in self.upstreams if f"api-{of.name}" == name and of.name not in self.unknown]
        head = data[:2] + (b"\x81\x80" if found else b"\x81\x83") + b"\0\1" + len(found).to_bytes(2) + b"\0\0\0\0"
        answers = [b"\xc0\x0c\0\1\0\1\0\0\0\x01\0\4" + socket.inet_aton(address) for address in found]
        self._transport.sendto(head + data[12:end] + b"".join(answers), addr)


class Door:
    """nginx with its two doors, and what stands behind."""

    def __init__(self, upstreams: list[Upstream], names: Names, public: str, ops: str, tls: str) -> None:
        self.upstreams, self.names, self.public, self.ops, self.tls = upstreams, names, public, ops, tls


@asynccontextmanager
async def nginx(home: Path) -> AsyncIterator[Door]:
    port = free_port()
    upstreams = [Upstream("a", "127.0.0.2", port), Upstream("b", "127.0.0.3", port)]
    public, ops, tls = free_port(), free_port(), free_port()
    conf = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
    transport, names = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Names(upstreams), local_addr=("127.0.0.1", 0)
    )
    if follows_names():
        at: tuple[str, int] = transport.get_extra_info("sockname")
        conf = conf.replace("resolver 127.0.0.11 ", f"resolver {at[0]}:{at[1]} ").replace(":8000 resolve", f":{port} resolve")
    else:
        conf = re.sub(r"^\s*(resolver|zone) .*\n", "", conf, flags=re.MULTILINE)
        for upstream in upstreams:
            conf = conf.replace(f"server api-{upstream.name}:8000 resolve", f"server {upstream.address}:{port}")
    here = {
        "listen 8080 backlog=65535": f"listen 127.0.0.1:{public}",
        "listen 8081": f"listen 127.0.0.1:{ops}",
        "/tmp/": f"{home}/",
        "tls.d/": f"{home}/tls.d/",
        "error_log stderr warn": f"error_log {home}/error.log info",
        "proxy_read_timeout 10s": "proxy_read_timeout 4s",  # still longer than another service may be asked
        "65536;": "512;",
        "131072;": "2048;",
        "worker_processes auto;": "worker_processes 1; daemon off; master_process off;",
    }
    for theirs, ours in here.items():
        assert theirs in conf
        conf = conf.replace(theirs, ours)
    (home / "tls.d").mkdir()
    example = (DEPLOY / "tls.d/tls.conf.example").read_text(encoding="utf-8")
    example = example.replace("8443 ssl backlog=65535", f"127.0.0.1:{tls} ssl").replace("tls.d/", f"{home}/tls.d/")
    (home / "tls.d/tls.conf").write_text(example)
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    words += ["-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "chain.pem"]
    subprocess.run(words, cwd=home / "tls.d", check=True, capture_output=True)  # noqa: ASYNC221 -- before anything is served
    (home / "nginx.conf").write_text(conf)
    for upstream in upstreams:
        await upstream.start()
    assert NGINX is not None
    process = await asyncio.create_subprocess_exec(
        NGINX, "-p", str(home), "-c", str(home / "nginx.conf"), stderr=asyncio.subprocess.DEVNULL
    )
    door = Door(upstreams, names, f"http://127.0.0.1:{public}", f"http://127.0.0.1:{ops}", f"https://localhost:{tls}")
    try:
        async with httpx.AsyncClient(trust_env=False) as client:
            for _ in range(100):
                try:
                    if (await client.get(f"{door.ops}/")).status_code == 200:  # it knows where the names lead
                        break
                except httpx.TransportError:
                    assert process.returncode is None, "nginx does not take its configuration"
                await asyncio.sleep(0.05)
        for upstream in upstreams:
            upstream.asked.clear()
        yield door
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        transport.close()
        for upstream in upstreams:
            await upstream.stop()


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
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with nginx(tmp_path) as running:
        yield running


async def test_members_reach_the_service_and_ops_and_machines_have_a_door_of_their_own(door: Door) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        for path in ("/v1/time", "/v1/campaigns/x/claims", "/", "/docs"):
            assert (await client.get(door.public + path)).status_code == 200, path
        asked = sum(len(upstream.asked) for upstream in door.upstreams)
        odd = ("/v1/ops", "/v1//ops/x", "/v1/%6Fps/x", "/v1/x/../ops/y")
        for path in ("/v1/ops/campaigns", *odd, "/v1/dev/sessions", "/metrics", "/readyz", "/livez"):
            closed = await client.get(door.public + path)
            assert (closed.status_code, closed.json()["code"]) == (404, "not-found"), path
        assert sum(len(upstream.asked) for upstream in door.upstreams) == asked, "nobody behind was asked"
        for path in ("/v1/ops/campaigns", "/metrics", "/readyz", "/livez"):
            assert (await client.get(door.ops + path)).status_code == 200, path


async def test_tls_answers_once_there_is_a_certificate(door: Door, tmp_path: Path) -> None:
    trusts = ssl.create_default_context(cafile=str(tmp_path / "tls.d/chain.pem"))
    async with httpx.AsyncClient(trust_env=False, verify=trusts) as client:
        assert (await client.get(f"{door.tls}/v1/time")).status_code == 200
        assert (await client.get(f"{door.tls}/v1/ops/campaigns")).status_code == 404


async def test_while_one_service_is_replaced_the_other_answers_everything(door: Door) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        for gone in door.upstreams:
            await gone.stop()
            answers = [await client.post(f"{door.public}/v1/campaigns/x/claims") for _ in range(30)]
            said = [(answer.status_code, answer.text[:1]) for answer in answers]
            assert {status for status, _ in said} == {200}, ("what took no connection was never sent", gone.name, said)
            assert gone.name not in {answer.text for answer in answers}
            await gone.start()
        assert {(await client.get(f"{door.public}/v1/time")).text for _ in range(20)} == {"a", "b"}


async def test_what_was_on_its_way_to_an_address_that_is_gone_goes_to_the_other(door: Door) -> None:
    """A container that is taken away leaves nobody who would refuse."""
    gone, there = door.upstreams
    await gone.stop()
    with nobody_there(gone):
        async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
            answers = await asyncio.gather(*(client.post(f"{door.public}/v1/campaigns/x/claims") for _ in range(10)))
    assert {(answer.status_code, answer.text) for answer in answers} == {(200, there.name)}
    await gone.start()


@pytest.mark.skipif(NGINX is None or not follows_names(), reason="needs nginx 1.27.3 or newer (GRAB_NGINX)")
async def test_a_service_that_comes_back_at_another_address_is_found(door: Door) -> None:
    moved, other = door.upstreams
    async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
        await moved.stop()
        door.names.unknown = {moved.name}
        answers = [await client.post(f"{door.public}/v1/campaigns/x/claims") for _ in range(10)]
        moved.address = "127.0.0.4"
        await moved.start()
        door.names.unknown = set()
        async with asyncio.timeout(15):
            while moved.name not in {answer.text for answer in answers}:
                await asyncio.sleep(0.1)
                answers.append(await client.post(f"{door.public}/v1/campaigns/x/claims"))
        assert {answer.status_code for answer in answers} == {200}
        await other.stop()
        assert (await client.post(f"{door.public}/v1/campaigns/x/claims")).text == moved.name
        await other.start()


async def test_a_grab_that_was_sent_and_has_no_answer_is_never_sent_again(door: Door) -> None:
    for upstream in door.upstreams:
        upstream.hangs_up = True
    async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
        answer = await client.post(f"{door.public}/v1/campaigns/x/claims")
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "outcome-unknown", "2")
    assert sum(len(upstream.asked) for upstream in door.upstreams) == 1


@pytest.mark.slow
async def test_what_was_waited_for_in_vain_is_asked_only_once(door: Door) -> None:
    for upstream in door.upstreams:
        upstream.silence_s = 6
    url = f"{door.public}/v1/campaigns/x/claims"
    async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
        answers = await asyncio.gather(client.post(url), client.get(url), client.delete(url))
    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(503, "outcome-unknown")] * 3
    assert sorted(line for upstream in door.upstreams for line in upstream.asked) == [
        f"{method} /v1/campaigns/x/claims HTTP/1.1" for method in ("DELETE", "GET", "POST")
    ]


async def test_requests_without_an_answer_shut_the_door_for_nobody_else(door: Door) -> None:
    url = f"{door.public}/v1/campaigns/x/claims"
    async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
        for upstream in door.upstreams:
            upstream.hangs_up = True
        assert {(await client.post(url)).status_code for _ in range(4)} == {503}
        for upstream in door.upstreams:
            upstream.hangs_up = False
        assert {(await client.post(url)).status_code for _ in range(10)} == {200}


async def test_large_bodies_are_for_ops_alone(door: Door) -> None:
    body = b"x" * 100_000
    async with httpx.AsyncClient(trust_env=False) as client:
        refused = await client.post(f"{door.public}/v1/sessions", content=body)
        assert (refused.status_code, refused.json()["code"]) == (413, "too-large")
        assert (await client.post(f"{door.ops}/v1/ops/members/import", content=body)).status_code == 200
