"""Each Redis user may do its work, and nothing else."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoPermissionError, RedisError

from grab_service.audit import audit_cell
from grab_service.cell.nodes import _Following
from grab_service.cell.own_rights import own_rights
from grab_service.cell.rights import DIRECT, Login, commands_inside, commands_of, user_of
from grab_service.cell.scripts import ScriptSources
from grab_service.cell.store import Cell, CellClosedError, CellSilentError, Replicas
from grab_service.doctor.redis_server import look_at_redis
from grab_service.embedded.external import check_redis
from grab_service.embedded.redis_users import set_users, users_of, write_acl_file
from grab_service.embedded.valkey import AppendFsync, ValkeyServer
from grab_service.health.readiness import check_readiness
from grab_service.vocabulary.claims import ClaimRecord
from grab_service.vocabulary.durability import Durability
from grab_service.vocabulary.keys import CellKeys
from reconcile.by_hand import recover_once
from reconcile.guard.redis_settings import UnfitServerError
from reconcile.guard.rights import check_rights
from tests.harness.backend import Backend, until
from tests.harness.cells import arm, everything
from tests.harness.embedded import started
from tests.harness.every_command import CALLS, furnish
from tests.harness.logins import redis_logins
from tests.integration.days import a_day

SOURCES: Final = ScriptSources.read()
INSIDE: Final = sorted(commands_inside(SOURCES))


@pytest.fixture
async def urls(valkey_url: str, cell_name: str) -> Any:
    async with redis_logins(valkey_url, cell_name) as addresses:
        yield addresses


async def denied(admin: Redis, cell_name: str) -> list[str]:
    """Calls that Redis has refused to users of this cell."""
    entries: Any = await admin.acl_log()
    found = []
    for entry in entries:
        name, what = (entry[part] if isinstance(entry[part], str) else entry[part].decode() for part in ("username", "object"))
        if cell_name in name:
            found.append(f"{name}: {what}")
    return found


@pytest.mark.parametrize("login", [Login.API, Login.LEDGER])
async def test_no_script_is_refused_anything_inside(
    login: Login, urls: Mapping[Login, str], cell_name: str, redis_client: Redis
) -> None:
    await arm(redis_client, cell_name, SOURCES)
    async with Redis.from_url(urls[login], protocol=2, driver_info=None) as client:
        cell = Cell(client, cell_name, SOURCES)
        claim_seq = await furnish(cell)
        for call in CALLS.values():
            await call(cell, claim_seq)
    assert await denied(redis_client, cell_name) == []


@pytest.mark.parametrize("login", [Login.API, Login.LEDGER])
async def test_every_right_can_be_asked_for_and_is_there(login: Login, urls: Mapping[Login, str], cell_name: str) -> None:
    async with Redis.from_url(urls[login], driver_info=None) as client:
        rights = await own_rights(client, CellKeys.of(cell_name), SOURCES)
    assert (rights.user, rights.lacks, rights.why_unknown) == (user_of(cell_name, login), (), "")


@pytest.mark.parametrize("command", [*INSIDE, "EVALSHA"])
async def test_with_one_right_less_nothing_is_sold_and_the_right_is_named(
    command: str, urls: Mapping[Login, str], cell_name: str, redis_client: Redis
) -> None:
    await arm(redis_client, cell_name, SOURCES)
    await redis_client.execute_command("ACL", "SETUSER", user_of(cell_name, Login.API), f"-{command}")  # type: ignore[no-untyped-call]
    async with Redis.from_url(urls[Login.API], protocol=2, driver_info=None) as client:
        cell = Cell(client, cell_name, SOURCES)
        before = await everything(redis_client, cell)
        with pytest.raises(CellClosedError, match=f"(?i){user_of(cell_name, Login.API)} .*{command}"):
            await cell.publish_members(1, ["m", "record"])
        # A second call at once gets the same answer, and not that the table was read a moment ago.
        with pytest.raises(CellClosedError, match=f"(?i){command}"):
            await cell.publish_members(1, ["m", "record"])
        assert await everything(redis_client, cell) == before


async def test_who_cannot_wait_for_replicas_sells_nothing_where_that_is_asked_for(
    urls: Mapping[Login, str], cell_name: str, redis_client: Redis
) -> None:
    await arm(redis_client, cell_name, SOURCES)
    await redis_client.execute_command("ACL", "SETUSER", user_of(cell_name, Login.API), "-wait")  # type: ignore[no-untyped-call]
    async with Redis.from_url(urls[Login.API], protocol=2, driver_info=None) as client:
        with pytest.raises(CellClosedError, match="WAIT"):
            await Cell(client, cell_name, SOURCES, Replicas(1, 0.01)).tail(0, 1)
        await Cell(client, cell_name, SOURCES).tail(0, 1)


async def test_keys_that_are_missing_are_named(urls: Mapping[Login, str], cell_name: str, redis_client: Redis) -> None:
    await arm(redis_client, cell_name, SOURCES)
    name, keys = user_of(cell_name, Login.API), CellKeys.of(cell_name)
    await redis_client.execute_command("ACL", "SETUSER", name, "resetkeys", f"~{keys.prefix}c*", f"~{keys.scripts}")  # type: ignore[no-untyped-call]
    async with Redis.from_url(urls[Login.API], protocol=2, driver_info=None) as client:
        with pytest.raises(CellClosedError, match=r"HMGET .*:members.* needed by explain, grab, publish_members; XADD .*:log"):
            await Cell(client, cell_name, SOURCES).tail(0, 1)


async def test_a_redis_that_does_not_let_itself_be_asked_is_used_all_the_same(
    urls: Mapping[Login, str], cell_name: str, redis_client: Redis
) -> None:
    await arm(redis_client, cell_name, SOURCES)
    for refused in ("acl|dryrun", "acl|whoami"):
        await redis_client.execute_command("ACL", "SETUSER", user_of(cell_name, Login.API), f"-{refused}")  # type: ignore[no-untyped-call]
        async with Redis.from_url(urls[Login.API], protocol=2, driver_info=None) as client:
            rights = await own_rights(client, CellKeys.of(cell_name), SOURCES)
            assert not rights.known
            assert refused in rights.why_unknown
            assert (await Cell(client, cell_name, SOURCES).tail(0, 1)).entries == []


async def test_a_user_who_may_do_everything_passes(valkey_url: str, cell_name: str) -> None:
    async with Redis.from_url(valkey_url) as client:
        rights = await own_rights(client, CellKeys.of(cell_name), SOURCES)
    assert (rights.user, rights.lacks, rights.known) == ("default", (), True)


FORBIDDEN: Final = {
    "SCRIPT LOAD": ("SCRIPT", "LOAD", "return 1"),
    "SCRIPT FLUSH": ("SCRIPT", "FLUSH"),
    "EVAL": ("EVAL", "return 1", "0"),
    "FUNCTION LOAD": ("FUNCTION", "LOAD", "#!lua name=x"),
    "CONFIG GET": ("CONFIG", "GET", "*"),
    "CONFIG SET": ("CONFIG", "SET", "appendfsync", "no"),
    "ACL SETUSER": ("ACL", "SETUSER", "default", "nopass"),
    "ACL GETUSER": ("ACL", "GETUSER", "default"),
    "FLUSHALL": ("FLUSHALL",),
    "KEYS": ("KEYS", "*"),
    "SCAN": ("SCAN", "0"),
    "DEL": ("DEL", "{cell}"),
    "XDEL": ("XDEL", "{log}", "1-0"),
    "EXPIRE": ("EXPIRE", "{cell}", "1"),
    "REPLICAOF": ("REPLICAOF", "NO", "ONE"),
    "SHUTDOWN": ("SHUTDOWN",),
    "DEBUG": ("DEBUG", "SLEEP", "0"),
    "CLIENT KILL": ("CLIENT", "KILL", "TYPE", "normal"),
    "MONITOR": ("MONITOR",),
    "PUBLISH": ("PUBLISH", "channel", "word"),
    "the table of scripts": ("HSET", "{scripts}", "epoch", "9"),
    "the note about the server": ("HSET", "{server}", "appendfsync", "always"),
    "another cell": ("HGET", "grab:{{another}}:cell", "seq"),
    "another cell's log": ("XRANGE", "grab:{{another}}:log", "-", "+"),
    "any other key": ("HSET", "session", "a", "b"),
    "EVALSHA": ("EVALSHA", "0" * 40, "0"),
    "XTRIM": ("XTRIM", "{log}", "MAXLEN", "0"),
}
GUARDS_OWN: Final = {"SCRIPT LOAD", "CONFIG GET", "SCAN", "DEL", "the table of scripts", "the note about the server"}
MAY: Final = {
    Login.API: {"EVALSHA"},
    Login.LEDGER: {"EVALSHA", "XTRIM"},
    Login.GUARD: GUARDS_OWN,
}


@pytest.mark.parametrize("login", list(Login))
async def test_what_is_not_its_work_is_refused(
    login: Login, urls: Mapping[Login, str], cell_name: str, redis_client: Redis
) -> None:
    keys = CellKeys.of(cell_name)
    name = user_of(cell_name, login)
    allowed = set()
    for what, words in FORBIDDEN.items():
        filled = [word.format(cell=keys.cell, log=keys.log, scripts=keys.scripts, server=keys.server) for word in words]
        said: Any = await redis_client.execute_command("ACL", "DRYRUN", name, *filled)  # type: ignore[no-untyped-call]
        if said in {b"OK", "OK"}:
            allowed.add(what)
    assert allowed == MAY[login]
    async with Redis.from_url(urls[login], driver_info=None) as client:
        for command in ("FLUSHALL", "ACL LIST", "EVAL 'return 1' 0"):
            with pytest.raises(NoPermissionError):
                await client.execute_command(*command.split())  # type: ignore[no-untyped-call]


class Sent:
    """The commands that each user of a cell has sent, as names of rights."""

    def __init__(self) -> None:
        self.by_user: dict[str, set[str]] = defaultdict(set)

    def record(self, user: str | None, packed: Any) -> None:
        """The link's commands in RESP: arrays of strings, one a command."""
        data = packed if isinstance(packed, bytes) else b"".join(packed)
        at = 0
        while at < len(data):
            words, at = _command(data, at)
            name = words[0].decode().upper()
            if name in {"ACL", "CLUSTER", "CONFIG", "SCRIPT"}:
                name += "|" + words[1].decode().upper()
            self.by_user[user or "default"].add(name)


