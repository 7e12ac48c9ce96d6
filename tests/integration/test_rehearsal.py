"""A rehearsal forecasts a campaign, and leaves the real world as it was."""

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any, Final

import psutil
import pytest
from redis.asyncio import Redis

from tests.harness.command_line import CommandLine
from tests.harness.databases import in_postgres, session_in
from tests.harness.district import alive
from tests.harness.service import at

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

TABLES: Final = (
    "campaigns",
    "members",
    "orgs",
    "pool_codes",
    "claims",
    "ops_log",
    "commands",
    "log_cursor",
    "epochs",
    "alarms",
)
QUICK: Final = ("--yes", "--within-s", "0.3", "--connections", "50")


@pytest.fixture
def as_in_production(tmp_path: Path) -> dict[str, str]:
    """Settings of the real service, which must not reach the servers of a rehearsal."""
    return {"GRAB_REPLICAS_MIN": "1", "GRAB_LEDGER_METRICS_PORT": "1", "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "none")}


async def enrol(database_url: str, eligible: int, young: int = 0, blocked: int = 0, left: int = 0) -> None:
    """Members of a union: those who may win, those who joined too late, the blocked, and those who have left."""
    rows: list[tuple[Any, ...]] = []
    for count, joined_on, status in (
        (eligible, "2020-01-31", "active"),
        (young, "2026-01-31", "active"),
        (blocked, "2020-01-31", "suspended"),
        (left, "2020-01-31", "left"),
    ):
        rows += [(f"real-{len(rows) + n}", joined_on, status) for n in range(count)]
    async with session_in(database_url) as session:
        await session.execute("INSERT INTO orgs VALUES ('org-1', '望江软件园工会')")
        await session.executemany(
            "INSERT INTO members (member_id, org_id, name, tags, joined_on, status, version)"
            " VALUES ($1, 'org-1', '张三', '{technician}', $2::text::date, $3, nextval('members_version'))",
            rows,
        )


async def contents(database_url: str) -> dict[str, list[Any]]:
    """All that stands in the tables."""
    async with session_in(database_url) as session:
        return {table: await session.fetch(f"SELECT * FROM {table} ORDER BY 1, 2") for table in TABLES}


async def draft(grab: CommandLine, *, stock: int, **changes: Any) -> str:
    document = {
        "title": "老会员体检",
        "releases": [{"opens_at": at(86_400), "quantity": stock}, {"opens_at": at(172_800), "quantity": 5}],
        "closes_at": at(300_000),
        "eligibility": {"joined_before": "2025-01-01", "tags_any": ["technician"]},
        "benefit": {"kind": "code_pool", "name": "体检券", "valid_until": at(900_000)},
        **changes,
    }
    said = await grab.ok("campaign", "create", "-", "--json", stdin=json.dumps(document))
    return str(said.json["campaign_id"])


async def test_a_rehearsal_passes_and_the_real_world_stays_as_it_was(
    grab: CommandLine, database_url: str, redis_client: Redis, cell_name: str, as_in_production: dict[str, str]
) -> None:
    await enrol(database_url, eligible=300, young=60, blocked=40, left=10)
    campaign_id = await draft(grab, stock=30)
    await grab.ok("campaign", "codes", campaign_id, grab.file("codes.csv", "code\nREAL-1\nREAL-2\n"))
    before = await contents(database_url)
    evidence = grab.home / "evidence"
    options = (*QUICK, "--others", "100", "--json", "--evidence", str(evidence))
    said = await grab.run("rehearse", campaign_id, *options, env=as_in_production)
    assert said.status == 0, said
    report = said.json
    assert report["passed"]
    assert all(goal["met"] for goal in report["goals"])
    assert report["audience"] == {"eligible": 300, "not-eligible": 60, "member-blocked": 40, "member-unknown": 10}
    figures = report["figures"]
    assert (figures["members"], figures["won"], figures["errors"]) == (400, 30, 0)
    assert {"not-eligible", "member-blocked", "sold-out"} >= set(figures["refused"])
    assert figures["invariants"]["I7 TurnedAway"]
    # Nothing of the real world went in but rules, and nothing came out.
    assert await contents(database_url) == before
    assert await redis_client.keys(f"*{cell_name}*") == []
    assert list((grab.home / "var").iterdir()) == []
    kept = "".join(path.read_text() for path in evidence.rglob("*") if path.is_file())
    assert "REHEARSAL-" in kept
    for real in ("real-", "张三", "REAL-"):
        assert real not in kept.replace("REHEARSAL-", ""), real


async def test_a_rehearsal_that_misses_a_goal_does_not_pass(
    grab: CommandLine, database_url: str, as_in_production: dict[str, str]
) -> None:
    await enrol(database_url, eligible=60)
    campaign_id = await draft(grab, stock=20, benefit={"kind": "none", "name": "健走"})
    said = await grab.run("rehearse", campaign_id, *QUICK, "--p99-ms", "0.01", env=as_in_production)
    assert said.status == 1, said
    assert "NOT PASSED" in said.out
    assert [line for line in said.out.splitlines() if "MISSED" in line and "99 of 100 answered" in line]
    assert said.out.count("MISSED") == 1, said.out


async def test_what_cannot_be_rehearsed_is_said_and_nothing_is_started(grab: CommandLine, database_url: str) -> None:
    (await grab.run("rehearse", "nosuchone1", *QUICK)).is_refusal("There is no such campaign.")
    campaign_id = await draft(grab, stock=20)
    (await grab.run("rehearse", campaign_id, *QUICK)).is_refusal("There are no members to rehearse with.")
    await enrol(database_url, eligible=0, young=3)
    (await grab.run("rehearse", campaign_id, *QUICK)).is_refusal("No member may win")
    await in_postgres(database_url, "UPDATE campaigns SET state = 'closed'")
    (await grab.run("rehearse", campaign_id, *QUICK)).is_refusal("only what is still to come")
    assert not (grab.home / "var").exists()


async def test_nothing_is_done_before_somebody_has_agreed(grab: CommandLine, database_url: str) -> None:
    await enrol(database_url, eligible=3, young=20)
    campaign_id = await draft(grab, stock=20)
    said = await grab.run("rehearse", campaign_id)
    assert said.status == 2, said
    assert "老会员体检 (draft)" in said.err
    assert "20 units (code_pool, codes made up)" in said.err
    assert "3 members who may win, and 20 not-eligible" in said.err
    assert "--yes" in said.err
    (await grab.run("rehearse", campaign_id, "--yes", "--release", "3")).is_refusal("no number 3")
    assert not (grab.home / "var").exists()


async def test_a_rehearsal_that_is_interrupted_leaves_nothing_behind(
    grab: CommandLine, database_url: str, as_in_production: dict[str, str]
) -> None:
    await enrol(database_url, eligible=60)
    campaign_id = await draft(grab, stock=20)
    process = await asyncio.create_subprocess_exec(
        *grab.argv("rehearse", campaign_id, "--yes", "--within-s", "60"),
        cwd=grab.home,
        env=grab.env | as_in_production,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    said = b""
    while b"tap within 60 s" not in said:
        said += (line := await process.stderr.readline())
        assert line, said
    started = [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]
    assert len(started) > 4
    os.kill(process.pid, signal.SIGINT)
    await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 130
    assert list((grab.home / "var").iterdir()) == []
    async with asyncio.timeout(10):  # a sender hears of its parent's end a moment later
        while any(map(alive, started)):
            await asyncio.sleep(0.05)
