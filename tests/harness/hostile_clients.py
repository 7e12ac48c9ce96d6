"""`python -m tests.harness.hostile_clients PORT KIND CLIENTS SECONDS FILE`: hostile clients of a service.

A process of its own, so that it takes its processor time from the service and not from the crowd that measures. It says at the
end what it was told, as one line of JSON: `answers` by status and code, `late` ones, `unhinted` ones, `slowest_s`.
"""

import asyncio
import contextlib
import itertools
import json
import resource
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from loadtest.contract import read_problem
from loadtest.generator.http_parse import Answer, HttpParseError, header, take_answer

LATE_S: Final = 4.0
"""Deadline and as much again: the machine is busy with the hostile clients themselves."""

GIVE_UP_S: Final = 10.0
IMPATIENCE_S: Final = 0.2
"""A member who is told to come again in a second comes again sooner, but not at once."""

DRIP_S: Final = 0.1
CHUNK_BYTES: Final = 64 * 1024


class Kind(StrEnum):
    """The behaviour of the hostile clients."""

    ASKERS = "askers"  # ask again and again, each request of the file in turn
    CONNECTORS = "connectors"  # connect, ask once, stay a moment, go, and come again
    SLOW_SENDERS = "slow-senders"  # heads, bodies and chunks, a byte at a time
    DEAF = "deaf"  # ask much, and never read
    SILENT = "silent"  # connect and say nothing, or half of something


@dataclass(slots=True)
class HostileClients:
    """The hostile clients, and the answers that they got."""

    port: int
    requests: Iterator[bytes]
    ends_s: float
    answers: Counter[str] = field(default_factory=Counter)
    unhinted: int = 0
    late: int = 0
    slowest_s: float = 0.0
    open_files: list[asyncio.StreamWriter] = field(default_factory=list)

    def goes_on(self) -> bool:
        return time.monotonic() < self.ends_s

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", self.port), GIVE_UP_S)
        self.open_files.append(writer)
        return reader, writer

    async def hear(self, reader: asyncio.StreamReader, asked_s: float) -> Answer | None:
        """One answer, noted; None if there was none."""
        buffer = b""
        try:
            async with asyncio.timeout(GIVE_UP_S):
                while (answer := take_answer(buffer)) is None:
                    data = await reader.read(CHUNK_BYTES)
                    if not data:
                        return None
                    buffer += data
        except (OSError, TimeoutError, HttpParseError):
            return None
        finally:
            took_s = time.monotonic() - asked_s
            self.slowest_s = max(self.slowest_s, took_s)
            self.late += took_s > LATE_S
        name = str(answer.status)
        if answer.status == 503:
            name += f" {read_problem(answer.body).code}"
            self.unhinted += header(answer.head, b"retry-after") is None
        self.answers[name] += 1
        return answer

    async def ask_again_and_again(self) -> None:
        while self.goes_on():
            reader, writer = await self.connect()
            while self.goes_on():
                asked_s = time.monotonic()
                writer.write(next(self.requests))
                answer = await self.hear(reader, asked_s)
                if answer is None or answer.closes:
                    break
                if answer.status == 503:
                    await asyncio.sleep(IMPATIENCE_S)
            writer.close()

    async def come_and_go(self) -> None:
        while self.goes_on():
            reader, writer = await self.connect()
            asked_s = time.monotonic()
            writer.write(next(self.requests))
            await self.hear(reader, asked_s)
            await asyncio.sleep(0.3)
            writer.close()

    async def send_slowly(self) -> None:
        head = b"POST /v1/dev/sessions HTTP/1.1\r\nHost: grab\r\nContent-Type: application/json\r\n"
        told = next(_COUNT) % 3
        sent = (head, head + b"Content-Length: 5000\r\n\r\n", head + b"Transfer-Encoding: chunked\r\n\r\n")[told]
        drop = (b"x", b" ", b"1\r\n \r\n")[told]
        while self.goes_on():
            _, writer = await self.connect()
            writer.write(sent)
            while self.goes_on() and not writer.is_closing():
                writer.write(drop)
                await asyncio.sleep(DRIP_S)

    async def be_deaf(self) -> None:
        _, writer = await self.connect()
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's transport has it
        while self.goes_on() and not writer.is_closing():
            writer.write(next(self.requests) * 40)
            await asyncio.sleep(DRIP_S)

    async def be_silent(self) -> None:
        _, writer = await self.connect()
        if next(_COUNT) % 2:
            writer.write(b"POST /v1/dev/sessions HTTP/1.1\r\nHost:")
        await asyncio.sleep(max(0.0, self.ends_s - time.monotonic()))


_COUNT = itertools.count()


async def disturb(kind: Kind, hostile: HostileClients, clients: int) -> None:
    """So many of a kind, until the time is over."""
    acts: dict[Kind, Callable[[], Awaitable[None]]] = {
        Kind.ASKERS: hostile.ask_again_and_again,
        Kind.CONNECTORS: hostile.come_and_go,
        Kind.SLOW_SENDERS: hostile.send_slowly,
        Kind.DEAF: hostile.be_deaf,
        Kind.SILENT: hostile.be_silent,
    }

    async def one() -> None:
        while hostile.goes_on():
            with contextlib.suppress(OSError, TimeoutError):
                await acts[kind]()
            await asyncio.sleep(0.05)

    await asyncio.gather(*(one() for _ in range(clients)))
    for writer in hostile.open_files:
        writer.transport.abort()


async def unleash(port: int, kind: Kind, clients: int, requests: list[bytes], folder: Path, lasts_s: float) -> dict[str, Any]:
    """Let them come to that port, in a process of their own; the answers to them."""
    file = folder / "hostile.requests"
    file.write_bytes(b"\0".join(requests))
    arguments = (str(port), kind.value, str(clients), str(lasts_s), str(file))
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", __name__, *arguments, stdout=asyncio.subprocess.PIPE)
    try:
        said, _ = await asyncio.wait_for(process.communicate(), lasts_s + 60)
    finally:
        if process.returncode is None:
            process.kill()
    return dict(json.loads(said))


def main() -> None:
    port, kind, clients, lasts_s, requests = sys.argv[1:]
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    said = Path(requests).read_bytes().split(b"\0")
    hostile = HostileClients(int(port), itertools.cycle(said), time.monotonic() + float(lasts_s))
    asyncio.run(disturb(Kind(kind), hostile, int(clients)))
    print(  # noqa: T201
        json.dumps(
            {"answers": hostile.answers, "late": hostile.late, "unhinted": hostile.unhinted, "slowest_s": hostile.slowest_s}
        )
    )


if __name__ == "__main__":
    main()
