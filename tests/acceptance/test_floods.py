"""More connections than a worker may open files for: it turns away, goes on serving, and is as before when they have gone."""

import asyncio
import os
import resource
import signal
from pathlib import Path

import psutil
import pytest

from tests.acceptance.test_restart import all_workers_are_new
from tests.harness.district import running_district
from tests.harness.hostile_clients import Kind, unleash

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="the limits of another process are set on Linux only"),
]

OPEN_FILES = 600
CLIENTS = 2_000
LASTS_S = 5.0
REQUEST = b"GET /v1/time HTTP/1.1\r\nHost: grab\r\n\r\n"


async def test_more_connections_than_open_files_do_not_take_a_worker_down(tmp_path: Path) -> None:
    async with running_district(tmp_path) as district:
        old = set(district.worker_pids())
        # New workers inherit what their supervisor may open now.
        resource.prlimit(district.api.pid, resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
        os.kill(district.api.pid, signal.SIGHUP)
        pids = await all_workers_are_new(district, old)
        told = await unleash(district.settings.port, Kind.CONNECTORS, CLIENTS, [REQUEST], tmp_path, LASTS_S)
        assert told["answers"]["200"] > 0, told
        assert told["answers"].get("503 overloaded", 0) > 0, f"nobody was told that there are too many: {told}"
        assert (told["late"], told["unhinted"]) == (0, 0), told
        await asyncio.sleep(1.5)
        assert set(district.worker_pids()) == pids, "no worker died of it"
        assert all(psutil.Process(pid).num_fds() < OPEN_FILES / 2 for pid in pids), "what was open is closed again"
        async with district.http() as client:
            assert (await client.get("/readyz?exclude=aof_policy")).status_code == 200
