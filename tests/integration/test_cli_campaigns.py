"""The command line writes, arms, steers and reads campaigns, and explains every mistake in words."""

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.backend import Backend
from tests.harness.command_line import CommandLine
from tests.harness.service import at, definition

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]  # a process for each command, on a machine that may be busy


@pytest.fixture
async def open_backend(backend: Backend) -> AsyncIterator[Backend]:
    """A backend whose ledger runs and whose cell is open, with twenty members."""
    async with backend.open_ledger():
        await backend.enrol(20)
        yield backend


def written(**changes: Any) -> str:
    return json.dumps(definition(**changes))


async def draft(grab: CommandLine, **changes: Any) -> str:
    said = await grab.ok("campaign", "create", "-", "--json", stdin=written(**changes))
    return str(said.json["campaign_id"])


async def test_a_campaign_is_written_armed_won_steered_and_closed(grab: CommandLine, open_backend: Backend) -> None:
    created = await grab.ok("campaign", "create", grab.file("c.json", b"\xef\xbb\xbf" + written().encode()))
    campaign_id = created.out.split(":")[0]
    assert "a draft of 10 units" in created.out
    assert f"grab campaign schedule {campaign_id}" in created.err

    assert "is scheduled" in (await grab.ok("campaign", "schedule", campaign_id)).out
    await open_backend.win(campaign_id, ["m00001", "m00002", "m00003"])

    shown = await grab.ok("campaign", "show", campaign_id)
    assert "10 units, 3 given out, 7 available now" in shown.out
    assert "scheduled, open" in shown.out

    paused = await grab.ok("campaign", "pause", campaign_id, "--reason", "一批券码有误", "--json")
    assert (paused.json["state"], paused.json["phase"]) == ("paused", "paused")
    assert paused.json["stock"] == {"total": 10, "available": 7, "active": 3}
    assert (await open_backend.campaign(campaign_id)).state == "paused"  # on record before the command has ended
    assert "is resumed" in (await grab.ok("campaign", "resume", campaign_id)).out

    await open_backend.drained()
    exported = await grab.ok("campaign", "claims", campaign_id, "--out", "claims.csv")
    assert exported.err.startswith("3 claims in claims.csv")
    rows = list(csv.DictReader(io.StringIO((grab.home / "claims.csv").read_text(encoding="utf-8"))))
    assert [row["member_id"] for row in rows] == ["m00001", "m00002", "m00003"]
    assert all(row["code"].startswith("****") for row in rows)
    full = await grab.ok("campaign", "claims", campaign_id, "--codes", "full")
    assert all(row["code"].startswith("CODE-") for row in csv.DictReader(io.StringIO(full.out)))
    assert (grab.home / "claims.csv").stat().st_mode & 0o077 == 0, "only its owner may read codes"

    assert campaign_id in (await grab.ok("campaign", "list")).out

    closed = await grab.ok("campaign", "close", campaign_id, "--yes", "--reason", "赞助商撤回")
    assert "is closed" in closed.out
    assert "3 of 10 units are given out and stay with their winners" in closed.err
    (await grab.run("campaign", "resume", campaign_id)).is_refusal("closed", "grab campaign show")

    lines = await open_backend.sql("SELECT actor, role, action, reason, outcome FROM ops_log ORDER BY entry_id")
    assert {(line.actor, line.role) for line in lines} == {("cli:tester", "admin")}
    assert [(line.action, line.outcome) for line in lines] == [
        ("campaign.create", "done"),
        ("campaign.schedule", "done"),
        ("campaign.pause", "done"),
        ("campaign.resume", "done"),
        ("claims.export", "done"),
        ("claims.export", "done"),
        ("campaign.close", "done"),
        ("campaign.resume", "wrong-state"),
    ]
    assert [line.reason for line in lines if line.action == "campaign.pause"] == ["一批券码有误"]


async def test_why_a_grab_of_a_member_would_be_refused_is_said_in_words_and_as_json(
    grab: CommandLine, open_backend: Backend
) -> None:
    campaign_id = await draft(grab, eligibility={"orgs": ["org-1"]})
    (await grab.run("campaign", "explain", campaign_id, "m00001")).is_refusal("draft", "")
    await grab.ok("campaign", "schedule", campaign_id)

    free = await grab.ok("campaign", "explain", campaign_id, "m00001")
    assert free.out == f"A grab of m00001 in {campaign_id}, whose phase is open, would not be refused\n"
    (claim,) = await open_backend.win(campaign_id, ["m00001"])
    held = (await grab.ok("campaign", "explain", campaign_id, "m00001")).out.splitlines()
    assert held[0] == free.out.strip()
    assert [line.startswith("holds unit 1, won 20") for line in held[1:]] == [True]
    as_json = (await grab.ok("campaign", "explain", campaign_id, "m00001", "--json")).json
    assert (as_json["eligible"], as_json["code"], as_json["phase"]) == (True, None, "open")
    assert [one["seq"] for one in as_json["claims"]] == [claim.seq]
    assert claim.code not in str(as_json), "codes are masked"

    await grab.ok("block", "m00002", "--until", at(600), "--reason", "代抢")
    blocked = (await grab.ok("campaign", "explain", campaign_id, "m00002")).out.splitlines()
    assert "would be refused (member-blocked): Your account cannot take part for the time being" in blocked[0]
    assert blocked[1].startswith("until: 20")
    stranger = (await grab.ok("campaign", "explain", campaign_id, "m99999")).out
    assert "would be refused (member-unknown): We have no registration for you" in stranger

    coming = await draft(grab, releases=[{"opens_at": at(600), "quantity": 1}])
    await grab.ok("campaign", "schedule", coming)
    early = (await grab.ok("campaign", "explain", coming, "m00001")).out.splitlines()
    assert "whose phase is upcoming, would be refused (not-open-yet)" in early[0]
    assert early[1].startswith("opens: 20")


