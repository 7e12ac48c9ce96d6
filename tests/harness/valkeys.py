"""A Valkey whose disk and data can be tampered with."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from grab_service.embedded.child import ChildSpec
from grab_service.embedded.valkey import AppendFsync, ValkeyServer
from tests.harness.powercut import Disk


class FaultyValkey(ValkeyServer):
    """A Valkey as the project runs it, with a watched disk below it; `password` is shared by those that replicate."""

    def __init__(self, home: Path, *, appendfsync: AppendFsync, shim: Path | None, password: str) -> None:
        super().__init__(home, appendfsync=appendfsync)
        self.disk = None if shim is None else Disk(shim, home.absolute() / "synced")
        home.mkdir(parents=True, exist_ok=True)
        (home / "password").write_text(password, encoding="ascii")

    def _spec(self, argv: tuple[str, ...]) -> ChildSpec:
        spec = super()._spec(argv)
        return spec if self.disk is None else replace(spec, env=self.disk.env)

    def _settings(self) -> dict[str, object]:
        # A replica that is told to follow another one needs the password to do so.
        return {**super()._settings(), "masterauth": self._password, "repl-diskless-sync-delay": 0}

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Redis]:
        async with Redis.from_url(self.url, socket_timeout=5) as client:
            yield client

    async def ask(self, *command: Any) -> Any:
        """One command on a connection of its own."""
        async with self.client() as client:
            return await client.execute_command(*command)  # type: ignore[no-untyped-call]

    async def follow(self, primary: "FaultyValkey", port: int = 0) -> None:
        """Follow another one, perhaps by way of another port, until this one has all that the other had a moment ago."""
        if not self.running:
            await self.start()
        await self.ask("REPLICAOF", "127.0.0.1", port or primary.port)
        async with asyncio.timeout(20):
            while (await self.ask("ROLE"))[3] != b"connected":
                await asyncio.sleep(0.03)
            goal = int((await primary.ask("ROLE"))[1])
            while int((await self.ask("ROLE"))[4]) < goal:
                await asyncio.sleep(0.03)

    @property
    def aof_dir(self) -> Path:
        return self.data_dir / "appendonlydir"

    def keep_copy(self, place: Path) -> None:
        """Copy the log as it stands now, running or not."""
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(self.aof_dir, place)

    def bring_back(self, place: Path) -> None:
        """Put an earlier copy of the log in the place of the log. Only while it is dead."""
        shutil.rmtree(self.aof_dir)
        shutil.copytree(place, self.aof_dir)

    def newest_log(self) -> Path:
        """The file that is being appended to."""
        return max(self.aof_dir.glob("*.incr.aof"), key=lambda file: int(file.name.split(".")[-3]))
