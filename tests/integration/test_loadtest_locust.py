"""Locust members behave as members do; their runs count refusals as outcomes and faults as failures.

Importing locust patches sockets, so it is only ever run as a process of its own.
"""

import contextlib
import json
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from grab_service.embedded.ports import free_port
from tests.harness.fake_service import FakeService

ROOT = Path(__file__).resolve().parents[2]
STOCK = 10
MEMBERS = 40

Locust = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def locust(fake_service: FakeService, tmp_path: Path) -> Locust:
    """Run the members against the fake service, which opens while they watch."""

    def start(
        *words: str,
        stage_words: tuple[str, ...] = (),
        opens_in_s: float = 4,
        headless: bool = True,
    ) -> "subprocess.CompletedProcess[str]":
        url = fake_service(*stage_words, opens_in_s=opens_in_s)
        base = [sys.executable, "-m", "locust", "-f", "loadtest/locustfile.py", "--only-summary"]
        base += ["--headless"] if headless else []
        # With a slash behind it, as a browser shows an address.
        where = ["--host", f"{url}/", "--campaign", "fake"]
        many = ["--users", str(MEMBERS), "--spawn-rate", str(MEMBERS), "--run-time", "30s", "--reaction-ms", "50"]
        receipts = ["--receipts", str(tmp_path / "receipts")]
        return subprocess.run(
            [*base, *where, *many, *receipts, *words],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )

    return start


def row(output: str, name: str) -> list[str]:
    """The first line of the output that begins with the name, in words."""
    rows = [line.removeprefix(name).split() for line in output.splitlines() if line.startswith(f"{name} ")]
    assert rows, output
    return rows[0]


@pytest.mark.slow
def test_refusals_are_outcomes_and_the_run_ends_by_itself(locust: Locust, passes: Path) -> None:
    done = locust("--passes", str(passes), stage_words=("--trouble", "busy"), opens_in_s=7)
    assert done.returncode == 0, done.stdout
    assert row(done.stdout, "won") == [str(STOCK)]
    assert row(done.stdout, "sold-out") == [str(MEMBERS - STOCK)]
    assert int(row(done.stdout, "overloaded")[0]) > 0
    assert row(done.stdout, "POST     grab: sold-out")[:2] == [str(MEMBERS - STOCK), "0(0.00%)"]
    assert row(done.stdout, "GET      /v1/claims/[id]")[:2] == [str(STOCK), "0(0.00%)"]
    assert int(row(done.stdout, "GET      /v1/campaigns/[id]/state")[0]) > MEMBERS
    assert row(done.stdout, "GET      /v1/campaigns/[id]/eligibility")[:2] == [str(MEMBERS), "0(0.00%)"]


@pytest.mark.slow
def test_an_answer_outside_the_contract_is_a_failure(locust: Locust, passes: Path) -> None:
    done = locust("--passes", str(passes), stage_words=("--lie", "server-error"))
    assert done.returncode == 1
    assert "500 internal is no answer of the contract" in done.stdout


@pytest.mark.slow
def test_members_without_a_pass_ask_for_one_and_processes_share_them(locust: Locust, tmp_path: Path) -> None:
    ids = tmp_path / "ids"
    ids.write_text("".join(f"m{n}\n" for n in range(MEMBERS)))
    done = locust("--member-ids", str(ids), "--processes", "2")
    assert done.returncode == 0, done.stdout
    # Everyone came once: had two processes shared a member, one of the two would have been told that they hold.
    assert row(done.stdout, "won") == [str(STOCK)]
    assert row(done.stdout, "sold-out") == [str(MEMBERS - STOCK)]
    assert row(done.stdout, "all") == [str(MEMBERS)]


@pytest.mark.slow
def test_what_the_service_holds_stands_beside_what_the_clients_heard(locust: Locust, passes: Path, tmp_path: Path) -> None:
    reports = ["--csv", str(tmp_path / "run"), "--html", str(tmp_path / "run.html"), "--verdict", str(tmp_path / "run.json")]
    done = locust("--passes", str(passes), "--shape", "slow-arrivals", "--ramp-s", "3", *reports, opens_in_s=2)
    assert done.returncode == 0, done.stdout
    assert "Shape test updating to 13 users" in done.stdout
    assert row(done.stdout, "all") == [str(MEMBERS)]
    assert row(done.stdout, "answered: won") == [str(STOCK), str(STOCK)]
    assert row(done.stdout, "answered: sold-out") == [str(MEMBERS - STOCK), str(MEMBERS - STOCK)]
    assert row(done.stdout, "claims held, PostgreSQL") == [str(STOCK), str(STOCK)]
    assert row(done.stdout, "I3 NoLostAck") == [str(STOCK), "checked", "holds"]
    verdict = json.loads((tmp_path / "run.json").read_text())
    assert (verdict["passed"], verdict["not_looked_at"], verdict["books"]["redis_active"]) == (True, [], STOCK)
    assert f'"answered: won","{STOCK}","{STOCK}"' in (tmp_path / "run_server_truth.csv").read_text()
    assert "<td>claims held, PostgreSQL</td>" in (tmp_path / "run.html").read_text()


