"""The stampede survives everything that an honest service may do; the verifier catches what none may do.

The other side is the fake service, in a process of its own, as the tools' own processes are.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loadtest.generator.config import StampedeConfig
from loadtest.generator.stampede import StampedeError, run
from loadtest.receipts import find_receipts, read_receipts
from loadtest.verifier.checks import CHECKS
from loadtest.verify import main as verify_main
from tests.harness.fake_service import FakeService, Lie, Trouble, start

STOCK = 40
MEMBERS = 300
# Time enough for the crowd to be ready, and more on a machine where it was not; where the exact opening does not matter it has
# opened already.
OPENS_IN_S = (2.5, 10.0, 40.0)
IN_TIME_MS = 5
ROOT = Path(__file__).resolve().parents[2]


def command(tool: str, url: str, folder: Path, *words: str) -> list[str]:
    base = [sys.executable, "-m", f"loadtest.{tool}", "--url", url, "--campaign", "fake"]
    return [*base, "--receipts", str(folder / "receipts"), "--json", str(folder / f"{tool}.json"), *words]


def stampede(url: str, passes: Path, *words: str) -> tuple[int, dict[str, Any]]:
    folder = passes.parent
    usual = ["--passes", str(passes), "--connections", "24", "--schedule", "ramp", "--spread-s", "0.3"]
    done = subprocess.run(
        command("stampede", url, folder, *usual, *words), cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode in {0, 1}, done.stderr
    figures: dict[str, Any] = json.loads((folder / "stampede.json").read_text())
    return done.returncode, figures


def at_the_opening(
    fake_service: FakeService, passes: Path, *words: str, stage: tuple[str, ...] = (), lead_ms: int = 0
) -> tuple[str, int, dict[str, Any]]:
    """A crowd that was ready in time: where it rushed, and what came of it."""
    for opens_in_s in OPENS_IN_S:
        url = fake_service(*stage, opens_in_s=opens_in_s)
        status, figures = stampede(url, passes, "--lead-ms", str(lead_ms), *words)
        if figures["start_ms"] + lead_ms - figures["opens_at_ms"] < IN_TIME_MS:
            break
        shutil.rmtree(passes.parent / "receipts")
    return url, status, figures


def verify(url: str, folder: Path) -> tuple[int, dict[str, Any]]:
    status = verify_main(command("verify", url, folder, "--ops-token", "t")[3:])
    assert status in {0, 1}
    verdict: dict[str, Any] = json.loads((folder / "verify.json").read_text())
    return status, verdict


def broken(verdict: dict[str, Any]) -> set[str]:
    return {name.split()[0] for name, finding in verdict.items() if not finding["holds"]}


def test_a_crowd_is_answered_to_the_last_member_and_its_receipts_hold(fake_service: FakeService, passes: Path) -> None:
    url, status, figures = at_the_opening(fake_service, passes, "--processes", "2")
    assert status == 0
    assert (figures["members"], figures["won"], figures["errors"]) == (MEMBERS, STOCK, 0)
    assert figures["refused"] == {"sold-out": MEMBERS - STOCK}
    assert (figures["connections"], figures["requests"]) == (24, MEMBERS)
    assert abs(figures["start_ms"] - figures["opens_at_ms"]) < IN_TIME_MS
    assert 0 < figures["last_win_after_ms"] < figures["all_answered_after_ms"] < 5_000
    assert sum(moment["grants"] for moment in figures["timeline"]) == STOCK
    status, verdict = verify(url, passes.parent)
    assert (status, broken(verdict)) == (0, set())
    assert verdict.keys() == CHECKS.keys()
    assert all(finding["checked"] > 0 for finding in verdict.values())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (Trouble.BUSY, "overloaded"),
        (Trouble.DROP_UNDECIDED, "connection-lost"),
        (Trouble.DROP_DECIDED, "connection-lost"),
        (Trouble.SILENCE, "answer-timeout"),
        (Trouble.PIECES, None),
        (Trouble.CHUNKS, None),
        (Trouble.CLOSE, None),
    ],
)
def test_what_an_honest_service_may_do_costs_repeats_and_no_answers(
    fake_service: FakeService, passes: Path, trouble: Trouble, reason: str | None
) -> None:
    url = fake_service("--trouble", trouble)
    status, figures = stampede(url, passes, "--answer-timeout-s", "0.25")
    assert (status, figures["errors"]) == (0, 0)
    assert figures["won"] + figures["held"] == STOCK
    assert set(figures["retries"]) == (set() if reason is None else {reason})
    status, verdict = verify(url, passes.parent)
    assert (status, broken(verdict)) == (0, set())


def test_an_answer_that_was_lost_is_heard_by_asking_again(fake_service: FakeService, passes: Path) -> None:
    url = fake_service("--trouble", Trouble.DROP_DECIDED)
    _, figures = stampede(url, passes)
    assert figures["held"] > 0


@pytest.mark.slow
def test_a_member_who_is_too_early_comes_back_at_the_opening(fake_service: FakeService, passes: Path) -> None:
    url, status, figures = at_the_opening(fake_service, passes, "--spread-s", "0.4", lead_ms=200)
    assert status == 0
    assert figures["retries"]["not-open-yet"] > 50
    assert figures["won"] == STOCK
    assert verify(url, passes.parent)[0] == 0


def test_tapping_many_times_wins_once_and_holds_ever_after(fake_service: FakeService, passes: Path) -> None:
    passes.write_text("m1\tpass.m1\nm2\tpass.m2\n")
    url = fake_service()
    status, figures = stampede(url, passes, "--taps", "50", "--schedule", "instant")
    assert (status, figures["won"], figures["held"]) == (0, 2, 98)
    assert verify(url, passes.parent)[0] == 0


@pytest.mark.slow
def test_two_runs_against_the_same_campaign_are_verified_together(fake_service: FakeService, passes: Path) -> None:
    url = fake_service()
    stampede(url, passes)
    status, figures = stampede(url, passes, "--schedule", "instant")
    assert (status, figures["won"], figures["held"]) == (0, 0, STOCK)
    status, verdict = verify(url, passes.parent)
    assert (status, broken(verdict)) == (0, set())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lie", "invariant"),
    [
        (Lie.OVERSELL, "I1"),
        (Lie.UNDERSELL, "I2"),
        (Lie.FORGET, "I3"),
        (Lie.REWRITE, "I3"),
        (Lie.SECOND_CLAIM, "I4"),
        (Lie.TWIN_UNIT, "I5"),
        (Lie.TWIN_CODE, "I5"),
        (Lie.MIXED_UP, "I7"),
        (Lie.STRANGER, "I7"),
        (Lie.EARLY, "I8"),
        (Lie.FALSE_SOLD_OUT, "I10"),
        (Lie.HOLDER_SOLD_OUT, "I10"),
        (Lie.SEQ_BACKWARDS, "Witness"),
    ],
)
def test_every_lie_is_caught(fake_service: FakeService, passes: Path, lie: Lie, invariant: str) -> None:
    # Two taps each, so that holders ask again; slow enough for "sold out" to be placed in time.
    if lie is Lie.EARLY:
        url, *_ = at_the_opening(fake_service, passes, stage=("--lie", lie), lead_ms=100)
    else:
        # Falsely "sold out" takes a sale that goes on for a while to be provable.
        url = fake_service("--lie", lie, *(("--stock", "200") if lie is Lie.FALSE_SOLD_OUT else ()))
        stampede(url, passes, "--taps", "2", "--spread-s", "0.9")
    status, verdict = verify(url, passes.parent)
    assert status == 1
    assert invariant in broken(verdict)


def test_an_answer_nobody_asked_for_is_believed_by_nobody(fake_service: FakeService, passes: Path) -> None:
    url = fake_service("--lie", Lie.STRAY_BYTES)
    _, figures = stampede(url, passes)
    assert figures["retries"]["stray-bytes"] > 0


def test_an_answer_outside_the_contract_is_an_error(fake_service: FakeService, passes: Path) -> None:
    url = fake_service("--lie", Lie.SERVER_ERROR)
    status, figures = stampede(url, passes)
    assert status == 1
    assert figures["errors_by_reason"] == {"500 internal": figures["errors"]}
    assert figures["all_answered_after_ms"] is None


def slow_crowd(url: str, passes: Path, answers: int, *words: str, spread_s: int) -> "subprocess.Popen[bytes]":
    """A crowd that comes over so many seconds, and was answered so often by now."""
    usual = ["--passes", str(passes), "--connections", "8", "--schedule", "ramp", "--spread-s", str(spread_s)]
    line = command("stampede", url, passes.parent, *usual, *words)
    crowd = subprocess.Popen(line, cwd=ROOT, stderr=subprocess.DEVNULL)
    wait_for_answers(passes.parent / "receipts", answers)
    return crowd


@pytest.mark.slow
def test_a_service_that_dies_leaves_errors_in_bounded_time_and_readable_receipts(passes: Path) -> None:
    url, process = start("--stock", str(STOCK), "--opens-in-s", "1")
    crowd = slow_crowd(url, passes, 50, "--timeout-s", "1.5", spread_s=1)
    process.kill()
    process.communicate()
    assert crowd.wait(timeout=30) == 1
    figures = json.loads((passes.parent / "stampede.json").read_text())
    assert figures["errors"] > 0
    assert figures["errors_by_reason"] == {"deadline": figures["errors"]}
    [path] = find_receipts([passes.parent / "receipts"])
    assert len(read_receipts(path).attempts) >= 50


@pytest.mark.slow
def test_a_killed_crowd_leaves_receipts_and_no_process_behind(fake_service: FakeService, passes: Path) -> None:
    url = fake_service()
    crowd = slow_crowd(url, passes, 10, spread_s=20)
    [sender] = children_of(crowd.pid)
    crowd.kill()
    crowd.wait()
    wait_until(lambda: not Path(f"/proc/{sender}").exists(), "the sending process is still there")
    [path] = find_receipts([passes.parent / "receipts"])
    attempts = read_receipts(path).attempts.values()
    assert sum(attempt.status == 201 for attempt in attempts) >= 10
    assert verify(url, passes.parent)[1]["I3 NoLostAck"]["holds"]


@pytest.mark.slow
def test_a_crowd_that_is_interrupted_still_reports(fake_service: FakeService, passes: Path) -> None:
    crowd = slow_crowd(fake_service(), passes, 10, spread_s=20)
    crowd.send_signal(signal.SIGINT)
    assert crowd.wait(timeout=15) == 1
    figures = json.loads((passes.parent / "stampede.json").read_text())
    assert figures["won"] >= 10
    assert figures["errors_by_reason"] == {"interrupted": MEMBERS - figures["won"] - sum(figures["refused"].values())}


def test_a_crowd_can_be_called_from_python(fake_service: FakeService, passes: Path) -> None:
    url = fake_service()
    seen: list[dict[str, int]] = []
    config = StampedeConfig(url, "fake", passes, passes.parent / "receipts", connections=8)
    result = run(config, seen.append)
    assert (result.won, result.errors, result.requests) == (STOCK, 0, MEMBERS)
    assert result.circumstances.start_ms > result.circumstances.opens_at_ms


def test_an_opening_too_far_off_is_an_error_and_not_a_wait(fake_service: FakeService, passes: Path) -> None:
    url = fake_service(opens_in_s=500)
    config = StampedeConfig(url, "fake", passes, passes.parent / "receipts", connections=8, wait_s=10)
    with pytest.raises(StampedeError, match=r"the start is \d+ s away"):
        run(config)


@pytest.mark.parametrize("tool", ["stampede", "verify"])
def test_a_tool_that_cannot_work_says_why_in_one_line(tool: str, passes: Path) -> None:
    words = ["--passes", str(passes)] if tool == "stampede" else ["--ops-token", "t"]
    done = subprocess.run(
        command(tool, "http://127.0.0.1:9", passes.parent, *words),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "127.0.0.1:9" in done.stderr


@pytest.mark.parametrize("tool", ["loadtest.stampede", "loadtest.verify", "tests.harness.fake_service"])
def test_every_tool_explains_itself(tool: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", tool, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
    )
    assert f"python -m {tool}" in done.stdout


def wait_until(done: Callable[[], bool], complaint: str) -> None:
    give_up_at = time.monotonic() + 15
    while not done():
        assert time.monotonic() < give_up_at, complaint
        time.sleep(0.02)


def wait_for_answers(folder: Path, least: int) -> None:
    def enough() -> bool:
        return sum(path.read_bytes().count(b"\nA\t") for path in folder.glob("*.receipts")) >= least

    wait_until(enough, "no answers")


def children_of(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as children:  # noqa: PTH123  a file of the kernel
        return [int(child) for child in children.read().split()]


def test_receipts_come_before_the_bytes(passes: Path) -> None:
    """Where receipts cannot be written, nothing is sent."""
    if os.geteuid() == 0 and not Path("/dev/full").exists():
        pytest.skip("nothing here that refuses a write")
    import asyncio

    from loadtest.generator.requests import Target, build_requests
    from loadtest.generator.rush import Rush, RushPlan
    from loadtest.passes import read_passes
    from loadtest.receipts import ReceiptBook

    heard: list[bytes] = []

    class Listener(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            heard.append(data)

    async def attempt() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Listener, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        crowd = read_passes(passes)
        requests = build_requests(crowd, Target("127.0.0.1", port, "/x"))
        plan = RushPlan(crowd, requests, [0] * len(crowd), "127.0.0.1", port, 4, 0, 5.0, 5.0)
        rush = Rush(plan, ReceiptBook(Path("/dev/full"), again=True))
        assert await rush.connect(5.0) == 4
        with pytest.raises(OSError, match="No space left"):
            await rush.run(time.monotonic_ns(), lambda _: None)
        await asyncio.sleep(0.1)
        server.close()
        await server.wait_closed()

    asyncio.run(attempt())
    assert heard == []