def _command(data: bytes, at: int) -> tuple[list[bytes], int]:
    end = data.index(b"\r\n", at)
    count, at, words = int(data[at + 1 : end]), end + 2, []
    for _ in range(count):
        end = data.index(b"\r\n", at)
        length = int(data[at + 1 : end])
        words.append(data[end + 2 : end + 2 + length])
        at = end + 4 + length
    # redis-py names some commands in one word.
    return [*words[0].split(b" "), *words[1:]], at


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    recorded = Sent()

    def record(kind: Any) -> None:
        send: Any = kind.send_packed_command

        async def send_and_record(self: Any, command: Any, *options: Any, **more: Any) -> Any:
            recorded.record(self.username, command)
            return await send(self, command, *options, **more)

        monkeypatch.setattr(kind, "send_packed_command", send_and_record)

    record(AbstractConnection)
    record(_Following)  # sends most by itself
    return recorded


@pytest.mark.slow
async def test_no_right_is_given_that_nothing_uses(backend: Backend, cell_name: str, sent: Sent, redis_client: Redis) -> None:
    """Everything that a cell can meet with in its life, and what each user sent while it did."""
    name_of = {login: user_of(cell_name, login) for login in Login}
    kept = {"log_retention_h": 1e-9, "durability": Durability.RECORD}
    async with backend.ledger(**kept), backend.parts(**kept) as parts:
        day = await a_day(backend)
        await parts.housekeeping.trim()
        # Both audit: the API when ops ask, the ledger by itself; here a unit is in two hands, and more claims than it looks at.
        first, second = day.one[:2]
        twin = ClaimRecord(second.seq, 1, first.unit_no, 1, second.granted_at_ms, second.code, "")
        await backend.redis.hset(day.key("one", "claims"), day.names[1], twin.encode())
        for client in (backend.service, parts.redis):
            await audit_cell(backend.cell, backend.engine, client, ledger_wait_s=10)
            await audit_cell(backend.cell, backend.engine, client, ledger_wait_s=10, records_max=1)
        # A Redis that forgets its scripts: audited while closed, rebuilt because of the twin.
        await backend.redis.script_flush()
        await until(lambda: _rebuilt(backend))
        await backend.open_for_business()
        await parts.cell.snapshot(())
        waiting = Cell(backend.service, cell_name, SOURCES, Replicas(1, 0.01))
        with pytest.raises(CellSilentError, match="0 of 1 replicas"):
            await waiting.read_claims(day.names[5], ["one"])
    await recover_once(backend.settings)
    for url in (backend.settings.redis_url, backend.settings.guard_redis_url):
        await check_redis(url, backend.settings.cell)
    async for _ in look_at_redis(backend.settings.guard_redis_url, 2, backend.settings.cell):
        pass
    await check_redis(_address_of(backend.service), backend.settings.cell)
    await check_readiness(backend.cell, backend.service, backend.engine, view_age_s=0.0, draining=False)
    for login in Login:
        used = sent.by_user[name_of[login]] - {"AUTH"}
        assert DIRECT[login] - used == set(), f"{login} never needs them"
    assert [what for what in await denied(redis_client, cell_name) if "client|setinfo" not in what] == []