async def test_stock_goes_by_compare_and_set_and_never_below_what_is_issued(grab: CommandLine, open_backend: Backend) -> None:
    campaign_id = await draft(grab)
    await grab.ok("campaign", "schedule", campaign_id)
    await open_backend.win(campaign_id, [f"m{number:05d}" for number in range(1, 6)])
    stock = ("campaign", "stock", campaign_id, "--reason", "赞助商追加")

    more = await grab.ok(*stock, "--expected", "10", "--total", "12")
    assert "has a stock of 12 units" in more.out
    (await grab.run(*stock, "--expected", "10", "--total", "20")).is_refusal("The stock is 12 by now", "--expected")
    (await grab.run(*stock, "--expected", "12", "--total", "4", "--yes")).is_refusal("5 units have been given out")
    unasked = await grab.run(*stock, "--expected", "12", "--total", "6")
    assert unasked.status == 2
    assert "add --yes" in unasked.err
    fewer = await grab.ok(*stock, "--expected", "12", "--total", "6", "--yes")
    assert "goes down from 12 to 6 units" in fewer.err
    assert (await open_backend.campaign(campaign_id)).total == 6
    assert (await grab.run(*stock[:3], "--expected", "6", "--total", "7", "--reason", "")).status == 2


async def test_what_cannot_be_undone_asks_at_a_terminal(grab: CommandLine, open_backend: Backend) -> None:
    campaign_id = await draft(grab)
    await grab.ok("campaign", "schedule", campaign_id)

    no = await grab.at_terminal("campaign", "cancel", campaign_id, types="n\n")
    assert no.status == 1
    assert "is called off for good" in no.err
    assert "Nothing was done." in no.err
    assert (await open_backend.campaign(campaign_id)).state == "scheduled"

    yes = await grab.at_terminal("campaign", "cancel", campaign_id, types="y\n")
    assert yes.status == 0, yes
    assert "is cancelled" in yes.out
    assert (await open_backend.campaign(campaign_id)).state == "cancelled"


async def test_mistakes_are_told_in_words_and_nothing_is_done(grab: CommandLine, open_backend: Backend) -> None:
    unknown, twice, no_codes, broken, wrong, gone = await asyncio.gather(
        grab.run("campaign", "pause", "no-such-one"),
        _scheduled_twice(grab),
        _scheduled_without_codes(grab),
        grab.run("campaign", "create", grab.file("broken.json", '{"title": "x",\n  "releases": [}\n')),
        grab.run("campaign", "create", "-", stdin=written(waitlist=True, limit_per_member=0, colour="red")),
        grab.run("campaign", "create", "not-there.json"),
    )
    assert unknown.is_refusal("There is no such campaign", "grab campaign list")
    assert twice.is_refusal("scheduled")
    assert no_codes.is_refusal("error: 10 codes are needed, 2 have been imported", "grab campaign preflight")
    assert broken.is_refusal("broken.json, line 2, column 16", "not JSON")
    assert wrong.is_refusal(
        "waitlist: this release does not support True", "limit_per_member: at least 1", "colour: there is no such"
    )
    assert gone.status == 2
    assert "not-there.json" in gone.err
    rows = await open_backend.sql("SELECT state FROM campaigns ORDER BY state")
    assert [row.state for row in rows] == ["draft", "scheduled"], "only those of the helpers below"


async def _scheduled_twice(grab: CommandLine) -> Any:
    campaign_id = await draft(grab)
    await grab.ok("campaign", "schedule", campaign_id)
    return await grab.run("campaign", "schedule", campaign_id)


async def _scheduled_without_codes(grab: CommandLine) -> Any:
    campaign_id = await draft(grab, benefit={"kind": "code_pool", "name": "券"})
    await grab.ok("campaign", "codes", campaign_id, grab.file("two.csv", "code\nAB-1\nAB-2\n"))
    return await grab.run("campaign", "schedule", campaign_id)


