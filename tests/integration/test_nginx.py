"""Does Debian's nginx do with `deploy/nginx.conf` what docs/OPERATIONS.md says? Addresses are changed, `resolve` is taken out.

Behind it stand two small servers that say who they are, so that it can be seen who was asked, and how often.
"""

import asyncio
import re
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from grab_service.servers.ports import free_port

DEPLOY = Path(__file__).parents[2] / "deploy"
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin")
pytestmark = pytest.mark.skipif(NGINX is None, reason="needs nginx (Debian: nginx-light)")


class Upstream:
    """Says its name, and counts what it was asked; told to hang, it reads and does not answer."""

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        self.port = port
        self.asked: list[str] = []
        self.hangs = False
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.asked.append(head.split(b"\r\n")[0].decode())
            if not self.hangs:
                body = self.name.encode()
                writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


class Door:
    """nginx with its two doors, and what stands behind."""

    def __init__(self, upstreams: list[Upstream], public: str, ops: str, tls: str) -> None:
        self.upstreams, self.public, self.ops, self.tls = upstreams, public, ops, tls


@asynccontextmanager
async def nginx(home: Path) -> AsyncIterator[Door]:
    upstreams = [Upstream(name, free_port()) for name in ("a", "b")]
    public, ops, tls = free_port(), free_port(), free_port()
    conf = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
    for upstream in upstreams:
        conf = conf.replace(f"server api-{upstream.name}:8000 resolve", f"server 127.0.0.1:{upstream.port}")
    conf = re.sub(r"^\s*(resolver|zone) .*\n", "", conf, flags=re.MULTILINE)
    here = {
        "listen 8080 backlog=65535": f"listen 127.0.0.1:{public}",
        "listen 8081": f"listen 127.0.0.1:{ops}",
        "/tmp/": f"{home}/",
        "tls.d/": f"{home}/tls.d/",
        "error_log stderr warn": f"error_log {home}/error.log info",
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
    door = Door(upstreams, f"http://127.0.0.1:{public}", f"http://127.0.0.1:{ops}", f"https://localhost:{tls}")
    try:
        async with httpx.AsyncClient(trust_env=False) as client:
            for _ in range(100):
                try:
                    await client.get(f"{door.ops}/")
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
        for upstream in upstreams:
            await upstream.stop()


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
            await asyncio.sleep(3.2)  # it counts as failed for 2 s, which nginx counts in whole ones
        assert {(await client.get(f"{door.public}/v1/time")).text for _ in range(20)} == {"a", "b"}


async def test_a_grab_that_was_sent_and_has_no_answer_is_never_sent_again(door: Door) -> None:
    for upstream in door.upstreams:
        upstream.hangs = True
    async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
        answer = await client.post(f"{door.public}/v1/campaigns/x/claims")
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "outcome-unknown", "2")
    assert sum(len(upstream.asked) for upstream in door.upstreams) == 1


async def test_large_bodies_are_for_ops_alone(door: Door) -> None:
    body = b"x" * 100_000
    async with httpx.AsyncClient(trust_env=False) as client:
        refused = await client.post(f"{door.public}/v1/sessions", content=body)
        assert (refused.status_code, refused.json()["code"]) == (413, "too-large")
        assert (await client.post(f"{door.ops}/v1/ops/members/import", content=body)).status_code == 200
