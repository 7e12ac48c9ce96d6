"""A rehearsal from the start of its own servers to its figures, with nothing left behind.

Everything lives in one temporary directory. The service and its ledger are told the addresses of these servers and no others.
"""

import asyncio
import csv
import os
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
from pydantic import SecretStr
from rich.console import Console

from grab_service.demo import report as reports
from grab_service.demo.command import server_versions
from grab_service.demo.crowd import CrowdPlan, DemoCrowd, RushOutcome
from grab_service.demo.rush import RushPlan
from grab_service.embedded.ports import LOOPBACK, free_port
from grab_service.embedded.programs import Programs
from grab_service.embedded.stack import Stack
from grab_service.embedded.steps import DemoError, Steps, ask, client_of
from grab_service.rehearsal.audience import Audience, copy_audience
from grab_service.rehearsal.goals import Expected
from grab_service.rehearsal.home import temporary_home
from grab_service.rehearsal.load import Load, who_taps
from grab_service.rehearsal.original import reading
from grab_service.rehearsal.shadow import Shadow
from grab_service.settings import Settings
from grab_service.sql.engine import connect
from grab_service.vocabulary.keys import DEFAULT_CELL
from grab_service.vocabulary.passes import Role, mint_ops
from reconcile.migrate import upgrade

RUN_MAX_S: Final = 900.0
CALL_TIMEOUT_S: Final = 120.0
ACTOR: Final = "rehearsal"
KEPT: Final = ("receipts", "stampede.json", "verified.json", "claims.csv", "barred.tsv")