@pytest.mark.slow
def test_a_lie_of_the_ledger_or_a_red_audit_fails_the_run(locust: Locust, passes: Path) -> None:
    done = locust("--passes", str(passes), stage_words=("--lie", "forget", "--lie", "red-audit"), opens_in_s=2)
    assert done.returncode == 1, done.stdout
    assert "FAULT: receipts: I3 NoLostAck does not hold" in done.stdout
    assert "FAULT: audit: I6 Conserved does not hold" in done.stdout
    assert row(done.stdout, "all") == [str(MEMBERS)]


@pytest.mark.slow
def test_the_web_page_shows_what_the_service_holds(locust: Locust, passes: Path) -> None:
    port = free_port()
    seen: dict[str, Any] = {}

    def look() -> None:
        """As a browser does, until the run has been judged."""
        until_s = time.monotonic() + 50
        while time.monotonic() < until_s and "claims held, PostgreSQL" not in seen.get("what", ()):
            time.sleep(0.2)
            with contextlib.suppress(OSError):
                seen["page"] = get(port, "/")
                statistics = json.loads(get(port, "/stats/requests"))
                [table] = statistics["extended_stats"]
                seen["what"] = {line["what"]: line for line in table["data"]}
                seen["alone"], seen["csv"] = get(port, "/server-truth"), get(port, "/server-truth/csv")

    looking = threading.Thread(target=look)
    looking.start()
    web = ["--autostart", "--autoquit", "2", "--web-port", str(port), "--ops-token", "topsecret"]
    done = locust("--passes", str(passes), *web, headless=False, opens_in_s=3)
    looking.join()
    assert done.returncode == 0, done.stdout
    held = seen["what"]["claims held, PostgreSQL"]
    assert (held["clients"], held["service"]) == (str(STOCK), str(STOCK))
    assert '"title": "Server truth"' in seen["page"]
    assert "topsecret" not in seen["page"]
    assert "<td>claims held, PostgreSQL</td>" in seen["alone"]
    assert f'"claims held, PostgreSQL","{STOCK}","{STOCK}"' in seen["csv"]


class Browser:
    """Does what locust's page does: asks again for as long as the answers say that a run goes on, and shows the last one."""

    def __init__(self, port: int) -> None:
        self.port = port

    def press_start(self, **fields: str) -> None:
        """Send the whole form, the fields that nobody filled in as well."""
        arguments = json.loads(re.findall(r"window\.templateArgs = ({.*})", get(self.port, "/"))[0])
        form = {
            name: "" if field["default_value"] is None else field["default_value"]
            for name, field in arguments["extra_options"].items()
        }
        form |= {"host": arguments["host"], "user_count": MEMBERS, "spawn_rate": MEMBERS, "run_time": "", "profile": ""}
        body = urllib.parse.urlencode({**form, **fields}).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/swarm", data=body, timeout=60) as answer:
            assert json.load(answer)["success"]

    def watch(self) -> dict[str, tuple[str, str]]:
        """The final figures of the page: (by the clients, by the service)."""
        while True:
            time.sleep(2)  # as the page does
            answer = json.loads(get(self.port, "/stats/requests"))
            if answer["state"] not in {"running", "spawning"}:
                [table] = answer["extended_stats"]
                return {line["what"]: (line["clients"], line["service"]) for line in table["data"]}


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Callable[..., Browser]]:
    """Start locust with its web page, by default where nothing is said of it."""
    running: list[subprocess.Popen[bytes]] = []

    def start(*words: str) -> Browser:
        port = free_port()
        command = [sys.executable, "-m", "locust", "-f", "loadtest/locustfile.py", "--web-port", str(port)]
        command += ["--campaign", "fake", "--reaction-ms", "50", "--receipts", str(tmp_path / "receipts")]
        with (tmp_path / "locust.log").open("wb") as output:
            running.append(subprocess.Popen([*command, *words], cwd=ROOT, stdout=output, stderr=output))
        until_s = time.monotonic() + 30
        while time.monotonic() < until_s:
            with contextlib.suppress(OSError):
                get(port, "/worker-count")
                return Browser(port)
            time.sleep(0.1)
        raise AssertionError((tmp_path / "locust.log").read_text())

    yield start
    for process in running:
        process.terminate()
        process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("processes", [(), ("--processes", "2")], ids=["alone", "workers"])
