"""Clients that keep their connection, send many requests on it, and never repeat one: they notice when workers are replaced."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import orjson

from loadtest.generator.http_parse import take_answer

ANSWER_TIMEOUT_S: Final = 8.0
CHUNK_BYTES: Final = 64 * 1024
SERVER_ERROR: Final = 500


@dataclass(slots=True)
class Notes:
    """Counts of the clients' answers and errors.

    Attributes:
        statuses: how many answers of each status.
        refusals: the codes of those with status 500 and above.
        broken: what went wrong, in words: a reset, an end without an answer, silence.
        bodies: of each 200 and 201, if they are kept.
        goodbyes: answers that were the last of their connection.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    goodbyes: int = 0

    @property
    def errors(self) -> list[str]:
        """The events that no client should see."""
        return [*self.broken, *(f"{count} x {refusal}" for refusal, count in self.refusals.items())]


class KeepAliveClient:
    """One client. It opens a connection when it has none, and closes it only when it was told `Connection: close`."""

    def __init__(self, port: int, notes: Notes, *, keeps_bodies: bool = False) -> None:
        self._port = port
        self._notes = notes
        self._keeps_bodies = keeps_bodies
        self._connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> int | None:
        """The status of the answer; None if there was none."""
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                return await self._ask(request)
        except (OSError, TimeoutError, EOFError) as error:
            self._notes.broken.append(f"{error!r}: {request[:40]!r}")
            await self.hang_up()
            return None

    async def _ask(self, request: bytes) -> int:
        if self._connection is not None and self._connection[0].at_eof():
            await self.hang_up()  # closed while nobody asked: no harm done
        if self._connection is None:
            self._connection = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._connection
        writer.write(request)
        buffer = b""
        while (answer := take_answer(buffer)) is None:
            data = await reader.read(CHUNK_BYTES)
            if not data:
                raise EOFError(f"the connection ended after {len(buffer)} bytes of an answer")
            buffer += data
        self._notes.statuses[answer.status] += 1
        if answer.status >= SERVER_ERROR:
            self._notes.refusals[f"{answer.status} {orjson.loads(answer.body)['code']}"] += 1
        if self._keeps_bodies and answer.status in {200, 201}:
            self._notes.bodies.append(answer.body)
        if answer.closes:
            self._notes.goodbyes += 1
            await self.hang_up()
        return answer.status

    async def hang_up(self) -> None:
        if self._connection is not None:
            self._connection[1].close()
            with contextlib.suppress(OSError):
                await self._connection[1].wait_closed()
            self._connection = None


@asynccontextmanager
async def keeping_on(port: int, requests: list[Iterator[bytes]], think_s: float) -> AsyncIterator[Notes]:
    """As many clients as there are lists of requests, each with its own; until then, or until a list is at its end."""
    notes = Notes()
    over = asyncio.Event()

    async def one(mine: Iterator[bytes]) -> None:
        client = KeepAliveClient(port, notes, keeps_bodies=True)
        for request in mine:
            await client.ask(request)
            if over.is_set():
                break
            await asyncio.sleep(think_s)
        await client.hang_up()

    tasks = [asyncio.create_task(one(mine)) for mine in requests]
    try:
        yield notes
    finally:
        over.set()
        await asyncio.gather(*tasks)
