"""The main job, from an empty machine to a proof: what does the demo do, step by step?

Everything goes through the doors a real district would use: members and the campaign over HTTP as ops, the crowd over HTTP as
members with a pass each, the figures from the clients' receipts, from Postgres and from the audit.
"""

import asyncio
import contextlib
import csv
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import orjson
from rich.console import Console
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from grab_service.demo.programs import Programs
from grab_service.people import synthetic
from grab_service.people.members_csv import write_members
from grab_service.settings import Settings
from grab_service.sql.engine import connect
from grab_service.vocabulary.passes import PassKeys, mint
from grab_service.vocabulary.times import rfc3339

CAMPAIGN_WINDOW_MS: Final = 24 * 3600 * 1000
HELD: Final = {"pending_payment", "fulfilled"}
DRAIN_TIMEOUT_S: Final = 60.0
DRAIN_POLL_S: Final = 0.05
IMPORT_TIMEOUT_S: Final = 120.0
STAMPEDE_TIMEOUT_S: Final = 120


class DemoError(Exception):
    """A step of the demo did not do what it should; the message says which and how."""


@dataclass(frozen=True, slots=True)
class RushPlan:
    """How large, and how the crowd comes. `spread_s`: over how long after opening the members tap."""

    members: int = 110_000
    orgs: int = 588
    stock: int = 3_000
    seed: int = synthetic.SEED
    connections: int = 2_000
    spread_s: float = 4.0
    lead_s: float = 6.0


@dataclass(frozen=True, slots=True)
class RushOutcome:
    """What came of it: the stampede's and the verifier's JSON, the audit's answer, and what Postgres held when."""

    campaign_id: str
    stampede: dict[str, Any]
    verified: dict[str, Any]
    audit: dict[str, Any]
    distinct_winners: int
    duplicate_units: int
    postgres_claims: int
    drained_after_ms: float | None


