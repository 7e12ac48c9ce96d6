"""The servers that are compared, ours and its peers: how each is started, resumed and suspended.

All do the same job: verify the pass, run the same script in the same Redis, answer with the claim or a problem. Those that are
not measured just now are suspended, so that they cost those nothing that are.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx
import psutil

from bench.peers import dependencies
from bench.testbed import KID, SECRET, VALID_DAYS, Testbed, TestbedError, pin
from bench.without import TAKEN_OUT
from grab_service.cell.rights import Login
from grab_service.embedded.child import Child, ChildSpec
from grab_service.embedded.ports import free_port
from grab_service.embedded.programs import environment_of
from grab_service.embedded.steps import client_of
from grab_service.vocabulary.keys import CellKeys

READY_TIMEOUT_S: Final = 30.0
AWAKE_TIMEOUT_S: Final = 5.0
POLL_S: Final = 0.02
ANSWERED_S: Final = 0.1
STOPS: Final = ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0))
OURS: Final = "ours"
PLAIN: Final = "plain_fastapi"
NODE: Final = "node"
NGINX: Final = "nginx"
NGINX_CACHE: Final = "nginx_cache"
PEERS: Final = (PLAIN, NODE, NGINX, NGINX_CACHE)
TITLES: Final = {
    OURS: "grab-service, one worker",
    PLAIN: "FastAPI + redis-py, one EVALSHA a request",
    NODE: "Node: fastify + ioredis, one EVALSHA a request",
    NGINX: "nginx + Lua, one EVALSHA a request",
    NGINX_CACHE: "nginx + Lua with a sold-out cache",
    "decision": "grab-service answering a constant",
}


@dataclass(frozen=True, slots=True)
class Peer:
    """A server that answers grabs on a port of the loopback."""

    name: str
    port: int
    child: Child | None
    pids: tuple[int, ...]
    is_ours: bool
    supervisor: int | None = None
    """Stays suspended meanwhile: it would take a worker that is put to rest for one that hangs."""

    async def wake(self) -> None:
        """Let it run, and wait until it knows what happened meanwhile."""
        self._send(signal.SIGCONT)
        if not self.is_ours:
            return
        async with client_of(f"http://127.0.0.1:{self.port}", timeout_s=2) as client:
            await _until_ready(client, "/readyz?exclude=aof_policy&exclude=lag", AWAKE_TIMEOUT_S)

    def rest(self) -> None:
        """Suspend it."""
        self._send(signal.SIGSTOP)

    async def set_free(self) -> None:
        """Let all of it run again, so that it can end."""
        self._send(signal.SIGCONT)
        if self.supervisor is not None:
            await asyncio.sleep(ANSWERED_S)
            os.kill(self.supervisor, signal.SIGCONT)

    def _send(self, sign: signal.Signals) -> None:
        for pid in self.pids:
            os.kill(pid, sign)


@asynccontextmanager
async def running_peers(
    testbed: Testbed, names: Sequence[str], folder: Path, cpus: list[int] | None = None
) -> AsyncIterator[tuple[dict[str, Peer], dict[str, str]]]:
    """Start them beside the testbed's own service: (those that run, by name; why the others do not).

    Args:
        testbed: servers, campaigns, and the service itself, which is `ours`.
        names: of peers, or of techniques that the service is to do without.
        folder: where what the peers need is kept.
        cpus: the processors they may use.
    """
    running: dict[str, Peer] = {}
    missing: dict[str, str] = {}
    async with AsyncExitStack() as all_of_them:
        for name in names:
            if name == OURS:
                parent = testbed.programs.api.pid
                running[name] = Peer(name, testbed.settings.port, None, _children(parent), is_ours=True, supervisor=parent)
                continue
            try:
                running[name] = await all_of_them.enter_async_context(_started(testbed, name, folder))
            except dependencies.UnavailableError as error:
                missing[name] = str(error)
        for one in running.values():
            if cpus is not None:
                pin(one.pids, cpus)
            if one.supervisor is not None:
                os.kill(one.supervisor, signal.SIGSTOP)
            one.rest()
        try:
            yield running, missing
        finally:
            for one in running.values():
                await one.set_free()


@asynccontextmanager
async def _started(testbed: Testbed, name: str, folder: Path) -> AsyncIterator[Peer]:
    port = free_port()
    home = testbed.settings.var_dir / "run" / name
    home.mkdir(parents=True, exist_ok=True)
    is_ours = name in TAKEN_OUT
    argv, env = _service(testbed, name, port) if is_ours else _peer(name, folder, home, port)
    if not is_ours:
        env |= await _facts(testbed, port)
    log_path = home / "log"
    child = Child(ChildSpec(name, argv, home, log_path, home / "pid", STOPS, signal.SIGTERM, env=env))
    child.start()
    try:
        async with client_of(f"http://127.0.0.1:{port}", timeout_s=2) as client:
            try:
                await _until_ready(client, "/livez" if is_ours else "/", READY_TIMEOUT_S, any_status=not is_ours)
            except TestbedError as error:
                raise child.not_started(str(error)) from error
        children = _children(child.pid)
        if is_ours:
            yield Peer(name, port, child, children, is_ours, supervisor=child.pid)
        else:
            yield Peer(name, port, child, (child.pid, *children), is_ours)
    finally:
        await child.stop()


async def _until_ready(client: httpx.AsyncClient, path: str, timeout_s: float, *, any_status: bool = False) -> None:
    give_up_s = time.monotonic() + timeout_s
    said = "nothing"
    while time.monotonic() < give_up_s:
        try:
            answer = await client.get(path)
        except httpx.TransportError as error:
            said = repr(error)
        else:
            if any_status or answer.status_code == 200:
                return
            said = answer.text[:300]
        await asyncio.sleep(POLL_S)
    raise TestbedError(f"is not ready after {timeout_s:.0f} s: {said}")


def _service(testbed: Testbed, name: str, port: int) -> tuple[tuple[str, ...], dict[str, str]]:
    env = environment_of(testbed.settings, testbed.stack.addresses_of(Login.API))
    checkout = str(Path(__file__).resolve().parents[2])
    argv = (sys.executable, "-m", "bench.without", name)
    return argv, {**env, "GRAB_PORT": str(port), "PYTHONPATH": checkout}


def _peer(name: str, folder: Path, home: Path, port: int) -> tuple[tuple[str, ...], dict[str, str]]:
    if name == PLAIN:
        return (sys.executable, str(dependencies.PEERS / "plain_fastapi.py")), {}
    if name == NODE:
        program, app = dependencies.node(folder)
        return (str(program), str(app / "server.js")), {"NODE_ENV": "production"}
    assert name in {NGINX, NGINX_CACHE}, name
    nginx = dependencies.nginx(folder)
    text = (dependencies.PEERS / "nginx" / "nginx.conf").read_text(encoding="utf-8")
    blanks = {
        "modules": nginx.modules,
        "folder": home,
        "port": port,
        "peers": dependencies.PEERS / "nginx",
        "lua": nginx.lua,
        "lua_in_c": nginx.lua_in_c,
        "user": "user root;" if os.geteuid() == 0 else "",
    }
    for blank, value in blanks.items():
        text = text.replace(f"@{blank}@", str(value))
    config = home / "nginx.conf"
    config.write_text(text, encoding="utf-8")
    env = {"BENCH_CACHE": "1" if name == NGINX_CACHE else "0", **dependencies.environment(nginx.libraries)}
    return (str(nginx.program), "-p", str(home), "-c", str(config), "-e", "stderr"), env


async def _facts(testbed: Testbed, port: int) -> dict[str, str]:
    """Settings of every peer."""
    address = urlsplit(testbed.stack.redis_url)
    found = await testbed.redis.hgetall(CellKeys.of(testbed.settings.cell).scripts)
    table = {bytes(name).decode(): bytes(value).decode() for name, value in found.items()}  # type: ignore[arg-type]
    return {
        "BENCH_PORT": str(port),
        "BENCH_REDIS_PORT": str(address.port),
        "BENCH_REDIS_PASSWORD": address.password or "",
        "BENCH_CELL": testbed.settings.cell,
        "BENCH_EPOCH": table["epoch"],
        "BENCH_SHA": next(sha for name, sha in table.items() if name.endswith(":grab")),
        "BENCH_KID": KID,
        "BENCH_SECRET": SECRET,
        "BENCH_VALID_DAYS": str(VALID_DAYS),
    }


def _children(pid: int) -> tuple[int, ...]:
    return tuple(one.pid for one in psutil.Process(pid).children(recursive=True))
