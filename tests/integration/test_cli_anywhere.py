"""Commands work on terminals without Chinese, answer misspelt names, and read secrets from files."""

from pathlib import Path

from tests.harness.command_line import OPS_SECRET, SECRET, CommandLine
from tests.harness.service import Service, at, definition

ASCII = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"}


def environment(service: Service, **more: str) -> dict[str, str]:
    settings = service.worker.settings
    addresses = {"REDIS_URL": settings.redis_url, "DATABASE_URL": settings.database_url, "GRAB_CELL": settings.cell}
    return {**addresses, "GRAB_SECRETS": SECRET, "GRAB_OPS_SECRETS": OPS_SECRET, **more}


async def test_what_a_terminal_cannot_show_is_replaced(service: Service, tmp_path: Path) -> None:
    body = definition(title="骑行券", releases=[{"opens_at": at(60), "quantity": 5}])
    made = await service.http.post("/v1/ops/campaigns", json=body, headers=service.ops())
    campaign_id = made.json()["campaign_id"]
    grab = CommandLine(tmp_path, **environment(service), **ASCII)
    for arguments in (("campaign", "list"), ("campaign", "show", campaign_id), ("doctor",), ("audit",)):
        said = await grab.run(*arguments)
        assert "Traceback" not in said.err, said
        assert said.out.isascii(), said
        assert said.out, said
    assert "???" in (await grab.run("campaign", "list")).out
    refused = await grab.run("campaign", "show", "没有")
    assert refused.is_refusal("There is no such campaign")
    assert (await grab.run("campaign", "list", "--json")).json["items"][0]["title"] == "骑行券"


async def test_csv_on_standard_output_is_the_same_everywhere(service: Service, tmp_path: Path) -> None:
    grab = CommandLine(tmp_path, **environment(service))
    here = await grab.run("members", "generate", "--members", "20", "--orgs", "3", "--out", "-")
    there = await grab.run("members", "generate", "--members", "20", "--orgs", "3", "--out", "-", env=ASCII)
    assert here.out == there.out
    assert any(ord(character) > 0x4E00 for character in here.out)


async def test_a_misspelt_setting_is_named_by_every_command_and_by_the_doctor(service: Service, tmp_path: Path) -> None:
    grab = CommandLine(tmp_path, **environment(service, GRAB_WORKER="4"))
    listed, looked = await grab.run("campaign", "list"), await grab.run("doctor", "--json")
    assert "GRAB_WORKER is no setting; did you mean GRAB_WORKERS?" in listed.err
    assert listed.status == 0
    (finding,) = (check for check in looked.json["checks"] if check["name"] == "unknown-settings")
    assert (finding["state"], "GRAB_WORKERS" in finding["found"]) == ("warn", True)


async def test_secrets_that_are_made_into_files_are_those_of_the_settings(service: Service, tmp_path: Path) -> None:
    grab = CommandLine(tmp_path, **environment(service))
    made = await grab.run("secrets", "new", "--all", "--dir", "kept")
    named = dict(line.split("=", 1) for line in made.err.splitlines())
    assert len(named) == 7
    modes = {Path(tmp_path, path).stat().st_mode & 0o777 for path in named.values()}  # noqa: ASYNC240 -- a moment
    assert modes == {0o600}
    again = await grab.run("secrets", "new", "--dir", "kept")
    assert again.is_refusal("is there already; nothing was written")
    del grab.env["GRAB_SECRETS"], grab.env["GRAB_OPS_SECRETS"]
    passes = [await grab.run("passes", "mint", "-", stdin="m-1\n", env=named) for _ in range(2)]
    assert {said.status for said in passes} == {0}
    printed = await grab.run("secrets", "new")
    by_name = dict(line.split("=", 1) for line in printed.out.splitlines())
    assert set(by_name) == {"GRAB_SECRETS", "GRAB_OPS_SECRETS"}
    assert (await grab.run("passes", "ops", "alice", env=by_name)).status == 0
    assert (await grab.run("secrets", "new", "GRAB_PORT")).is_refusal("is no secret of the settings")
