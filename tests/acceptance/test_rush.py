"""The main job on the running processes: exact for any number of workers and connections, and any process killed meanwhile."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Final

import orjson
import pytest

from grab_service.embedded.programs import Program
from grab_service.embedded.server import EmbeddedServer
from tests.harness.district import District, Districts, Disturb, exactly, plan_of
from tests.harness.service import claim_of

TOOL: Final = Path(__file__).parents[2] / "tools" / "verify_chain.py"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240), pytest.mark.asyncio(loop_scope="module")]

WITH_ONE = pytest.mark.xdist_group("rushes at one worker")
WITH_TWO = pytest.mark.xdist_group("rushes at two workers")
WITH_FOUR = pytest.mark.xdist_group("rushes at four workers")
"""Tests that share a district. Each rush has a campaign of its own, and the audit after it covers all earlier ones, too."""


@WITH_ONE
async def test_a_rush_is_exact_with_one_worker(districts: Districts) -> None:
    district = await districts(1)
    report = await district.rush(plan_of(6_000, 500, connections=256, spread_s=0.5))
    exactly(report)
    assert report["won"] == 500


@WITH_FOUR
async def test_a_rush_is_exact_with_four_workers_over_few_and_many_connections(districts: Districts) -> None:
    district = await districts(4)
    for connections in (64, 2_000):
        report = await district.rush(plan_of(8_000, 1_000, connections=connections, spread_s=0))
        exactly(report)
        assert report["won"] == 1_000


@WITH_FOUR
async def test_an_outsider_checks_log_chain_checkpoints_and_the_answers_of_phones(districts: Districts, tmp_path: Path) -> None:
    """With the tool as it stands: a file, and Python."""
    district = await districts(4)
    await district.enrol(40)
    campaign_id = await district.open_campaign(30)
    address = f"{district.programs.url}/v1/campaigns/{campaign_id}"
    kept: list[Path] = []
    async with district.http() as phones, asyncio.timeout(60):
        for member in district.members:
            bearer = {"Authorization": f"Bearer {member.bearer.decode()}"}
            while (answer := await phones.post(f"{address}/claims", headers=bearer)).json().get("head") is None:
                await asyncio.sleep(0.1)
            kept.append(tmp_path / f"answer-{len(kept)}.json")
            kept[-1].write_bytes(answer.content)
        head_seq = answer.json()["as_of_seq"]
        while (await phones.get(f"{address}/checkpoints?limit=1000")).json()["items"][-1]["seq"] < head_seq:
            await asyncio.sleep(0.2)
    async with district.ops() as ops:
        file = await ops.get(f"/v1/ops/campaigns/{campaign_id}/log.jsonl?codes=full")
    log = tmp_path / "log.jsonl"
    log.write_text(file.text)

    def verified() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-I", str(TOOL), address, "--log", str(log), "--answers", *map(str, kept)]
        return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)

    honest = await asyncio.to_thread(verified)
    assert (honest.returncode, honest.stderr) == (0, ""), honest
    assert "40 answers looked at" in honest.stdout
    log.write_text(file.text.replace("m-7", "m-39"))
    forged = await asyncio.to_thread(verified)
    assert forged.returncode == 1
    assert "is not the one in the chain" in forged.stderr
    assert "the log does not have the claim" in forged.stderr


@WITH_ONE
async def test_fewer_members_than_units_all_win(districts: Districts) -> None:
    district = await districts(1)
    report = await district.rush(plan_of(300, 500, connections=64, spread_s=0))
    assert report["won"] == 300
    assert report["errors"] == 0
    assert report["redis_equals_postgres"]
    assert all(report["invariants"].values())


async def _kill(district: District, victim: EmbeddedServer | Program, away_s: float = 0.5) -> None:
    await district.in_the_midst_of_a_sale()
    await victim.kill()
    await asyncio.sleep(away_s)
    await victim.start()


async def kill_redis(district: District) -> None:
    await _kill(district, district.valkey, away_s=0.3)


async def kill_worker(district: District) -> None:
    await district.in_the_midst_of_a_sale()
    os.kill(district.worker_pids()[0], signal.SIGKILL)


async def kill_ledger(district: District) -> None:
    await _kill(district, district.ledger)


async def kill_postgres(district: District) -> None:
    await _kill(district, district.postgres)


@WITH_TWO
@pytest.mark.parametrize("disturb", [kill_redis, kill_worker, kill_ledger, kill_postgres])
async def test_a_rush_is_exact_though_something_is_killed_in_the_middle(districts: Districts, disturb: Disturb) -> None:
    district = await districts(2)
    # Long enough that the sale goes on before, while and after.
    plan = plan_of(9_000, 6_000, connections=200, spread_s=5.0, lead_s=2.5)
    report = await district.rush(plan, disturb)
    exactly(report)
    assert report["won"] == 6_000


@WITH_FOUR
async def test_fifty_taps_at_once_over_several_workers_are_one_claim(districts: Districts) -> None:
    district = await districts(4)
    async with district.ops() as ops, district.http() as client:
        await district.enrol(20)
        campaign_id = await district.open_campaign(10)
        headers = await district.member(client, "m-1")
        path = f"/v1/campaigns/{campaign_id}/claims"
        answers = await asyncio.gather(*(tap(district, path, headers) for _ in range(50)))
        assert Counter(status for status, _ in answers) == {201: 1, 200: 49}
        assert len({body for _, body in answers}) == 1
        claim = answers[0][1]
        for number in range(2, 11):
            await client.post(path, headers=await district.member(client, f"m-{number}"))
        stranger = await client.post(path, headers=await district.member(client, "m-11"))
        assert stranger.json()["code"] == "sold-out"
        # Sold out, paused, closed: the winner gets the claim from every worker (a new connection may meet any of them).
        for action in (None, "pause", "close"):
            if action:
                done = await ops.post(f"/v1/ops/campaigns/{campaign_id}/{action}", json={"reason": "test"})
                assert done.status_code == 200, done.text
            again = await asyncio.gather(*(tap(district, path, headers) for _ in range(16)))
            assert set(again) == {(200, claim)}, action


@WITH_TWO
async def test_a_second_release_opens_by_the_clock_with_nobody_touching_anything(districts: Districts) -> None:
    district = await districts(2)
    async with district.http() as client:
        await district.enrol(20)
        opens_at_ms = time.time_ns() // 1_000_000 + 4_000
        campaign_id = await district.open_campaign(1, later=(opens_at_ms, 5))
        path = f"/v1/campaigns/{campaign_id}/claims"
        headers = [await district.member(client, f"m-{number}") for number in range(1, 12)]
        assert (await client.post(path, headers=headers[0])).status_code == 201
        refused = await client.post(path, headers=headers[1])
        assert (refused.json()["code"], refused.json()["next_release_at_ms"]) == ("sold-out", opens_at_ms)
        granted_at_ms = []
        for mine in headers[1:]:
            while time.time_ns() // 1_000_000 < opens_at_ms + 3_000:
                answer = await client.post(path, headers=mine)
                if answer.status_code == 201:
                    granted_at_ms.append(answer.json()["granted_at_ms"])
                    break
                if answer.status_code == 409 and len(granted_at_ms) == 5:
                    break
                # Slow enough for the rate limit, fast enough to see the opening.
                await asyncio.sleep(0.06)
        assert len(granted_at_ms) == 5
        assert min(granted_at_ms) >= opens_at_ms
        assert min(granted_at_ms) < opens_at_ms + 250


async def tap(district: District, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
    async with district.http() as client:
        answer = await client.post(path, headers=headers)
        return answer.status_code, orjson.dumps(claim_of(answer))
