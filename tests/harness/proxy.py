"""A TCP proxy that delays, cuts, swallows, and leaves connections half open."""

import asyncio
import contextlib
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

CHUNK_BYTES: Final = 64 * 1024
LOOPBACK: Final = "127.0.0.1"


@dataclass(slots=True)
class Weather:
    """The state of the network; changes take effect with the next bytes.

    Attributes:
        delay_s: how long bytes take, each way.
        silent: nothing passes, either way, and nobody is told.
        swallows_replies: requests pass, replies do not, and then the connection breaks.
        refuses: new connections are closed at once.
    """

    delay_s: float = 0.0
    silent: bool = False
    swallows_replies: bool = False
    refuses: bool = False
    clears: asyncio.Event = field(default_factory=asyncio.Event)


class Proxy:
    """Listens on a port of its own and passes on to `port`, which may be changed: `async with Proxy(port) as proxy`."""

    def __init__(self, port: int) -> None:
        self.target_port = port
        self.weather = Weather()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        assert self._server is not None, "not started"
        return int(self._server.sockets[0].getsockname()[1])

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._on_connection, LOOPBACK, 0, backlog=1024)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.fine()
        self.cut()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def fine(self) -> None:
        """The network is well again; connections that were swallowed are broken, as they would be."""
        hurt = self.weather
        self.weather = Weather()
        hurt.clears.set()

    def cut(self) -> None:
        """Break all connections there are."""
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self.weather.refuses:
            writer.transport.abort()
            return
        if self.weather.silent:
            # The caller's machine believes it is connected; nobody is there.
            await self.weather.clears.wait()
            writer.transport.abort()
            return
        try:
            there_reader, there_writer = await asyncio.open_connection(LOOPBACK, self.target_port)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, there_writer}
        ways = [
            asyncio.create_task(self._pass(reader, there_writer, replies=False)),
            asyncio.create_task(self._pass(there_reader, writer, replies=True)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for end in (writer, there_writer):
                self._writers.discard(end)
                end.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, replies: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                weather = self.weather
                if weather.silent:
                    # Bytes on their way are lost; a network would repeat it, a dead one would break the connection.
                    await weather.clears.wait()
                    return
                if replies and weather.swallows_replies:
                    return
                if weather.delay_s:
                    await asyncio.sleep(weather.delay_s)
                writer.write(data)
                await writer.drain()


def through(url: str, port: int) -> str:
    """The same address, by way of another port of this machine."""
    head, _, rest = url.rpartition("@")
    _, _, path = rest.partition("/")
    return f"{head}@127.0.0.1:{port}/{path}"
