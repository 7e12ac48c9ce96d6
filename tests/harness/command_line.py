"""Types commands for a test, and reads what they say."""

import asyncio
import json
import os
import pty
import sys
import tempfile
import termios
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from grab_service.cell.rights import Login
from tests.harness import warm_commands
from tests.harness.logins import as_role, redis_logins
from tests.harness.warm_commands import CHECKOUT

GRAB: Final = "grab_service.cli.main"
RECONCILE: Final = "reconcile.__main__"
PATIENCE_S: Final = 120.0
SECRET: Final = "k1:a secret of tests which is long enough"
OPS_SECRET: Final = "o1:another secret of tests for ops alone"


def environment() -> dict[str, str]:
    """The environment of every command here."""
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(CHECKOUT), "LC_ALL": "C.UTF-8", "USER": "tester", **without_lane()}


def without_lane() -> dict[str, str]:
    """The setting of a run of all tests that is without the fast lane, for programs that inherit nothing else."""
    return {name: value for name, value in os.environ.items() if name == "GRAB_FAST_LANE"}


@dataclass(frozen=True, slots=True)
class Said:
    """Exit status and output of a command."""

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
        self.env = environment() | env

    def file(self, name: str, content: str | bytes) -> str:
        """A file of that content in its directory; its name."""
        data = content.encode() if isinstance(content, str) else content
        (self.home / name).write_bytes(data)
        return name

    async def run(self, *arguments: str, stdin: str | bytes = b"", env: Mapping[str, str] | None = None) -> Said:
        """Run it to its end."""
        return await run_command(GRAB, arguments, self.home, {**self.env, **(env or {})}, stdin)

    async def ok(self, *arguments: str, stdin: str | bytes = b"") -> Said:
        """Run it; it must do what it was asked."""
        said = await self.run(*arguments, stdin=stdin)
        assert said.status == 0, said
        return said

    async def at_terminal(self, *arguments: str, types: str) -> Said:
        """Run it at a terminal where somebody types that; `err` has the terminal's text."""
        ours, theirs = pty.openpty()
        shape = termios.tcgetattr(theirs)
        shape[3] &= ~termios.ECHO
        termios.tcsetattr(theirs, termios.TCSANOW, shape)
        os.write(ours, types.encode())
        with tempfile.TemporaryFile() as out, os.fdopen(theirs, "r+b", buffering=0) as terminal:
            status = await _status_of(GRAB, arguments, self.home, self.env, (terminal, out, terminal))
            said = _all_of(out).decode()
        shown = await asyncio.to_thread(_read_all, ours)
        os.close(ours)
        return Said(status, said, shown)

    def argv(self, *arguments: str) -> tuple[str, ...]:
        return (sys.executable, "-m", GRAB, *arguments)


async def run_command(
    module: str, arguments: Sequence[str], home: Path, env: Mapping[str, str], stdin: str | bytes = b""
) -> Said:
    """Run the `main` of a module to its end, as a process of its own."""
    with tempfile.TemporaryFile() as into, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        into.write(stdin.encode() if isinstance(stdin, str) else stdin)
        into.seek(0)
        status = await _status_of(module, arguments, home, env, (into, out, err))
        return Said(status, *(_all_of(stream).decode() for stream in (out, err)))


async def _status_of(
    module: str, arguments: Sequence[str], home: Path, env: Mapping[str, str], streams: tuple[IO[bytes], IO[bytes], IO[bytes]]
) -> int:
    if warm_commands.fits(env):
        return await warm_commands.run(module, arguments, home, env, streams, PATIENCE_S)
    stdin, stdout, stderr = streams
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *arguments), cwd=home, env=dict(env), stdin=stdin, stdout=stdout, stderr=stderr
    )
    try:
        return await asyncio.wait_for(process.wait(), PATIENCE_S)
    except BaseException:
        process.kill()
        await process.wait()
        raise


def _all_of(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


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
