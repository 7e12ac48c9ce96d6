"""Prometheus watches a running sale; Redis dies, and the right alerts fire."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from grab_service.embedded.ports import free_port
from tests.harness.district import Site, running_district

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

RULES = Path(__file__).parents[2] / "deploy/prometheus/rules.yml"
CONFIGURATION = """\
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [{rules}]
scrape_configs:
  - {{job_name: grab, static_configs: [{{targets: ["127.0.0.1:{service}"]}}]}}
  - {{job_name: ledger, static_configs: [{{targets: ["127.0.0.1:{ledger}"]}}]}}
"""


@asynccontextmanager
async def watching(program: str, home: Path, service: int, ledger: int) -> AsyncIterator[str]:
    """A Prometheus that looks every second; its address."""
    port, configuration = free_port(), home / "prometheus.yml"
    configuration.write_text(CONFIGURATION.format(rules=RULES, service=service, ledger=ledger), encoding="utf-8")
    arguments = (
        f"--config.file={configuration}",
        f"--storage.tsdb.path={home / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
    )
    with (home / "prometheus.log").open("wb") as log:
        running = await asyncio.create_subprocess_exec(program, *arguments, stdout=log, stderr=log)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            running.terminate()
            await running.wait()


async def test_redis_dies_and_the_right_alerts_fire_and_end_by_themselves(tmp_path: Path) -> None:
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not there (Debian: the package prometheus)")
    ledger = free_port()
    async with (
        running_district(tmp_path, Site(workers=2, ledger_metrics_port=ledger), members=20) as district,
        watching(program, tmp_path, district.settings.port, ledger) as url,
        httpx.AsyncClient(base_url=url, trust_env=False) as prometheus,
    ):
        await district.programs.wait_ready()
        await district.open_campaign(10)

        async def firing() -> set[str]:
            alerts = (await prometheus.get("/api/v1/alerts")).json()["data"]["alerts"]
            return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

        async def seen() -> bool:
            answer = await prometheus.get("/api/v1/query", params={"query": "sum(up) == 2 and sum(grab_workers) == 2"})
            return bool(answer.json()["data"]["result"])

        await district.until(seen, 20, pause_s=0.5)
        assert not await firing() & {"ViewOld", "CellClosed", "GrabServiceDown", "LedgerDown"}
        await district.valkey.kill()

        async def told() -> bool:
            return await firing() >= {"ViewOld", "CellClosed"}

        await district.until(told, 30, pause_s=0.5)
        assert not await firing() & {"GrabServiceDown", "LedgerDown", "AuditRed"}
        await district.valkey.start()

        async def over() -> bool:
            return not await firing() & {"ViewOld", "CellClosed"}

        await district.until(over, 20, pause_s=0.5)