async def _rebuilt(backend: Backend) -> bool:
    return await backend.redis.hget(backend.keys.cell, "epoch") not in {None, b"1"}


def _address_of(client: Redis) -> str:
    given = client.connection_pool.connection_kwargs
    return f"redis://{given['username']}:{given['password']}@{given['host']}:{given['port']}/0"


@pytest.mark.parametrize(
    ("login", "right"), [(Login.API, "XADD"), (Login.LEDGER, "HSET"), (Login.GUARD, "ZADD"), (Login.GUARD, "SCRIPT|LOAD")]
)
async def test_the_guard_opens_nothing_while_a_user_of_the_cell_lacks_a_right(
    login: Login, right: str, backend: Backend, cell_name: str
) -> None:
    name = user_of(cell_name, login)
    await backend.redis.execute_command("ACL", "SETUSER", name, f"-{right.lower()}")  # type: ignore[no-untyped-call]
    async with backend.ledger():

        async def says_so() -> bool:
            alarms = await backend.open_alarms()
            why = alarms.get("cell_closed", {}).get("why", "")
            return f"{name} lacks {right.replace('|', ' ')}" in why and "grab provision" in why

        await until(says_so)
        assert await backend.redis.exists(backend.keys.scripts) == 0
        await backend.redis.execute_command("ACL", "SETUSER", name, f"+{right.lower()}")  # type: ignore[no-untyped-call]
        await backend.open_for_business()

        async def is_over() -> bool:
            return await backend.open_alarms() == {}

        await until(is_over)


