"""nginx with `deploy/nginx.conf`, before services of a test.

Addresses are changed, and where nginx is older than 1.27.3, `resolve` is taken out. `GRAB_NGINX` names another nginx than that
of the system.
"""

import asyncio
import os
import re
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, cast

import httpx
import pytest

from grab_service.embedded.ports import free_port
from tests.harness.warm_commands import CHECKOUT

DEPLOY: Final = CHECKOUT / "deploy"
NGINX: Final = os.environ.get("GRAB_NGINX") or shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin")
needs_nginx: Final = pytest.mark.skipif(NGINX is None, reason="needs nginx (Debian: nginx-light)")


def follows_names() -> bool:
    """Whether this nginx asks for a name again (`resolve`)."""
    assert NGINX is not None
    said = subprocess.run([NGINX, "-v"], capture_output=True, text=True, check=True).stderr
    version = re.search(r"nginx/(\d+)\.(\d+)\.(\d+)", said)
    assert version is not None, said
    return tuple(map(int, version.groups())) >= (1, 27, 3)


class _NameServer(asyncio.DatagramProtocol):
    """Answers like the engine's: the address that a service has now, `api-a` by its `a`; a name without one is unknown."""

    def __init__(self, addresses: dict[str, str]) -> None:
        self._addresses = addresses
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)  # that of Python 3.11 does not say so

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        assert self._transport is not None
        end = data.index(b"\0", 12) + 5
        address = self._addresses.get(data[13 : 13 + data[12]].decode().removeprefix("api-"))
        head = data[:2] + (b"\x81\x80\0\1\0\1" if address else b"\x81\x83\0\1\0\0") + b"\0\0\0\0"
        answer = b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4" + socket.inet_aton(address) if address else b""
        self._transport.sendto(head + data[12:end] + answer, addr)


class Door:
    """The addresses of nginx's doors, and those by which the services are found, `a` and `b`, which a test may change."""

    def __init__(self, addresses: dict[str, str], public: str, ops: str, tls: str) -> None:
        self.addresses, self.public, self.ops, self.tls = addresses, public, ops, tls


@asynccontextmanager
async def front_door(home: Path, addresses: dict[str, str], port: int) -> AsyncIterator[Door]:
    """nginx before services that are there at these addresses and that port, until the test is over."""
    public, ops, tls = free_port(), free_port(), free_port()
    conf = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _NameServer(addresses), local_addr=("127.0.0.1", 0)
    )
    if follows_names():
        at: tuple[str, int] = transport.get_extra_info("sockname")
        conf = conf.replace("resolver 127.0.0.11 ", f"resolver {at[0]}:{at[1]} ").replace(":8000 resolve", f":{port} resolve")
    else:
        conf = re.sub(r"^\s*(resolver|zone) .*\n", "", conf, flags=re.MULTILINE)
        for name, address in addresses.items():
            conf = conf.replace(f"server api-{name}:8000 resolve", f"server {address}:{port}")
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
    assert NGINX is not None
    process = await asyncio.create_subprocess_exec(
        NGINX, "-p", str(home), "-c", str(home / "nginx.conf"), stderr=asyncio.subprocess.DEVNULL
    )
    door = Door(addresses, f"http://127.0.0.1:{public}", f"http://127.0.0.1:{ops}", f"https://localhost:{tls}")
    try:
        async with httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(20):
            while True:
                try:
                    if (await client.get(f"{door.ops}/livez")).status_code == 200:  # it knows where the names lead
                        break
                except httpx.TransportError:
                    assert process.returncode is None, "nginx does not take its configuration"
                await asyncio.sleep(0.05)
        yield door
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        transport.close()