# Of the variables of ours, those that say how the service works; where it works and for whom is the rehearsal's own.
TUNING: Final = (
    *("backlog", "connections_max", "fast_lane", "ordinary_max", "keep_alive_s", "drain_s", "body_max_bytes", "time_zone"),
    *("batch_max", "batches_in_flight_max", "waiting_max", "grab_deadline_s", "view_poll_s", "view_age_max_s"),
    *("rate_burst", "rate_window_s", "sql_connections_max", "redis_timeout_s"),
    *("drain_entries_max", "drain_rows_max", "guard_interval_s", "sweep_interval_s"),
)
_FOREIGN: Final = ("REDIS_URL", "DATABASE_URL", "PROMETHEUS_MULTIPROC_DIR")


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What came of it: the figures of the rush, and how many had to win."""

    figures: Mapping[str, Any]
    expected: Expected


def forget_the_real_world() -> None:
    """Take out of the environment, which all that is started inherits, whatever points to real servers."""
    kept = {f"GRAB_{name.upper()}" for name in TUNING}
    for name in list(os.environ):
        if name in _FOREIGN or (name.startswith("GRAB_") and name not in kept):
            del os.environ[name]


def expected_of(shadow: Shadow, load: Load) -> Expected:
    """Number of units that must be won."""
    at_once, in_all = shadow.opening.quantity, shadow.stock_within(load.spread_s)
    return Expected(min(load.eligible, at_once), min(load.eligible, in_all), sells_out=load.eligible >= at_once)


class Rehearsal:
    """One rehearsal: `await Rehearsal(…).run()`."""

    def __init__(self, real: Settings, shadow: Shadow, load: Load, console: Console, evidence: Path | None) -> None:
        self._real = real
        self._shadow = shadow
        self._load = load
        self._steps = Steps(console)
        self._evidence = evidence

    async def run(self) -> Rehearsed:
        """Do it all; whatever happens, everything that was started is ended, and its data are gone.

        Raises:
            ServerError: a server of its own could not be started.
            DemoError: a step failed.
            TimeoutError: it took longer than RUN_MAX_S.
        """
        with temporary_home(self._real.var_dir) as home:
            try:
                async with asyncio.timeout(RUN_MAX_S):
                    return await self._run_in(home)
            finally:
                if self._evidence is not None:
                    await asyncio.to_thread(_keep, home, self._evidence)

    async def _run_in(self, home: Path) -> Rehearsed:
        audience = await self._copy(home)
        async with self._serving(home) as (settings, url):
            outcome, expected = await self._rush(settings, url, home, audience)
            versions = await server_versions(settings)
        plan = RushPlan(members=self._load.taps, stock=expected.most, spread_s=self._load.spread_s)
        crowd = outcome.stampede
        figures = reports.build_report(plan, outcome, versions, self._real.workers) | {
            "late_ms": round(max(0.0, crowd["start_ms"] - crowd["opens_at_ms"]), 1),
            "send_delay_ms": crowd["send_delay_ms"],
            "senders_cpu_share": crowd["cpu_share"],
        }
        return Rehearsed(figures, expected)

    @asynccontextmanager
    async def _serving(self, home: Path) -> AsyncIterator[tuple[Settings, str]]:
        """Servers, service and ledger of its own: their settings, and where the service listens."""
        async with AsyncExitStack() as running:
            async with self._steps.step("starting servers, service and ledger of its own") as notes:
                stack = await running.enter_async_context(Stack(home))
                settings = Settings(
                    redis_url=stack.redis_url,
                    database_url=stack.database_url,
                    cell=DEFAULT_CELL,
                    secrets={"k1": SecretStr(secrets.token_hex(32))},
                    ops_secrets={"o1": SecretStr(secrets.token_hex(32))},
                    var_dir=home,
                    host=LOOPBACK,
                    port=free_port(),
                    workers=self._real.workers,
                )
                await asyncio.to_thread(upgrade, stack.migration_url, settings.cell)
                programs = await running.enter_async_context(Programs(settings, stack, home))
                notes.append(programs.url)
            yield settings, programs.url

    async def _copy(self, home: Path) -> Audience:
        original = self._shadow.original
        rules, total = original.definition.rules_of_eligibility(), sum(original.counts.values())
        engine = connect(self._real.database_url, connections_max=1)
        try:
            doing = "copying what the rules read of the members"
            async with self._steps.counted(doing, total) as on_progress, reading(engine) as reader:
                return await copy_audience(reader, rules, original.campaign.opens_at_ms, home, on_progress)
        finally:
            await engine.dispose()

    async def _rush(self, settings: Settings, url: str, home: Path, audience: Audience) -> tuple[RushOutcome, Expected]:
        load, expected = self._load, expected_of(self._shadow, self._load)
        now_s = int(time.time())
        token = mint_ops(settings.pass_keys(), ACTOR, Role.ADMIN, now_s, now_s + int(RUN_MAX_S))
        headers = {"Authorization": f"Bearer {token}"}
        async with client_of(url, timeout_s=CALL_TIMEOUT_S, headers=headers) as client:
            await self._import(client, audience)
            crowd = DemoCrowd(settings, url, home, self._steps, tables=home / "tools.log")
            passes = await crowd.mint(who_taps(audience, load))
            barred = home / "barred.tsv"
            with barred.open("w", encoding="ascii", newline="") as stream:
                csv.writer(stream, delimiter="\t", lineterminator="\n").writerows(audience.barred)
            campaign_id = await self._publish(client)
            coming = CrowdPlan(load.taps, expected.least, load.connections, load.spread_s, load.lead_s)
            outcome = await crowd.rush(client, campaign_id, passes, coming, "--barred", str(barred))
        return outcome, expected

    async def _import(self, client: httpx.AsyncClient, audience: Audience) -> None:
        imported = 0
        async with self._steps.counted("importing them", audience.size) as on_progress:
            for file in audience.files:
                content = await asyncio.to_thread(file.read_bytes)
                csv_type = {"Content-Type": "text/csv"}
                answer = await ask(client, "POST", "/v1/ops/members/import", content=content, headers=csv_type)
                if answer["rejected"]:
                    raise DemoError(f"members were rejected: {answer['rejected'][:3]}")
                imported += answer["imported"]
                on_progress(imported)

    async def _publish(self, client: httpx.AsyncClient) -> str:
        shadow = self._shadow
        async with self._steps.step("publishing the shadow") as notes:
            now_ms = (await ask(client, "GET", "/v1/time"))["now_ms"]
            opens_at_ms = now_ms + int(self._load.lead_s * 1000)
            written = await ask(client, "POST", "/v1/ops/campaigns", json=shadow.definition(opens_at_ms))
            path = f"/v1/ops/campaigns/{written['campaign_id']}"
            if shadow.needs_codes:
                codes = shadow.made_up_codes()
                await ask(client, "POST", f"{path}/codes", content=codes.encode(), headers={"Content-Type": "text/csv"})
                notes.append(f"{codes.count(chr(10)) - 1:,} codes made up")
            await ask(client, "POST", f"{path}/schedule", json={"reason": "rehearsal"})
            notes.append(f"{shadow.opening.quantity:,} units, opening in {self._load.lead_s:.0f} s")
        campaign_id: str = written["campaign_id"]
        return campaign_id


def _keep(home: Path, evidence: Path) -> None:
    evidence.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in KEPT:
        if (home / name).is_dir():
            shutil.copytree(home / name, evidence / name, dirs_exist_ok=True)
        elif (home / name).exists():
            shutil.copy(home / name, evidence / name)
    for log in home.glob("**/*.log"):
        shutil.copy(log, evidence / f"{log.parent.name}-{log.name}")
