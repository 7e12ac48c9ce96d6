"""The doctor passes every environment of the documentation, as users that may do their work and nothing else."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from grab_service.cell.rights import Login, user_of
from grab_service.embedded.passwords import as_user
from grab_service.embedded.postgres import PostgresServer
from grab_service.embedded.programs import Program
from grab_service.embedded.valkey import ValkeyServer
from grab_service.sql.grants import role_of
from grab_service.vocabulary.keys import CellKeys
from tests.harness.command_line import OPS_SECRET, SECRET, CommandLine
from tests.integration.test_provision import PASSWORDS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

CELL = "doctors"
ASSERTIONS = {"GRAB_ASSERTION_ISSUER": "app", "GRAB_ASSERTION_SECRET": "a secret of the host app, which is long enough"}


async def looked(grab: CommandLine, env: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    said = await grab.run("doctor", "--json", env=env)
    found = {check["name"]: check for check in said.json["checks"]}
    assert said.status == any(check["state"] == "fail" for check in found.values()), said
    return found


def not_ok(found: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The checks that are not ok, but for those of this machine's size."""
    machine = {"open-files", "accept-queue", "disk", "clock"}
    return {name: check["state"] for name, check in found.items() if check["state"] != "ok" and name not in machine}


async def test_the_doctor_is_content_wherever_the_documentation_sends_it(tmp_path: Path) -> None:
    valkey, postgres = ValkeyServer(tmp_path / "valkey", cell="another"), PostgresServer(tmp_path / "postgres", cell="another")
    await asyncio.gather(valkey.start(), postgres.start())
    given = {f"GRAB_{who.upper()}_PASSWORD": password for who, password in PASSWORDS.items()}
    admin = {"REDIS_URL": valkey.url, "DATABASE_URL": postgres.url}

    def addresses(login: Login) -> dict[str, str]:
        return {
            "REDIS_URL": as_user(valkey.url, user_of(CELL, login), PASSWORDS[login]),
            "DATABASE_URL": as_user(postgres.url, role_of(CELL, login), PASSWORDS[login]),
        }

    guard = {"GRAB_GUARD_REDIS_URL": as_user(valkey.url, user_of(CELL, Login.GUARD), PASSWORDS["guard"])}
    secrets = {"GRAB_SECRETS": SECRET, "GRAB_OPS_SECRETS": OPS_SECRET}
    grab = CommandLine(tmp_path, GRAB_CELL=CELL)
    assert (await grab.run("secrets", "key", "keys.json")).status == 0
    keys = {"GRAB_SIGNING_KEYS_FILE": str(tmp_path / "keys.json")}
    service, ledger = addresses(Login.API) | ASSERTIONS | secrets | keys, addresses(Login.LEDGER) | guard | keys
    program = Program("ledger", ("reconcile",), tmp_path / "var", {"GRAB_CELL": CELL, **ledger})
    try:
        assert (await grab.run("provision", env=admin | given)).status == 0
        owner = {"DATABASE_URL": as_user(postgres.url, role_of(CELL, "owner"), PASSWORDS["owner"])}
        assert (await grab.run("migrate", env=owner)).status == 0
        closed, alone = await asyncio.gather(looked(grab, service), looked(grab, {**service, "GRAB_SECRETS": ""}))
        assert not_ok(closed) == {"persistence": "unseen", "cell": "fail", "ledger": "fail"}
        assert "no scripts are loaded" in closed["cell"]["found"]
        assert alone["secrets"]["state"] == "fail", "the service needs them"
        public = json.loads((tmp_path / "keys.json").read_text())["keys"][0]
        del public["d"]
        (tmp_path / "public.json").write_text(json.dumps({"keys": [public]}))
        of_public = {"GRAB_SIGNING_KEYS_FILE": str(tmp_path / "public.json")}
        for env, states in ((service, ("ok", "fail")), (ledger, ("fail", "fail"))):
            seen = [await looked(grab, env | of_public), await looked(grab, env | {"GRAB_SIGNING_KEYS_FILE": ""})]
            assert tuple(one["signing-keys"]["state"] for one in seen) == states
        await program.start()
        async with Redis.from_url(valkey.url) as redis, asyncio.timeout(60):
            while not await redis.exists(CellKeys.of(CELL).server):
                await asyncio.sleep(0.1)
            of_service, of_ledger, of_admin = await asyncio.gather(*(looked(grab, env) for env in (service, ledger, admin)))
            assert not_ok(of_service) == {}
            assert not_ok(of_ledger) == {"secrets": "unseen", "sign-in": "unseen"}
            assert not_ok(of_admin) == {"secrets": "unseen", "sign-in": "unseen", "signing-keys": "unseen"}
            assert "by what the ledger noted" in of_service["persistence"]["found"]
            assert [found["looks-as"]["found"].partition(":")[0] for found in (of_service, of_ledger, of_admin)] == [
                "the service",
                "the ledger",
                "an admin",
            ]
            # A fault is seen from each of them.
            await redis.config_set("no-appendfsync-on-rewrite", "yes")
            await redis.execute_command("ACL", "SETUSER", user_of(CELL, Login.API), "-zrem")  # type: ignore[no-untyped-call]
            while await redis.hget(CellKeys.of(CELL).server, "no_appendfsync_on_rewrite") != b"yes":
                await asyncio.sleep(0.1)
            for found in await asyncio.gather(*(looked(grab, env) for env in (service, ledger, admin))):
                assert (found["persistence"]["state"], found["alarms"]["state"]) == ("warn", "fail"), found
                rights = found.get("guard-rights", found["rights"])
                assert rights["state"] == "fail", found
                assert "ZREM" in rights["found"]
    finally:
        await program.stop()
        await asyncio.gather(valkey.stop(), postgres.stop())
