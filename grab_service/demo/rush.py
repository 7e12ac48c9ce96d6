"""The demo step by step: from an empty machine through the sale to its proof.

Everything goes through the doors a real district would use: members and the campaign over HTTP as ops, the crowd over HTTP as
members with a pass each.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from grab_service.demo.crowd import CrowdPlan, DemoCrowd, RushOutcome
from grab_service.embedded.programs import Programs
from grab_service.embedded.steps import DemoError, Steps, ask, client_of
from grab_service.files import synthetic
from grab_service.files.members_csv import write_members
from grab_service.settings import Settings
from grab_service.vocabulary.times import rfc3339

TITLE: Final = "中秋月饼 先到先得"
CAMPAIGN_WINDOW_MS: Final = 24 * 3600 * 1000
IMPORT_TIMEOUT_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class RushPlan:
    """Sizes of a demo, and arrival of its crowd. `spread_s`: time after opening over which the members tap."""

    members: int = 110_000
    orgs: int = 588
    stock: int = 3_000
    seed: int = synthetic.SEED
    connections: int = 2_000
    spread_s: float = 4.0
    lead_s: float = 6.0


class Rush:
    """One rush against a running service; its data are made anew with each, or found as an earlier one left them.

    Attributes:
        member_id: one of its members, to try things out as.
    """

    def __init__(self, settings: Settings, programs: Programs, plan: RushPlan, home: Path, steps: Steps) -> None:
        self.member_id = next(iter(synthetic.generate(plan.seed, plan.members, plan.orgs))).member_id
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
        plan = self._plan
        crowd = DemoCrowd(self._settings, self._programs.url, self._home, self._steps)
        async with self._as_ops() as client:
            passes = await crowd.mint(await self.import_members(client))
            campaign_id = await self.publish(client, plan.lead_s)
            self._data_are_there()
            winners = min(plan.stock, plan.members)
            coming = CrowdPlan(plan.members, winners, plan.connections, plan.spread_s, plan.lead_s)
            return await crowd.rush(client, campaign_id, passes, coming)

    async def offer(self, opens_in_s: float) -> str:
        """Have members and a campaign with units left, and no crowd; the campaign's id."""
        async with self._as_ops() as client:
            await self.import_members(client)
            campaign_id = await self._campaign_of_an_earlier_run(client) or await self.publish(client, opens_in_s)
        self._data_are_there()
        await self._programs.wait_ready("aof_policy")
        return campaign_id

    @asynccontextmanager
    async def _as_ops(self) -> AsyncIterator[httpx.AsyncClient]:
        async with client_of(self._programs.url, timeout_s=30) as client:
            token = (await ask(client, "POST", "/v1/dev/ops-sessions", json={"role": "admin"}))["token"]
            client.headers["Authorization"] = f"Bearer {token}"
            yield client

    def _data_are_there(self) -> None:
        if self._settings.loading_file is not None:
            self._settings.loading_file.unlink(missing_ok=True)

    async def _campaign_of_an_earlier_run(self, client: httpx.AsyncClient) -> str | None:
        """The newest that is like ours, is not over, and has something left to give."""
        async with self._steps.step("looking for the campaign of an earlier run") as notes:
            page = await ask(client, "GET", "/v1/ops/campaigns", params={"limit": 100})
            for one in page["items"]:
                stock = one["stock"]
                left = stock["total"] - stock["active"]
                of_ours = (one["title"], stock["total"]) == (TITLE, self._plan.stock)
                if of_ours and one["phase"] in {"upcoming", "open"} and left:
                    notes.append(f"{one['campaign_id']}, {left:,} units left, opens {one['opens_at']}")
                    return str(one["campaign_id"])
            notes.append("there is none")
        return None

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

    async def publish(self, client: httpx.AsyncClient, opens_in_s: float) -> str:
        """Create and schedule the campaign; returns its id."""
        plan = self._plan
        async with self._steps.step(f"publishing the campaign: {plan.stock:,} boxes of moon cakes, free, one each") as notes:
            now_ms = (await ask(client, "GET", "/v1/time"))["now_ms"]
            opens_at_ms = now_ms + int(opens_in_s * 1000)
            campaign = await ask(
                client,
                "POST",
                "/v1/ops/campaigns",
                json={
                    "title": TITLE,
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


def write_district(plan: RushPlan, file: Path) -> list[str]:
    """Write the synthetic members as the CSV that ops import; returns their ids."""
    members = list(synthetic.generate(plan.seed, plan.members, plan.orgs))
    with file.open("w", encoding="utf-8", newline="") as stream:
        write_members(stream, members)
    return [member.member_id for member in members]
