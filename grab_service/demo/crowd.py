"""The crowd of a demo: a rush at a published campaign, and its comparison with the record.

The crowd taps over HTTP with a pass each; the figures come from its receipts, from Postgres and from the audit.
"""

import asyncio
import contextlib
import csv
import importlib.util
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import orjson
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from grab_service.embedded.steps import DemoError, Steps, ask
from grab_service.settings import Settings
from grab_service.sql.engine import connect
from grab_service.vocabulary.passes import mint

HELD: Final = {"pending_payment", "fulfilled"}
DRAIN_TIMEOUT_S: Final = 60.0
DRAIN_POLL_S: Final = 0.05
STAMPEDE_TIMEOUT_S: Final = 120


@dataclass(frozen=True, slots=True)
class CrowdPlan:
    """Size and arrival of a crowd.

    Attributes:
        members: how many tap.
        winners: how many of them have to win, if all goes well.
        connections: how many they share.
        spread_s: over how long after opening they tap.
        lead_s: how long before the opening they are let loose, at most.
    """

    members: int
    winners: int
    connections: int
    spread_s: float
    lead_s: float


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


class DemoCrowd:
    """A crowd with its passes, at the door of a running service.

    Args:
        settings: of the service.
        url: of the service.
        home: where what it leaves behind goes.
        steps: is told what is being done.
        tables: the file for what the load testers' tools say; None: where our own output goes.
    """

    def __init__(self, settings: Settings, url: str, home: Path, steps: Steps, tables: Path | None = None) -> None:
        self._settings = settings
        self._url = url
        self._home = home
        self._steps = steps
        self._tables = tables
        home.mkdir(parents=True, exist_ok=True)

    async def mint(self, member_ids: Sequence[str]) -> Path:
        """A pass for each of them; the file that holds these."""
        async with self._steps.step("minting a pass for each member"):
            keys = self._settings.pass_keys()
            made_at_s = int(time.time())
            expires_at_s = made_at_s + self._settings.pass_ttl_s
            path = self._home / "passes.tsv"
            lines = await asyncio.to_thread(
                lambda: "".join(
                    f"{member_id}\t{mint(keys, member_id, expires_at_s, made_at_s=made_at_s)}\n" for member_id in member_ids
                )
            )
            path.touch(mode=0o600)
            path.write_text(lines, encoding="ascii")
        return path

    async def rush(
        self, client: httpx.AsyncClient, campaign_id: str, passes: Path, plan: CrowdPlan, *verifying: str
    ) -> RushOutcome:
        """Let it loose, wait until all is on record, audit, and compare the receipts with the truth.

        Args:
            client: speaks to the service as ops.
            campaign_id: of a campaign that is published.
            passes: of those who tap.
            plan: how they come.
            verifying: further options of the verifier.

        Raises:
            DemoError: a step failed.
        """
        stampede, (claims, drained_after_ms) = await asyncio.gather(
            self._stampede(campaign_id, passes, plan), self._watch_postgres(campaign_id, plan)
        )
        if drained_after_ms is not None:
            drained_after_ms = round(drained_after_ms - stampede["opens_at_ms"], 1)
        async with self._steps.step("auditing: is the cell equal to Postgres, is every unit accounted for?") as notes:
            audit = await ask(client, "GET", "/v1/ops/audit")
            notes.append(f"at seq {audit['seq']}")
        truth = await self._download_truth(client, campaign_id)
        verified = await self._verify(campaign_id, truth, verifying)
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

    async def _stampede(self, campaign_id: str, passes: Path, plan: CrowdPlan) -> dict[str, Any]:
        async with self._steps.step(f"{plan.members:,} members tap within {plan.spread_s:g} s of opening") as notes:
            out = self._home / "stampede.json"
            out.unlink(missing_ok=True)
            status = await self._call(
                "loadtest.stampede",
                *("--url", self._url, "--campaign", campaign_id, "--passes", str(passes)),
                *("--connections", str(plan.connections), "--schedule", "ramp", "--spread-s", str(plan.spread_s)),
                *("--receipts", str(self._home / "receipts" / campaign_id), "--json", str(out)),
                *("--timeout-s", str(STAMPEDE_TIMEOUT_S)),
            )
            if not out.exists():
                raise DemoError(f"the stampede ended with status {status} and no figures")
            figures: dict[str, Any] = orjson.loads(out.read_bytes())
            notes.append(f"{figures['won']:,} won, {sum(figures['refused'].values()):,} refused, {figures['errors']} errors")
        return figures

    async def _watch_postgres(self, campaign_id: str, plan: CrowdPlan) -> tuple[int, float | None]:
        """(claims in Postgres in the end, when their number had reached the winners, Unix ms)."""
        engine = connect(self._settings.database_url, connections_max=1)
        count, reached_at_ms = 0, None
        give_up_s = time.monotonic() + plan.lead_s + STAMPEDE_TIMEOUT_S + DRAIN_TIMEOUT_S
        query = text("SELECT count(*) FROM claims WHERE campaign_id = :campaign_id")
        try:
            while reached_at_ms is None and time.monotonic() < give_up_s:
                # Postgres may be away for a while: that is the ledger's business, and ours to bear.
                with contextlib.suppress(SQLAlchemyError, OSError, TimeoutError):
                    async with engine.connect() as connection:
                        count = (await connection.execute(query, {"campaign_id": campaign_id})).scalar_one()
                if count >= plan.winners:
                    reached_at_ms = time.time() * 1000
                await asyncio.sleep(DRAIN_POLL_S)
        finally:
            await engine.dispose()
        return count, reached_at_ms

    async def _download_truth(self, client: httpx.AsyncClient, campaign_id: str) -> Path:
        path = self._home / "claims.csv"
        async with client.stream("GET", f"/v1/ops/campaigns/{campaign_id}/claims.csv?codes=full") as answer:
            if not answer.is_success:
                raise DemoError(f"claims.csv answered {answer.status_code}: {(await answer.aread())[:500]!r}")
            with path.open("wb") as file:
                async for part in answer.aiter_bytes():
                    file.write(part)
        return path

    async def _verify(self, campaign_id: str, truth: Path, verifying: Sequence[str]) -> dict[str, Any]:
        async with self._steps.step("comparing every receipt with the server's truth"):
            out = self._home / "verified.json"
            out.unlink(missing_ok=True)
            status = await self._call(
                "loadtest.verify",
                *("--url", self._url, "--campaign", campaign_id, "--truth", str(truth)),
                *("--receipts", str(self._home / "receipts" / campaign_id), "--json", str(out), *verifying),
            )
            if not out.exists():
                raise DemoError(f"the verifier ended with status {status} and no figures")
            verified: dict[str, Any] = orjson.loads(out.read_bytes())
        return verified

    async def _call(self, module: str, *arguments: str) -> int:
        """Run one of the load testers' tools as a load tester would; its progress goes where ours goes."""
        with contextlib.ExitStack() as files:
            tables = None if self._tables is None else files.enter_context(self._tables.open("ab"))
            process = await asyncio.create_subprocess_exec(sys.executable, "-m", module, *arguments, stdout=tables)
            try:
                return await process.wait()
            finally:
                if process.returncode is None:
                    process.terminate()
                    await process.wait()


def tools_are_here() -> bool:
    """Whether the load testers' tools can be started: they lie in the checkout and come with no package."""
    return importlib.util.find_spec("loadtest") is not None