async def test_a_guard_that_knows_of_no_such_users_looks_at_itself_alone(backend: Backend, cell_name: str) -> None:
    for login in (Login.API, Login.LEDGER):
        await backend.redis.execute_command("ACL", "DELUSER", user_of(cell_name, login))  # type: ignore[no-untyped-call]
    async with backend.link() as link:
        await check_rights(link, cell_name, SOURCES)
        await backend.redis.execute_command("ACL", "SETUSER", user_of(cell_name, Login.GUARD), "-unlink")  # type: ignore[no-untyped-call]
        with pytest.raises(UnfitServerError, match="guard lacks UNLINK"):
            await check_rights(link, cell_name, SOURCES)
        await backend.redis.execute_command("ACL", "SETUSER", user_of(cell_name, Login.GUARD), "-acl|dryrun")  # type: ignore[no-untyped-call]
        await check_rights(link, cell_name, SOURCES)


async def test_the_users_of_a_cell_outlive_restarts_and_no_password_is_written_in_the_acl_file(tmp_path: Path) -> None:
    async with started(ValkeyServer(tmp_path / "valkey", appendfsync=AppendFsync.NO, cell="c1")) as server:
        async with Redis.from_url(server.url) as admin:
            assert await set_users(admin, users_of("another", dict.fromkeys(Login, "x" * 16)))
        await server.kill()
        await server.start()
        for login in Login:
            async with Redis.from_url(server.url_of(login), driver_info=None) as client:
                assert await client.execute_command("ACL", "WHOAMI") in {b"grab-c1-" + login.encode(), f"grab-c1-{login}"}  # type: ignore[no-untyped-call]
        async with Redis.from_url(server.url) as admin:
            names: Any = await admin.acl_users()
            assert {"default", *(f"grab-{cell}-{login}" for cell in ("c1", "another") for login in Login)} == {
                name if isinstance(name, str) else name.decode() for name in names
            }
        async with Redis.from_url(f"redis://127.0.0.1:{server.port}") as nobody:
            with pytest.raises(RedisError, match="must be called with the client already authenticated"):
                await nobody.ping()
        text = (server.home / "users.acl").read_text()
        assert (server.home / "password").read_text() not in text
        assert server.url_of(Login.API).split(":")[2].split("@")[0] not in text
        assert server.home.stat().st_mode & 0o077 == 0


def test_writing_the_acl_file_again_changes_our_users_and_keeps_the_others(tmp_path: Path) -> None:
    path = tmp_path / "users.acl"
    path.write_text("user somebody on nopass ~* +@all\nuser grab-c1-api on nopass ~* +@all\n")
    write_acl_file(path, users_of("c1", dict.fromkeys(Login, "x" * 16)))
    lines = path.read_text().splitlines()
    assert "user somebody on nopass ~* +@all" in lines
    assert len([line for line in lines if line.startswith("user grab-c1-api ")]) == 1
    assert not any("grab-c1-api on nopass" in line for line in lines)


def test_the_api_may_do_nothing_by_itself_that_the_scripts_do_not() -> None:
    """But for asking: what it could write is what the rules write."""
    beyond = commands_of(Login.API, SOURCES) - commands_inside(SOURCES)
    assert beyond == {"ACL|DRYRUN", "ACL|WHOAMI", "CLUSTER|SLOTS", "EVALSHA", "EXEC", "INFO", "MULTI", "WAIT"}
