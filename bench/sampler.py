"""The sampler: py-spy reads the stacks of a running process from outside, without stopping it. The kernel must allow that."""

import asyncio
import html
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

PER_SECOND: Final = 500
ATTACH_TIMEOUT_S: Final = 20.0
WRITE_TIMEOUT_S: Final = 60.0
TITLE: Final = re.compile(r'(<text id="title"[^>]*>)[^<]*')
READY: Final = b"Sampling process"
FORBIDDEN: Final = ("Permission denied", "Permission Denied", "Operation not permitted", "elevated permissions")
MEND: Final = (
    "The kernel does not let one process look into another. Run it as root, or allow it for now: "
    "`sudo sysctl kernel.yama.ptrace_scope=0`; in a container, `--cap-add SYS_PTRACE`."
)


class SamplerError(Exception):
    """py-spy is not there, or could not look; the message says what helps."""


class SamplingForbiddenError(SamplerError):
    """The kernel does not allow it."""


@asynccontextmanager
async def flame_graph(pid: int, path: Path, title: str) -> AsyncIterator[None]:
    """Sample a process while the block runs, and draw a flame graph at `path`, with that title.

    Raises:
        SamplerError: it cannot be looked into, or nothing was drawn.
    """
    sampler = await asyncio.create_subprocess_exec(
        _py_spy(),
        "record",
        *("--pid", str(pid), "--output", str(path), "--rate", str(PER_SECOND), "--duration", "unlimited"),
        *("--format", "flamegraph", "--function", "--nonblocking"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said = bytearray()
    try:
        await _until_ready(sampler, said)
        yield
        if sampler.returncode is None:
            sampler.send_signal(signal.SIGINT)
        async with asyncio.timeout(WRITE_TIMEOUT_S):
            rest, _ = await sampler.communicate()
        said += rest
        if sampler.returncode != 0:
            raise _error(said)
        await asyncio.to_thread(_entitle, path, title)
    finally:
        if sampler.returncode is None:
            sampler.kill()
            await sampler.wait()


async def _until_ready(sampler: asyncio.subprocess.Process, said: bytearray) -> None:
    assert sampler.stdout is not None
    try:
        async with asyncio.timeout(ATTACH_TIMEOUT_S):
            while READY not in said:
                line = await sampler.stdout.readline()
                if not line:
                    raise _error(said)
                said += line
    except TimeoutError:
        raise SamplerError(f"py-spy did not begin within {ATTACH_TIMEOUT_S:.0f} s: {said.decode()!r}") from None


def _entitle(path: Path, title: str) -> None:
    """In place of py-spy's command line, which names paths of this machine."""
    svg = path.read_text(encoding="utf-8")
    path.write_text(TITLE.sub(lambda match: match[1] + html.escape(title), svg, count=1), encoding="utf-8")


def _error(said: bytearray) -> SamplerError:
    text = said.decode(errors="replace").strip()
    if any(word in text for word in FORBIDDEN):
        return SamplingForbiddenError(f"{text}\n{MEND}")
    return SamplerError(f"py-spy could not sample: {text}")


def _py_spy() -> str:
    """Its program, from the environment that this runs in.

    Raises:
        SamplerError: it is not installed.
    """
    found = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if found is None:
        raise SamplerError("py-spy is not installed. It comes with `make test`, or with the extra `bench`.")
    return found
