"""How does a test type commands, and read what they say?"""

import asyncio
import json
import os
import pty
import sys
import termios
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grab_service
from grab_service.cell.rights import Login
from tests.integration.logins import as_role, redis_logins

CHECKOUT: Final = Path(grab_service.__file__).parents[1]
PATIENCE_S: Final = 120.0
SECRET: Final = "k1:a secret of tests which is long enough"
OPS_SECRET: Final = "o1:another secret of tests for ops alone"


def without_lane() -> dict[str, str]:
    """The setting of a run of all tests that is without the fast lane, for programs that inherit nothing else."""
    return {name: value for name, value in os.environ.items() if name == "GRAB_FAST_LANE"}


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended, and what it said."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def is_refusal(self, *words: str) -> bool:
        """A sentence on standard error that holds these words, exit status 1, and no traceback."""
        assert self.status == 1, self
        assert any(line.startswith("grab: ") for line in self.err.splitlines()), self
        assert "Traceback" not in self.err, self
        for word in words:
            assert word in self.err, f"{word!r} is not in {self.err!r}"
        return True


class CommandLine:
    """`grab` as a process of its own, with an environment that holds what a test gives it, and whether there is a fast lane."""

    def __init__(self, home: Path, **env: str) -> None:
        self.home = home
        given = {"PATH": os.environ["PATH"], "PYTHONPATH": str(CHECKOUT), "LC_ALL": "C.UTF-8", "USER": "tester"}
        self.env = {**given, **without_lane(), **env}

    def file(self, name: str, content: str | bytes) -> str:
        """A file of that content in its directory; its name."""
        data = content.encode() if isinstance(content, str) else content
        (self.home / name).write_bytes(data)
        return name

    async def run(self, *arguments: str, stdin: str | bytes = b"", env: Mapping[str, str] | None = None) -> Said:
        """Run it to its end."""
        process = await asyncio.create_subprocess_exec(
            *self.argv(*arguments),
            cwd=self.home,
            env={**self.env, **(env or {})},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            data = stdin.encode() if isinstance(stdin, str) else stdin
            out, err = await asyncio.wait_for(process.communicate(data), PATIENCE_S)
        except BaseException:
            process.kill()
            await process.wait()
            raise
        assert process.returncode is not None
        return Said(process.returncode, out.decode(), err.decode())

    async def ok(self, *arguments: str, stdin: str | bytes = b"") -> Said:
        """Run it; it must do what it was asked."""
        said = await self.run(*arguments, stdin=stdin)
        assert said.status == 0, said
        return said

    async def at_terminal(self, *arguments: str, types: str) -> Said:
        """Run it at a terminal where somebody types that; what the terminal shows is `err`."""
        ours, theirs = pty.openpty()
        shape = termios.tcgetattr(theirs)
        shape[3] &= ~termios.ECHO
        termios.tcsetattr(theirs, termios.TCSANOW, shape)
        process = await asyncio.create_subprocess_exec(
            *self.argv(*arguments), cwd=self.home, env=self.env, stdin=theirs, stdout=asyncio.subprocess.PIPE, stderr=theirs
        )
        os.close(theirs)
        try:
            os.write(ours, types.encode())
            out, _ = await asyncio.wait_for(process.communicate(), PATIENCE_S)
            shown = await asyncio.to_thread(_read_all, ours)
        except BaseException:
            process.kill()
            await process.wait()
            raise
        finally:
            os.close(ours)
        assert process.returncode is not None
        return Said(process.returncode, out.decode(), shown)

    def argv(self, *arguments: str) -> tuple[str, ...]:
        return (sys.executable, "-m", "grab_service.cli.main", *arguments)


def _read_all(terminal: int) -> str:
    shown = b""
    while True:
        try:
            more = os.read(terminal, 4096)
        except OSError:  # nobody is at the other end any more
            return shown.decode()
        if not more:
            return shown.decode()
        shown += more


@asynccontextmanager
async def command_line_as(
    login: Login, valkey_url: str, database_url: str, cell_name: str, home: Path, **env: str
) -> AsyncIterator[CommandLine]:
    """`grab` in the environment of that program: as its users and roles, and no others."""
    async with redis_logins(valkey_url, cell_name) as urls:
        yield CommandLine(
            home,
            REDIS_URL=urls[login],
            GRAB_GUARD_REDIS_URL=urls[Login.GUARD],
            DATABASE_URL=as_role(database_url, login),
            GRAB_CELL=cell_name,
            **env,
        )
