"""The command line imports members and unions, and names every broken row."""

import asyncio
import csv
import io
from pathlib import Path

import pytest

from grab_service.cell.rights import Login
from tests.harness.backend import Backend
from tests.harness.command_line import OPS_SECRET, SECRET, CommandLine, command_line_as

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]  # a process for each command, on a machine that may be busy

HEADER = "member_id,org_id,person_id,name,tags,birthday_month,joined_on,status\n"


async def test_made_up_members_come_in_and_can_grab(grab: CommandLine, backend: Backend) -> None:
    made = await grab.ok(
        "members", "generate", "--out", "m.csv", "--orgs-out", "o.csv", "--members", "300", "--orgs", "7", "--seed", "1"
    )
    assert "300 members in 7 unions in m.csv" in made.err
    async with backend.open_ledger():
        assert "7 unions new, 0 known before" in (await grab.ok("orgs", "import", "o.csv")).out
        imported = (await grab.ok("members", "import", "m.csv", "--json")).json
        assert {**imported, "published": True} == {
            "rows": 300,
            "rejected_rows": 0,
            "new_orgs": [],
            "imported": 300,
            "updated": 0,
            "unchanged": 0,
            "rejected": [],
            "published": True,
        }
        again = await grab.ok("members", "import", "m.csv")
        assert "0 members new, 300 known before, of whom 300 are as they were" in again.out
    assert len(await backend.sql("SELECT name FROM orgs WHERE name LIKE '%工会'")) == 7


async def test_broken_rows_are_named_and_the_others_are_taken(grab: CommandLine, backend: Backend) -> None:
    rows = [
        "m-1,org-1,,张三,driver|night-shift,9,2016-05-01,active",
        "m-2,org-1,,李四,,13,2016-05-01,active",
        "m 3,org-1,,王五,,,2016-02-30,active",
        "m-1,org-1,,张三,,,,active",
        "m-5,org-1,,赵六,,,,gone",
        "m-6,org-2,,孙七",
        "m-7,org-2,,周八,,,,active",
    ]
    file = grab.file("members.csv", HEADER + "\n".join(rows) + "\n")
    said = await grab.run("members", "import", file, "--errors", "3", "--rejected", "bad.csv")
    assert said.status == 1
    assert "2 members new" in said.out
    assert "birthday_month  must be 1 to 12" in said.err
    assert "and 3 more, all of them in bad.csv" in said.err
    assert "the cell is closed" in said.err  # no ledger has run here, and that is no reason to lose a file of members
    bad = list(csv.DictReader(io.StringIO((grab.home / "bad.csv").read_text(encoding="utf-8"))))
    assert [(row["rejected_row"], row["member_id"]) for row in bad] == [
        ("3", "m-2"),
        ("4", "m 3"),
        ("5", "m-1"),
        ("6", "m-5"),
        ("7", "m-6"),
    ]
    reasons = [row["rejected_because"].split(":")[0] for row in bad]
    assert reasons == ["birthday_month", "member_id", "member_id", "status", "has 4 columns instead of 8"]
    assert "; joined_on: " in bad[1]["rejected_because"], "one line a row, whatever is wrong with it"
    assert "2 unions were not registered, and are now: org-1 (1 rows), org-2 (1 rows)" in said.err
    mended = (grab.home / "bad.csv").read_text(encoding="utf-8")
    for wrong, right in ((",13,", ",12,"), ("m 3", "m-3"), ("2016-02-30", "2016-02-28")):
        mended = mended.replace(wrong, right)
    again = await grab.run("members", "import", grab.file("mended.csv", mended))
    assert "5 rows: 2 members new, 1 known before" in again.out, "it is taken as it is, notes and all"
    taken = await backend.sql("SELECT member_id FROM members ORDER BY member_id")
    assert [row.member_id for row in taken] == ["m-1", "m-2", "m-3", "m-7"]
    log = await backend.sql("SELECT actor, action, outcome, detail FROM ops_log")
    assert [(line.actor, line.action, line.outcome, line.detail["rejected"]) for line in log] == [
        ("cli:tester", "members.import", "done", 5),
        ("cli:tester", "members.import", "done", 2),
    ]


