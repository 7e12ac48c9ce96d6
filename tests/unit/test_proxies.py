"""Servers on this machine are asked directly, whatever the environment says of proxies."""

import ast
import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from grab_service.embedded.steps import client_of

ROOT = Path(__file__).parents[2]
ASKING = {
    "httpx": {"AsyncClient", "Client", "get", "post", "put", "patch", "delete", "head", "options", "request", "stream"},
    "request": {"urlopen", "urlretrieve", "build_opener"},
    "requests": {"Session", "get", "post", "put", "patch", "delete", "head", "options", "request"},
    "aiohttp": {"ClientSession"},
}
"""Readers of the environment's proxies: modules, and the names in them that ask or make clients."""

THE_ONE = "grab_service/embedded/steps.py"
PROXIES = ("http_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")


def calls_that_may_go_through_a_proxy(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=module) | ast.Attribute(attr=module), attr=name)):
                transport = any(keyword.arg == "transport" for keyword in node.keywords)  # of a test's own: no network
                if name in ASKING.get(module, ()) and not transport:
                    yield f"{file.relative_to(ROOT)}:{node.lineno}: {module}.{name}"
            case ast.ImportFrom(module=str(module), names=names) if module.rpartition(".")[2] in ASKING:
                for one in names:
                    if one.name in ASKING[module.rpartition(".")[2]]:
                        yield f"{file.relative_to(ROOT)}:{node.lineno}: from {module} import {one.name}"


def test_only_one_place_makes_clients() -> None:
    files = [file for folder in ("grab_service", "reconcile", "loadtest", "bench") for file in (ROOT / folder).rglob("*.py")]
    found = [call for file in files for call in calls_that_may_go_through_a_proxy(file)]
    assert [call for call in found if not call.startswith(THE_ONE)] == []
    assert len(found) == 1


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "socks5://127.0.0.1:9"])
async def test_a_client_of_the_service_goes_past_the_proxies_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    for name in PROXIES:
        monkeypatch.setenv(name, proxy)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with client_of(f"http://127.0.0.1:{port}", timeout_s=5) as client:
            assert (await client.get("/")).status_code == 204
