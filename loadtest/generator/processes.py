"""The processes of a stampede, as their parent starts, steers and ends them."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import orjson

from loadtest.generator.shard import ShardOrder
from loadtest.generator.tally import Tally

STOP_GRACE_S = 10.0

# A tally of two million samples fits.
_LINE_MAX_BYTES = 256 * 1024 * 1024
_ROOT = Path(__file__).resolve().parents[2]


class ShardError(Exception):
    """A process of the stampede failed; the message is its own."""


class ShardProcess:
    """One process of the stampede, seen from the parent."""

    def __init__(self, process: Process, index: int) -> None:
        self._process = process
        self._index = index

    @classmethod
    async def start(cls, order: ShardOrder) -> Self:
        """Start a process and give it its order.

        It has a session of its own: a Ctrl-C at the terminal is for the parent, who tells it to stop.
        """
        environment = dict(os.environ)
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(_ROOT), environment.get("PYTHONPATH", ""))))
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "loadtest.generator.shard",
            stdin=PIPE,
            stdout=PIPE,
            env=environment,
            limit=_LINE_MAX_BYTES,
            start_new_session=True,
        )
        shard = cls(process, order.index)
        shard._write(order.to_line())
        return shard

    def send(self, command: dict[str, Any]) -> None:
        """Send a command; a process that has ended already does not mind."""
        self._write(orjson.dumps(command))

    async def ready(self) -> int:
        """Wait until the connections are open; returns how many are.

        Raises:
            ShardError: it failed.
        """
        opened: int = (await self._hear())["ready"]
        return opened

    async def tally(self, on_progress: Callable[[int, dict[str, int]], None]) -> Tally:
        """Wait for the end of the rush.

        Args:
            on_progress: called with the process's index and its figures.

        Raises:
            ShardError: it failed.
        """
        while True:
            message = await self._hear()
            if "tally" in message:
                return Tally.from_document(message["tally"])
            on_progress(self._index, message["progress"])

    async def end(self) -> None:
        """Close its input, which ends it, and wait; kill it if it does not."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(STOP_GRACE_S):
                # Its remaining output must be taken off the pipe, or it would wait for that.
                await self._process.communicate()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    def _write(self, line: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + b"\n")

    async def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise ShardError(f"sending process {self._index} ended without a word (exit {await self._process.wait()})")
        message: dict[str, Any] = orjson.loads(line)
        if "failed" in message:
            raise ShardError(message["failed"])
        return message
