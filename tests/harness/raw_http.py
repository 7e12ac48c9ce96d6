"""HTTP to a worker over a real socket, byte by byte."""

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn

from grab_service.server.lane import ASGIApp
from grab_service.server.listener import bound_what_the_kernel_keeps
from grab_service.server.protocol import GrabProtocol
from grab_service.server.worker import Worker
from tests.harness.worker import nothing_else


def listening(port: int = 0) -> socket.socket:
    """A listener whose connections send at once, as those of uvloop do; else the second part of an answer waits for 40 ms."""
    listener = socket.create_server(("127.0.0.1", port))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


@asynccontextmanager
async def serving(worker: Worker, behind: ASGIApp = nothing_else) -> AsyncIterator[int]:
    """A real uvicorn with the grab protocol in this process, and `behind` for all that is no grab; its port."""
    lane = worker.lane(behind)
    config = uvicorn.Config(
        lane, http=GrabProtocol, lifespan="off", proxy_headers=False, server_header=False, access_log=False, log_config=None
    )
    async with served(config, *([] if (probes_port := worker.settings.probes_port) is None else [probes_port])) as port:
        yield port


@asynccontextmanager
async def served(config: uvicorn.Config, *more_ports: int) -> AsyncIterator[int]:
    """What uvicorn serves by this configuration on a free port, which is told, and on these."""
    listeners = [listening(port) for port in (0, *more_ports)]
    for listener in listeners:
        bound_what_the_kernel_keeps(listener)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=listeners))
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield listeners[0].getsockname()[1]
    finally:
        server.should_exit = True
        await task
        for listener in listeners:
            listener.close()


class Wire:
    """One connection that says exactly what it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, request: bytes) -> bytes:
        self.writer.write(request)
        return await self.answer()

    async def answer(self) -> bytes:
        async with asyncio.timeout(5):
            head = await self.reader.readuntil(b"\r\n\r\n")
            found = re.search(rb"content-length: (\d+)", head)
            assert found, head
            return head + await self.reader.readexactly(int(found[1]))

    async def is_closed(self, timeout_s: float = 5) -> bool:
        try:
            async with asyncio.timeout(timeout_s):
                return await self.reader.read(1) == b""
        except TimeoutError:
            return False
        except ConnectionError:
            return True


@asynccontextmanager
async def wire(port: int) -> AsyncIterator[Wire]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Wire(reader, writer)
    finally:
        await hang_up(writer)


@contextmanager
def small_window(port: int) -> Iterator[socket.socket]:
    """A connection on which only a little may be under way."""
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        one.connect(("127.0.0.1", port))
        yield one


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


def request(campaign_id: str, *headers: str, method: str = "POST") -> bytes:
    lines = [f"{method} /v1/campaigns/{campaign_id}/claims HTTP/1.1", "Host: grab", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
