"""Progress of a command, step by step, and its requests to the service."""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


class DemoError(Exception):
    """A step did not do what it should; the message says which and how."""


class Steps:
    """Says what is being done, and how long it took."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @asynccontextmanager
    async def step(self, doing: str) -> AsyncIterator[list[str]]:
        """One step; the texts that the caller puts into the list are shown when it is done."""
        started_s = time.monotonic()
        notes: list[str] = []
        with self._console.status(f"{doing} …"):
            self._say_begun(doing)
            yield notes
        self._say_done(doing, notes, started_s)

    @asynccontextmanager
    async def counted(self, doing: str, total: int) -> AsyncIterator[Callable[[int], None]]:
        """One step of known length, with a bar; the caller says now and then how much is done so far."""
        started_s = time.monotonic()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        disable = not self._console.is_terminal
        with Progress(*columns, console=self._console, transient=True, disable=disable) as progress:
            self._say_begun(doing)
            task = progress.add_task(doing, total=total)
            yield lambda done: progress.update(task, completed=done)
        self._say_done(doing, [], started_s)

    def _say_begun(self, doing: str) -> None:
        if not self._console.is_terminal:
            self._console.print(f"  … {doing}")

    def _say_done(self, doing: str, notes: list[str], started_s: float) -> None:
        note = f" — {'; '.join(notes)}" if notes else ""
        took_s = time.monotonic() - started_s
        self._console.print(f"[green]✓[/green] {doing}{note} [dim]({took_s:.1f} s)[/dim]", highlight=False)


def client_of(url: str, *, timeout_s: float, headers: Mapping[str, str] | None = None) -> httpx.AsyncClient:
    """A client of a service on this machine: it is asked directly, whatever the environment says of proxies."""
    return httpx.AsyncClient(base_url=url, timeout=timeout_s, headers=headers, trust_env=False)


async def ask(client: httpx.AsyncClient, method: str, path: str, **request: Any) -> Any:
    """One call that has to succeed; the JSON of its answer.

    Raises:
        DemoError: it did not.
    """
    answer = await client.request(method, path, **request)
    if not answer.is_success:
        raise DemoError(f"{method} {path} answered {answer.status_code}: {answer.text[:500]}")
    return answer.json()