def test_each_run_from_the_page_ends_with_what_the_service_holds(
    fake_service: FakeService, browser: Callable[..., Browser], tmp_path: Path, processes: tuple[str, ...]
) -> None:
    ids = tmp_path / "ids"
    ids.write_text("".join(f"m{n}\n" for n in range(MEMBERS)))
    url = fake_service(opens_in_s=8)
    page = browser("--host", f"{url}/", "--member-ids", str(ids), *processes)
    for worker_count in iter(lambda: json.loads(get(page.port, "/worker-count"))["worker_count"], 2 if processes else 0):
        assert worker_count < 2
        time.sleep(0.1)
    held, refused = (str(STOCK), str(STOCK)), (str(MEMBERS - STOCK), str(MEMBERS - STOCK))

    page.press_start()
    first = page.watch()
    assert first["answered: won"] == first["claims held, PostgreSQL"] == held
    assert first["audit holds"] == ("", "yes")
    assert first["I3 NoLostAck"][1] == "holds"

    # Earlier winners hold, and the others are refused: of this run alone, by both.
    page.press_start()
    second = page.watch()
    assert "answered: won" not in second
    assert second["answered: held"] == second["claims held, PostgreSQL"] == held
    assert second["answered: sold-out"] == refused
    assert second["I7 NoStranger"][1] == "holds"

    # A run that cannot begin does not keep the next one from it.
    page.press_start(host="http://127.0.0.1:9")
    page.watch()
    page.press_start(host=url)
    assert page.watch()["answered: held"] == held


@pytest.mark.slow
def test_the_page_is_for_this_machine_alone(fake_service: FakeService, browser: Callable[..., Browser], passes: Path) -> None:
    page = browser("--host", fake_service(), "--passes", str(passes))
    with contextlib.closing(socket.socket()) as elsewhere:
        assert elsewhere.connect_ex(("127.0.0.2", page.port)) != 0


def get(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        return str(answer.read().decode())


@pytest.fixture
def signed(tmp_path: Path) -> Path:
    path = tmp_path / "signed.tsv"
    path.write_text("".join(f"m{n}\tpass.m{n}.{crc32(f'm{n}'.encode()):08x}\n" for n in range(MEMBERS)))
    return path


@pytest.mark.slow
def test_cheaters_try_all_and_gain_nothing_and_honest_members_come_too(locust: Locust, signed: Path) -> None:
    cheating = ["--passes", str(signed), "--old-passes", str(old_passes(signed)), "--shape", "cheaters", "--linger-s", "1"]
    done = locust(*cheating, "--think-s", "0.2", stage_words=("--signed",), opens_in_s=3)
    assert done.returncode == 0, done.stdout
    assert int(row(done.stdout, "all")[0]) > MEMBERS // 2
    for cheat in ("hammering", "sharing a pass", "an old pass", "the key of another", "a pass that is none"):
        assert int(row(done.stdout, cheat)[0].replace(",", "")) > 0
    assert row(done.stdout, "units given out, Redis") == [str(STOCK), str(STOCK)]
    assert "GAINED" not in done.stdout


@pytest.mark.slow
def test_one_gain_of_a_cheater_fails_the_run(locust: Locust, signed: Path) -> None:
    lies = ("--signed", "--stock", "60", "--lie", "anybody", "--lie", "second-claim", "--lie", "early")
    done = locust("--passes", str(signed), "--shape", "cheaters", "--linger-s", "1", stage_words=lies, opens_in_s=5)
    assert done.returncode == 1, done.stdout
    assert "FAULT: cheaters gained: a pass with a letter changed was taken" in done.stdout
    assert "FAULT: cheaters gained: more claims than the limit" in done.stdout
    assert "FAULT: cheaters gained: won before the opening" in done.stdout
    assert "FAULT: receipts: I8 WindowOnly does not hold" in done.stdout


def old_passes(signed: Path) -> Path:
    path = signed.with_name("old.tsv")
    path.write_text("x1\tpass.x1.00000000\n")
    return path


def test_a_run_without_members_says_what_is_missing(locust: Locust) -> None:
    done = locust()
    assert done.returncode == 1
    assert "either --passes or --member-ids is needed" in done.stdout


def test_a_campaign_that_is_not_there_is_said_before_anybody_comes(locust: Locust, passes: Path) -> None:
    done = locust("--passes", str(passes), "--campaign", "nosuch")
    assert done.returncode == 1
    assert "locust: GET /v1/campaigns/nosuch" in done.stdout
    assert "Traceback" not in done.stdout


@pytest.mark.parametrize(
    "tool",
    ["stampede", "verify", "generator.shard", "verifier.verdict", "behaviour.course", "behaviour.forged", "behaviour.recorder"],
)
def test_no_other_tool_imports_locust(tool: str) -> None:
    code = f"import sys, loadtest.{tool}; sys.exit(any(name.split('.')[0] in ('locust', 'gevent') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
