"""Fixtures of tests of the parts together, beside servers."""

import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from grab_service.cell.rights import Login
from grab_service.embedded.valkey import AppendFsync, ValkeyServer
from tests.harness.backend import Backend
from tests.harness.backend import backend as a_backend
from tests.harness.command_line import CommandLine, command_line_as
from tests.harness.embedded import started as started_server
from tests.harness.fake_service import FakeService, start
from tests.harness.service import Service, running_service


@pytest.fixture
async def service(valkey_url: str, database_url: str, cell_name: str) -> AsyncIterator[Service]:
    """The whole service in this process, in development mode, with its own cell and database."""
    async with running_service(valkey_url, database_url, cell_name) as running:
        yield running


@pytest.fixture
async def backend(valkey_url: str, database_url: str, cell_name: str) -> AsyncIterator[Backend]:
    """A cell and its database, for tests of the ledger; nothing of ours runs yet."""
    async with a_backend(valkey_url, database_url, cell_name) as built:
        yield built


@pytest.fixture
async def valkey(tmp_path: Path) -> AsyncIterator[ValkeyServer]:
    """A Valkey that may be killed."""
    async with started_server(ValkeyServer(tmp_path / "valkey", appendfsync=AppendFsync.ALWAYS)) as server:
        yield server


@pytest.fixture
async def mortal(valkey: ValkeyServer, database_url: str, cell_name: str) -> AsyncIterator[Backend]:
    """A backend whose Valkey may be killed."""
    async with a_backend(valkey.url, database_url, cell_name) as built:
        yield built


@pytest.fixture
def fake_service(request: pytest.FixtureRequest) -> Iterator[FakeService]:
    """Start fake services with the `STOCK` of the module, which end with the test."""
    started: list[subprocess.Popen[str]] = []

    def begin(*words: str, opens_in_s: float = 0) -> str:
        url, process = start("--stock", str(request.module.STOCK), "--opens-in-s", str(opens_in_s), *words)
        started.append(process)
        return url

    yield begin
    for process in started:
        process.communicate()  # ends its input, and so itself
        assert process.returncode == 0


@pytest.fixture
def passes(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file of passes for as many members as `MEMBERS` of the module says."""
    path = tmp_path / "passes.tsv"
    path.write_text("".join(f"m{n:04d}\tpass.m{n:04d}\n" for n in range(request.module.MEMBERS)))
    return path


@pytest.fixture
async def grab(valkey_url: str, database_url: str, cell_name: str, tmp_path: Path) -> AsyncIterator[CommandLine]:
    """The command line in the environment of the service."""
    async with command_line_as(Login.API, valkey_url, database_url, cell_name, tmp_path) as typed:
        yield typed
