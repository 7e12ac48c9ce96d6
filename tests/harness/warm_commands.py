"""Runs `grab` and `python -m reconcile` as forks of a process that has imported them already.

Imports take most of a command's time, and the tests run hundreds of commands. Everything else is as it is for a user: a process
with arguments, an environment, a directory and standard streams of its own. Programs that serve, and commands that are told to
end by a signal, are started as usual.
"""

import asyncio
import importlib
import multiprocessing
import os
import pkgutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from multiprocessing import forkserver, reduction
from pathlib import Path
from types import ModuleType
from typing import IO, Any, Final

import grab_service

CHECKOUT: Final = Path(grab_service.__file__).parents[1]
PACKAGES: Final = (
    "grab_service.cli",
    "grab_service.doctor",
    "grab_service.campaigns",
    "grab_service.claims",
    "grab_service.members",
    "reconcile",
)
READ_AT_START: Final = ("PYTHON", "PROMETHEUS_", "LC_", "LANG")
"""Beginnings of variables that Python, or a library while it is imported, reads once and for all."""

START: Final = {"PYTHONPATH": str(CHECKOUT), "LC_ALL": "C.UTF-8"}

_CONTEXT: Final = multiprocessing.get_context("forkserver")


def fits(env: Mapping[str, str]) -> bool:
    """Whether a fork with this environment does what a new interpreter with it would do."""
    return {name: value for name, value in env.items() if name.startswith(READ_AT_START)} == START


async def run(
    module: str, arguments: Sequence[str], home: Path, env: Mapping[str, str], streams: Sequence[IO[Any]], timeout_s: float
) -> int:
    """Run the `main` of a module to its end; its exit status, negative for a signal. `streams` are its standard streams."""
    _start_server()
    fds = [_Inherited(stream.fileno()) for stream in streams]
    process = _CONTEXT.Process(target=_main, args=(module, arguments, str(home), dict(env), fds))
    with _without_main():
        process.start()
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(process.sentinel, ended.set)
    try:
        await asyncio.wait_for(ended.wait(), timeout_s)
    except BaseException:
        process.kill()
        raise
    finally:
        loop.remove_reader(process.sentinel)
        process.join()
    assert process.exitcode is not None
    return process.exitcode


class _Inherited:
    """A file descriptor of this process, which a fork finds under another number."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __reduce__(self) -> Any:
        return _number_of, (reduction.DupFd(self._fd),)


def _number_of(fd: Any) -> int:
    return int(fd.detach())


@contextmanager
def _without_main() -> Iterator[None]:
    """For `multiprocessing`, which would run in each fork the script by which the tests were started."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@cache
def _start_server() -> None:
    """Start the process that imports; it sees nothing of the environment in which the tests run."""
    _CONTEXT.set_forkserver_preload([__name__])
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update({"PATH": before["PATH"], **START})
    try:
        with _without_main():
            forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(before)


def _main(module: str, arguments: Sequence[str], home: str, env: Mapping[str, str], fds: Sequence[int]) -> None:
    """In the fork: become what a new interpreter would be."""
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
    sys.stdin = os.fdopen(0, encoding="utf-8", errors="surrogateescape", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)
    os.chdir(home)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = [module, *arguments]
    importlib.import_module(module).main()


def _import_all() -> None:
    for name in PACKAGES:
        package = importlib.import_module(name)
        for found in pkgutil.walk_packages(package.__path__, f"{name}."):
            if ".migrations" not in found.name:
                importlib.import_module(found.name)


if multiprocessing.parent_process() is None and sys.argv[0] == "-c":  # in the process that imports
    _import_all()