async def test_a_file_that_is_no_csv_of_members_is_refused_as_a_whole(grab: CommandLine, backend: Backend) -> None:
    no_columns, gbk, large, unions = await asyncio.gather(
        grab.run("members", "import", "-", stdin="member_id,org_id\nm-1,org-1\n"),
        grab.run("members", "import", "-", stdin=(HEADER + "m-1,org-1,,张三,,,,active\n").encode("gb18030")),
        grab.run("members", "import", "-", stdin=b"x" * 2048, env={"GRAB_IMPORT_MAX_BYTES": "1024"}),
        grab.run("orgs", "import", "-", stdin="org_id,name\norg-1,一工会\norg 2,二工会\norg-3,\n"),
    )
    assert no_columns.is_refusal("status: this column is missing")
    assert gbk.is_refusal("GB18030")
    assert large.is_refusal("larger than 1,024 bytes")
    assert unions.status == 1
    assert "1 unions new" in unions.out
    assert "org_id" in unions.err
    assert "name" in unions.err
    assert not await backend.sql("SELECT member_id FROM members")


async def test_passes_are_minted_for_a_file_of_members_or_not_at_all(tmp_path: Path) -> None:
    grab = CommandLine(tmp_path, GRAB_SECRETS=SECRET, GRAB_OPS_SECRETS=OPS_SECRET, GRAB_CELL="here")
    good = grab.file("good.csv", HEADER + 'm-1,org-1,,"张, 三",,,,active\nm-2,org-1,,李四,,,,active\n')
    bad = grab.file("bad.csv", HEADER + "m-1,org-1,,张三,,,,active\nm 2,org-1,,李四,,,,active\n")
    minted, refused, piped, no_secret, token, closed, nobody = await asyncio.gather(
        grab.run("passes", "mint", good, "--out", "passes.tsv"),
        grab.run("passes", "mint", bad, "--out", "none.tsv"),
        grab.run("passes", "mint", "-", stdin="m-1\nm-2\n"),
        grab.run("passes", "mint", good, env={"GRAB_SECRETS": ""}),
        grab.run("passes", "ops", "alice@example.com", "--role", "admin"),
        grab.run("passes", "ops", "alice", env={"GRAB_OPS_SECRETS": ""}),
        grab.run("passes", "ops", "no body"),
    )
    assert minted.status == 0, minted
    lines = (tmp_path / "passes.tsv").read_text(encoding="ascii").splitlines()
    assert [line.split("\t")[0] for line in lines] == ["m-1", "m-2"]
    assert (tmp_path / "passes.tsv").stat().st_mode & 0o077 == 0
    assert refused.is_refusal("bad.csv, line 3: 'm 2' is not a member_id")
    assert not (tmp_path / "none.tsv").exists()
    assert piped.out.splitlines()[0].startswith("m-1\t2.k1.")
    assert no_secret.is_refusal("GRAB_SECRETS is not set")
    assert token.out.startswith("o2.o1.")
    assert closed.is_refusal("GRAB_OPS_SECRETS is not set")
    assert nobody.is_refusal("'no body'")


async def test_a_token_is_ended_from_the_command_line_by_its_id_or_by_itself(
    valkey_url: str, database_url: str, cell_name: str, tmp_path: Path, backend: Backend
) -> None:
    keys = {"GRAB_SECRETS": SECRET, "GRAB_OPS_SECRETS": OPS_SECRET}
    async with command_line_as(Login.API, valkey_url, database_url, cell_name, tmp_path, **keys) as grab:
        leaked, other = await asyncio.gather(grab.ok("passes", "ops", "alice"), grab.ok("passes", "ops", "bob"))
        token_id = leaked.out.split(".")[5]
        unknown, rubbish, unused = await asyncio.gather(
            grab.run("passes", "end", token_id),
            grab.run("passes", "end", "rubbish"),
            grab.ok("passes", "end", "-", stdin=other.out),
        )
        assert unknown.is_refusal("no such token")
        assert rubbish.is_refusal("neither the id of a token nor a token")
        assert other.out.split(".")[5] in unused.err
        await grab.ok("passes", "end", leaked.out.strip())
        await grab.ok("passes", "end", token_id)
        shown, listed = await asyncio.gather(grab.ok("passes", "list"), grab.ok("passes", "list", "--json"))
    assert {one["actor"] for one in listed.json} == {"alice", "bob"}
    assert all(one["ended_at_ms"] for one in listed.json)
    assert token_id in shown.out
    rows = await backend.sql("SELECT token_id FROM ops_tokens WHERE ended_at_ms IS NOT NULL")
    assert {row.token_id for row in rows} == {one["token_id"] for one in listed.json}