async def test_codes_come_in_and_every_broken_row_is_named(grab: CommandLine, open_backend: Backend) -> None:
    campaign_id = await draft(grab, benefit={"kind": "code_pool", "name": "券"})
    codes = grab.file("codes.csv", "code\r\nAB-1\r\nAB 2\r\nAB-3\r\nAB-1\r\n" + "x" * 65 + "\r\n")
    said = await grab.run("campaign", "codes", campaign_id, codes, "--errors", "2", "--rejected", "bad.csv")
    assert said.status == 1
    assert "5 rows: 2 codes imported, 3 not taken; the campaign has 2 for 10 units" in said.out
    assert "spaces or invisible" in said.err
    assert "stands in row 2 already" in said.err
    assert "and 1 more, all of them in bad.csv" in said.err
    rows = list(csv.DictReader(io.StringIO((grab.home / "bad.csv").read_text(encoding="utf-8"))))
    assert [(row["rejected_row"], row["code"][:4]) for row in rows] == [("3", "AB 2"), ("5", "AB-1"), ("6", "xxxx")]
    again = await grab.run("campaign", "codes", campaign_id, codes, "--json")
    assert (again.json["imported"], len(again.json["rejected"])) == (0, 5)
    looked = await grab.run("campaign", "preflight", campaign_id, "--json")
    assert looked.status == 1
    assert [finding["code"] for finding in looked.json["findings"] if finding["level"] == "error"] == ["too-few-codes"]
    (await grab.run("campaign", "codes", campaign_id, "-", stdin=b"PK\x03\x04 a workbook")).is_refusal("CSV UTF-8")
    (await grab.run("campaign", "codes", await draft(grab), codes)).is_refusal("benefit.kind: codes are imported for")


async def test_a_closed_cell_is_said_and_drafts_can_be_written_all_the_same(grab: CommandLine) -> None:
    # No ledger has ever run here.
    campaign_id = await draft(grab)
    scheduled, listed, shown = await asyncio.gather(
        grab.run("campaign", "schedule", campaign_id),
        grab.ok("campaign", "list"),
        grab.ok("campaign", "show", campaign_id),
    )
    assert scheduled.is_refusal("The cell is closed", "grab reconcile", "grab doctor")
    assert campaign_id in listed.out
    assert "The cell cannot be asked" in shown.err


async def test_what_took_effect_and_is_not_on_record_yet_is_said_to_be_so(grab: CommandLine, backend: Backend) -> None:
    async with backend.open_ledger():
        await backend.enrol(1)
        await backend.schedule("c")
        await backend.drained()
    # The ledger has gone; the cell is open still.
    said = await grab.run("campaign", "pause", "c")
    assert said.is_refusal("It took effect, but is not on record yet", "grab reconcile")


async def test_servers_that_are_down_are_named_with_their_addresses_and_no_password(database_url: str, tmp_path: Path) -> None:
    nowhere = "postgresql://grab:hunter2@127.0.0.1:1/grab"
    grab = CommandLine(tmp_path, REDIS_URL="redis://:hunter2@127.0.0.1:1/0", DATABASE_URL=nowhere)
    no_postgres, no_redis, nonsense, no_scheme, unset, bad_settings = await asyncio.gather(
        grab.run("campaign", "list"),
        grab.run("campaign", "pause", "c", env={"DATABASE_URL": database_url}),
        grab.run("campaign", "list", env={"DATABASE_URL": "nonsense"}),
        grab.run("campaign", "list", env={"DATABASE_URL": database_url, "REDIS_URL": "127.0.0.1:6379"}),
        grab.run("campaign", "list", env={"REDIS_URL": "", "DATABASE_URL": ""}),
        grab.run("campaign", "list", env={"GRAB_PORT": "99999", "GRAB_SECRETS": "short"}),
    )
    assert no_postgres.is_refusal("DATABASE_URL (postgresql://grab:***@127.0.0.1:1/grab)", "Start it")
    assert no_redis.is_refusal("REDIS_URL (redis://:***@127.0.0.1:1/0)", "Start it")
    assert nonsense.is_refusal("DATABASE_URL")
    assert no_scheme.is_refusal("REDIS_URL: 127.0.0.1:6379 cannot be used: it does not begin with redis://", "redis://")
    assert unset.is_refusal("REDIS_URL and DATABASE_URL are not set", "grab run")
    assert bad_settings.is_refusal("GRAB_PORT", "GRAB_SECRETS: write kid:secret")
    assert "hunter2" not in no_postgres.err + no_redis.err


async def test_a_database_without_tables_is_told_to_be_migrated_and_can_be(
    valkey_url: str, postgres_server: Any, tmp_path: Path
) -> None:
    grab = CommandLine(tmp_path, REDIS_URL=valkey_url, DATABASE_URL=postgres_server.url_of("postgres"))
    (await grab.run("campaign", "list")).is_refusal("lacks tables", "grab migrate")
    (await grab.run("campaign", "list", env={"DATABASE_URL": postgres_server.url_of("nowhere")})).is_refusal("nowhere")