class Steps:
    """Says what is being done, and how long it took."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @asynccontextmanager
    async def step(self, doing: str) -> AsyncIterator[list[str]]:
        """One step; what the caller puts into the list is shown when it is done."""
        started_s = time.monotonic()
        notes: list[str] = []
        with self._console.status(f"{doing} …"):
            if not self._console.is_terminal:
                self._console.print(f"  … {doing}")
            yield notes
        took_s = time.monotonic() - started_s
        note = f" — {'; '.join(notes)}" if notes else ""
        self._console.print(f"[green]✓[/green] {doing}{note} [dim]({took_s:.1f} s)[/dim]", highlight=False)


class Rush:
    """One rush against a running service."""

    def __init__(self, settings: Settings, programs: Programs, plan: RushPlan, home: Path, steps: Steps) -> None:
        self._settings = settings
        self._programs = programs
        self._plan = plan
        self._home = home
        self._steps = steps
        home.mkdir(parents=True, exist_ok=True)

    async def run(self) -> RushOutcome:
        """Do it all.

        Raises:
            DemoError: a step failed.
        """
        async with httpx.AsyncClient(base_url=self._programs.url, timeout=30) as client:
            token = (await ask(client, "POST", "/v1/dev/ops-sessions", json={"role": "admin"}))["token"]
            client.headers["Authorization"] = f"Bearer {token}"
            member_ids = await self.import_members(client)
            passes = await self._mint(member_ids)
            campaign_id = await self.publish(client)
            stampede, (claims, drained_after_ms) = await asyncio.gather(
                self._stampede(campaign_id, passes), self._watch_postgres(campaign_id)
            )
            if drained_after_ms is not None:
                drained_after_ms = round(drained_after_ms - stampede["opens_at_ms"], 1)
            async with self._steps.step("auditing: is the cell equal to Postgres, is every unit accounted for?") as notes:
                audit = await ask(client, "GET", "/v1/ops/audit")
                notes.append(f"at seq {audit['seq']}")
            truth = await self._download_truth(client, campaign_id)
            verified = await self._verify(campaign_id, truth)
            with truth.open(encoding="utf-8", newline="") as rows:
                held = [row for row in csv.DictReader(rows) if row["state"] in HELD]
            return RushOutcome(
                campaign_id,
                stampede,
                verified,
                audit,
                distinct_winners=len({row["member_id"] for row in held}),
                duplicate_units=len(held) - len({row["unit_no"] for row in held}),
                postgres_claims=claims,
                drained_after_ms=drained_after_ms,
            )

    async def import_members(self, client: httpx.AsyncClient) -> list[str]:
        """Generate the members, and import them as ops would; returns their ids."""
        plan = self._plan
        async with self._steps.step(f"making {plan.members:,} synthetic members in {plan.orgs:,} unions") as notes:
            file = self._home / "members.csv"
            member_ids = await asyncio.to_thread(write_district, plan, file)
            notes.append(f"{file.stat().st_size / 1e6:.1f} MB of CSV")
        async with self._steps.step("importing them") as notes:
            answer = await ask(
                client,
                "POST",
                "/v1/ops/members/import",
                content=await asyncio.to_thread(file.read_bytes),
                headers={"Content-Type": "text/csv"},
                timeout=IMPORT_TIMEOUT_S,
            )
            notes.append(f"{answer['imported']:,} new, {answer['updated']:,} known, {len(answer['rejected'])} rejected")
            if answer["rejected"]:
                raise DemoError(f"members were rejected: {answer['rejected'][:3]}")
        return member_ids

    async def publish(self, client: httpx.AsyncClient, opens_in_s: float | None = None) -> str:
        """Create and schedule the campaign; returns its id."""
        plan = self._plan
        opens_in_s = plan.lead_s if opens_in_s is None else opens_in_s
        async with self._steps.step(f"publishing the campaign: {plan.stock:,} boxes of moon cakes, free, one each") as notes:
            now_ms = (await ask(client, "GET", "/v1/time"))["now_ms"]
            opens_at_ms = now_ms + int(opens_in_s * 1000)
            campaign = await ask(
                client,
                "POST",
                "/v1/ops/campaigns",
                json={
                    "title": "中秋月饼 先到先得",
                    "summary": f"{plan.stock} 盒月饼, 每人一盒, 抢完即止",
                    "category": "food",
                    "releases": [{"opens_at": rfc3339(opens_at_ms), "quantity": plan.stock}],
                    "closes_at": rfc3339(opens_at_ms + CAMPAIGN_WINDOW_MS),
                    "benefit": {"kind": "generated_code", "name": "月饼一盒", "valid_days": 30},
                },
            )
            campaign_id: str = campaign["campaign_id"]
            await ask(client, "POST", f"/v1/ops/campaigns/{campaign_id}/schedule", json={"reason": "demo"})
            notes.append(f"{campaign_id} opens in {opens_in_s:.0f} s")
        return campaign_id

    async def _mint(self, member_ids: list[str]) -> Path:
        async with self._steps.step("minting a pass for each member"):
            pairs = [(kid, secret.get_secret_value().encode()) for kid, secret in self._settings.secrets.items()]
            keys = PassKeys.build(self._settings.cell, pairs)
            expires_at_s = int(time.time()) + self._settings.pass_ttl_s
            path = self._home / "passes.tsv"
            lines = await asyncio.to_thread(
                lambda: "".join(f"{member_id}\t{mint(keys, member_id, expires_at_s)}\n" for member_id in member_ids)
            )
            path.touch(mode=0o600)
            path.write_text(lines, encoding="ascii")
        return path

    async def _stampede(self, campaign_id: str, passes: Path) -> dict[str, Any]:
        plan = self._plan
        async with self._steps.step(f"{plan.members:,} members tap within {plan.spread_s:g} s of opening") as notes:
            out = self._home / "stampede.json"
            out.unlink(missing_ok=True)
            status = await call(
                "loadtest.stampede",
                *("--url", self._programs.url, "--campaign", campaign_id, "--passes", str(passes)),
                *("--connections", str(plan.connections), "--schedule", "ramp", "--spread-s", str(plan.spread_s)),
                *("--receipts", str(self._home / "receipts" / campaign_id), "--json", str(out)),
                *("--timeout-s", str(STAMPEDE_TIMEOUT_S)),
            )
            if not out.exists():
                raise DemoError(f"the stampede ended with status {status} and no figures")
            figures: dict[str, Any] = orjson.loads(out.read_bytes())
            notes.append(f"{figures['won']:,} won, {sum(figures['refused'].values()):,} refused, {figures['errors']} errors")
        return figures

    async def _watch_postgres(self, campaign_id: str) -> tuple[int, float | None]:
        """(claims in Postgres in the end, when their number stood still at the stock, Unix ms)."""
        engine = connect(self._settings.database_url, connections_max=1)
        count, reached_at_ms = 0, None
        target = min(self._plan.stock, self._plan.members)
        give_up_s = time.monotonic() + self._plan.lead_s + STAMPEDE_TIMEOUT_S + DRAIN_TIMEOUT_S
        query = text("SELECT count(*) FROM claims WHERE campaign_id = :campaign_id")
        try:
            while reached_at_ms is None and time.monotonic() < give_up_s:
                # Postgres may be away for a while: that is the ledger's business, and ours to bear.
                with contextlib.suppress(SQLAlchemyError, OSError, TimeoutError):
                    async with engine.connect() as connection:
                        count = (await connection.execute(query, {"campaign_id": campaign_id})).scalar_one()
                if count >= target:
                    reached_at_ms = time.time() * 1000
                await asyncio.sleep(DRAIN_POLL_S)
        finally:
            await engine.dispose()
        return count, reached_at_ms

    async def _download_truth(self, client: httpx.AsyncClient, campaign_id: str) -> Path:
        path = self._home / "claims.csv"
        async with client.stream("GET", f"/v1/ops/campaigns/{campaign_id}/claims.csv") as answer:
            if not answer.is_success:
                raise DemoError(f"claims.csv answered {answer.status_code}: {(await answer.aread())[:500]!r}")
            with path.open("wb") as file:
                async for part in answer.aiter_bytes():
                    file.write(part)
        return path

    async def _verify(self, campaign_id: str, truth: Path) -> dict[str, Any]:
        async with self._steps.step("comparing every receipt with the server's truth"):
            out = self._home / "verified.json"
            out.unlink(missing_ok=True)
            status = await call(
                "loadtest.verify",
                *("--url", self._programs.url, "--campaign", campaign_id, "--truth", str(truth)),
                *("--receipts", str(self._home / "receipts" / campaign_id), "--json", str(out)),
            )
            if not out.exists():
                raise DemoError(f"the verifier ended with status {status} and no figures")
            verified: dict[str, Any] = orjson.loads(out.read_bytes())
        return verified


def write_district(plan: RushPlan, file: Path) -> list[str]:
    """Write the synthetic members as the CSV that ops import; returns their ids."""
    members = list(synthetic.generate(plan.seed, plan.members, plan.orgs))
    with file.open("w", encoding="utf-8", newline="") as stream:
        write_members(stream, members)
    return [member.member_id for member in members]


async def call(module: str, *arguments: str) -> int:
    """Run one of the load testers' tools as a load tester would; its progress goes where ours goes."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", module, *arguments)
    try:
        return await process.wait()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


async def ask(client: httpx.AsyncClient, method: str, path: str, **request: Any) -> Any:
    """One call that has to succeed; the JSON of its answer.

    Raises:
        DemoError: it did not.
    """
    answer = await client.request(method, path, **request)
    if not answer.is_success:
        raise DemoError(f"{method} {path} answered {answer.status_code}: {answer.text[:500]}")
    return answer.json()
