"""The readiness probe names the failed check, and its counters count."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from grab_service.cell.connect import connect
from grab_service.embedded.passwords import as_user
from grab_service.embedded.valkey import ValkeyServer
from grab_service.health import readiness
from grab_service.health.check import ReadinessCheck
from grab_service.health.readiness import CheckName
from grab_service.health.redis_checks import (
    NOTE_AGE_MAX_MS,
    SKEW_MAX_MS,
    ServerFacts,
    aof_of,
    check_server,
    eviction_of,
    replicas_of,
    skew_of,
)
from grab_service.server import probes
from grab_service.server.probes import verdict
from grab_service.vocabulary.durability import Durability
from grab_service.vocabulary.keys import CellKeys
from reconcile.alarms import AlarmKind
from reconcile.counters import Counters
from reconcile.leader import Leader
from reconcile.maintenance.redis_watch import ServerWatch
from reconcile.redis_link import RedisLink
from tests.harness.backend import Backend
from tests.harness.service import Service, running_service

ALL = {"redis", "scripts", "view", "staying", "data", "eviction_policy", "aof_policy", "replicas", "skew", "postgres", "lag"}


@pytest.fixture(autouse=True)
def _looks_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Findings are kept for a second, and these tests change their causes sooner."""
    monkeypatch.setattr(probes, "KEPT_S", 0.0)


@pytest.fixture
async def sound(valkey: ValkeyServer, database_url: str, cell_name: str) -> AsyncIterator[Service]:
    """A service that lacks nothing."""
    async with running_service(valkey.url, database_url, cell_name) as service:
        yield service


async def asked(service: Service, query: str = "") -> tuple[int, set[str]]:
    """(status, the checks that fail)."""
    answer = await service.http.get(f"/readyz{query}")
    checks = answer.json()["checks"]
    assert set(checks) >= ALL
    assert answer.json()["ready"] == (answer.status_code == 200)
    return answer.status_code, {name for name, check in checks.items() if check["state"] == "failed"}


def watch_of(service: Service, counters: Counters) -> ServerWatch:
    settings = service.worker.settings
    return ServerWatch(
        service.ledger_engine,
        settings.cell,
        lambda: RedisLink.open(settings.redis_url_of_guard, 5),
        Leader(settings.database_url, counters),
        counters,
    )


async def look(service: Service, watch: ServerWatch | None = None) -> None:
    """The ledger's look at the server, which it takes every few seconds."""
    link = await RedisLink.open(service.worker.settings.redis_url_of_guard, 5)
    await (watch or watch_of(service, Counters())).look(link)
    await link.close()


async def open_alarms(service: Service) -> list[str]:
    return [row["kind"] for row in await service.sql("SELECT kind FROM alarms WHERE cleared_at_ms IS NULL")]


async def test_a_service_that_lacks_nothing_is_ready(sound: Service) -> None:
    assert await asked(sound) == (200, set())


@pytest.mark.parametrize(
    ("setting", "weak", "strong"), [("appendfsync", "everysec", "always"), ("no-appendfsync-on-rewrite", "yes", "no")]
)
async def test_weak_durability_set_while_it_runs_is_named(sound: Service, setting: str, weak: str, strong: str) -> None:
    await sound.redis.config_set(setting, weak)
    await look(sound)
    assert await asked(sound) == (503, {"aof_policy"})
    assert AlarmKind.SERVER_SETTINGS.value in await open_alarms(sound)
    await sound.redis.config_set(setting, strong)
    await look(sound)
    assert await asked(sound) == (200, set())
    assert await open_alarms(sound) == []


async def test_a_database_that_nobody_has_migrated_is_named(sound: Service) -> None:
    await sound.sql("ALTER TABLE log_cursor RENAME TO log_cursor_of_another_release")
    assert await asked(sound) == (503, {"postgres", "lag"})
    checks = (await sound.http.get("/readyz")).json()["checks"]
    assert "`grab migrate` makes them" in checks["postgres"]["detail"]


async def test_a_worker_that_is_about_to_end_says_so(sound: Service) -> None:
    sound.worker.connections.drain()
    assert await asked(sound) == (503, {"staying"})


async def test_a_service_whose_data_are_being_loaded_says_so(valkey: ValkeyServer, database_url: str, cell_name: str) -> None:
    file = valkey.home / "loading"
    file.touch()
    async with running_service(valkey.url, database_url, cell_name, loading_file=file) as service:
        assert await asked(service) == (503, {"data"})
        file.unlink()
        async with asyncio.timeout(5):
            while await asked(service) != (200, set()):
                await asyncio.sleep(0.05)


async def test_a_policy_that_evicts_is_named_at_once(sound: Service) -> None:
    await sound.redis.config_set("maxmemory-policy", "allkeys-lru")
    assert await asked(sound) == (503, {"eviction_policy"})


async def test_a_closed_cell_is_named_by_its_scripts(sound: Service) -> None:
    await sound.redis.hset(sound.worker.cell.keys.cell, "nonce", "another life")
    await asyncio.sleep(0.2)
    status, failing = await asked(sound)
    assert status == 503
    # Whether the view has aged by then is a matter of time; who reads the log to tell the lag needs the scripts, too.
    assert failing - {"view", "lag"} == {"scripts"}


async def test_a_redis_that_is_gone_is_named_and_postgres_is_not(sound: Service, valkey: ValkeyServer) -> None:
    await valkey.kill()
    status, failing = await asked(sound)
    assert status == 503
    assert {"redis", "scripts", "eviction_policy", "aof_policy", "skew"} <= failing
    assert "postgres" not in failing


async def test_what_waits_too_long_to_be_put_on_record_is_named(sound: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign_id = await sound.sale("m-1")
    await sound.drained()
    await sound.drain.stop()
    assert (await sound.grab("m-1", campaign_id)).status_code == 201
    assert await asked(sound) == (200, set()), "a moment's lag is what a sale looks like"
    monkeypatch.setattr(readiness, "LAG_MAX_MS", 50)
    await asyncio.sleep(0.1)
    assert await asked(sound) == (503, {"lag"})


async def test_what_is_left_out_is_shown_and_does_not_count(sound: Service) -> None:
    await sound.redis.config_set("appendfsync", "everysec")
    await look(sound)
    assert await asked(sound, "?exclude=aof_policy&exclude=lag") == (200, {"aof_policy"})
    assert await asked(sound, "?exclude=lag") == (503, {"aof_policy"})
    wrong = await sound.http.get("/readyz?exclude=weather")
    assert (wrong.status_code, wrong.json()["code"]) == (422, "validation")
    assert "aof_policy" in wrong.text, "it says what may be left out"


async def test_the_ledger_notes_what_redis_is_set_to_and_alarms(backend: Backend) -> None:
    async with backend.open_ledger():
        note: dict[Any, Any] = {}
        async with asyncio.timeout(10):
            while not note:
                note = await backend.redis.hgetall(backend.keys.server)
                await asyncio.sleep(0.05)
        # The Valkey of these tests is set to `no`: fast, and not what a service should run on.
        assert (note[b"appendonly"], note[b"appendfsync"]) == (b"yes", b"no")
        assert abs(int(note[b"looked_at_ms"]) - time.time() * 1000) < 60_000
        async with asyncio.timeout(10):
            while AlarmKind.SERVER_SETTINGS.value not in await backend.open_alarms(but=None):
                await asyncio.sleep(0.05)


async def test_the_alarm_is_raised_once_and_over_when_the_settings_are_right_again(sound: Service) -> None:
    counters = Counters()
    watch = watch_of(sound, counters)
    raised = [AlarmKind.SERVER_SETTINGS.value]
    for policy, times, still_open in (
        ("noeviction", 0, []),
        ("allkeys-lru", 1, raised),
        ("allkeys-lru", 1, raised),
        ("noeviction", 1, []),
        ("allkeys-lru", 2, raised),
    ):
        await sound.redis.config_set("maxmemory-policy", policy)
        await look(sound, watch)
        assert (counters.alarms, await open_alarms(sound)) == (times, still_open)
    # A ledger that starts anew does not know of it, and ends it all the same.
    await sound.redis.config_set("maxmemory-policy", "noeviction")
    await look(sound)
    assert await open_alarms(sound) == []


def facts(*, skew_ms: int = 0, info: dict[str, Any] | None = None, **note: object) -> ServerFacts:
    now_ms = 1_800_000_000_000
    noted = {"looked_at_ms": now_ms, "appendonly": "yes", "appendfsync": "always", "untold": "", **note}
    return ServerFacts(
        before_ms=now_ms - skew_ms - 1,
        redis_ms=now_ms,
        after_ms=now_ms - skew_ms + 1,
        info={"maxmemory_policy": "noeviction", "aof_enabled": 1, "aof_last_write_status": "ok", **(info or {})},
        note={name.encode(): str(value).encode() for name, value in noted.items()},
    )


def test_the_clocks_may_differ_by_a_little_either_way() -> None:
    for skew_ms in (0, 900, -900, SKEW_MAX_MS, -SKEW_MAX_MS):
        assert skew_of(facts(skew_ms=skew_ms)).ok
    for skew_ms in (SKEW_MAX_MS + 10, -SKEW_MAX_MS - 10):
        check = skew_of(facts(skew_ms=skew_ms))
        assert not check.ok
        assert ("ahead of" if skew_ms > 0 else "behind") in check.detail


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (facts(info={"aof_enabled": 0}), "appendonly is no"),
        (facts(info={"aof_last_write_status": "err"}), "last write"),
        (facts(appendfsync="everysec"), "appendfsync everysec"),
        (facts(no_appendfsync_on_rewrite="yes"), "no-appendfsync-on-rewrite yes"),
        (facts(looked_at_ms=1_800_000_000_000 - NOTE_AGE_MAX_MS - 1), "no ledger has looked"),
    ],
)
def test_an_aof_that_may_lose_is_named(given: ServerFacts, said: str) -> None:
    check = aof_of(given, Durability.DISK)
    assert not check.ok
    assert said in check.detail


def test_a_redis_that_does_not_tell_its_settings_is_not_refused_and_says_so() -> None:
    assert aof_of(facts(), Durability.DISK).ok
    untold = facts(appendonly="", appendfsync="", untold="ERR unknown command", info={"maxmemory_policy": ""})
    for check in (aof_of(untold, Durability.DISK), eviction_of(untold)):
        assert check.state == "unknown"
        assert "does not tell" in check.detail


def test_the_note_lies_in_the_cell() -> None:
    keys = CellKeys.of("x")
    assert keys.server.startswith(keys.prefix), "a rebuild takes it away with the rest"


async def test_however_many_ask_each_check_is_made_once_a_second(sound: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "KEPT_S", 30.0)
    looked = 0
    check = readiness.check_readiness

    async def counted(*given: Any, **named: Any) -> Any:
        nonlocal looked
        looked += 1
        return await check(*given, **named)

    monkeypatch.setattr(probes, "check_readiness", counted)
    queries = ["", "?exclude=lag", "?exclude=postgres&exclude=lag"] * 20
    assert {status for status, _ in await asyncio.gather(*(asked(sound, query) for query in queries))} == {200}
    assert (await asked(sound))[0] == 200
    assert looked == 1


@pytest.mark.parametrize(
    ("told", "noted", "least", "state"),
    [(None, "", 0, "ok"), (0, "", 1, "failed"), (1, "", 1, "ok"), (None, "2", 2, "ok"), (None, "1", 2, "failed")],
)
def test_replicas_are_held_against_those_that_must_follow(told: int | None, noted: str, least: int, state: str) -> None:
    info = {} if told is None else {"connected_slaves": told}
    assert replicas_of(facts(replicas=noted, info=info), least).state == state


def test_a_redis_that_does_not_tell_its_replicas_is_neither_well_nor_at_fault() -> None:
    check = replicas_of(facts(replicas="", info={}), 1)
    assert (check.state, "does not tell" in check.detail) == ("unknown", True)


def test_what_is_not_known_alone_does_not_take_a_worker_out() -> None:
    status, _, body = verdict({CheckName.REDIS: ReadinessCheck(True, "x"), CheckName.AOF_POLICY: ReadinessCheck(None, "y")}, ())
    assert (status, orjson.loads(body)["checks"]["aof_policy"]["state"]) == (200, "unknown")
    assert verdict({CheckName.REDIS: ReadinessCheck(False, "x"), CheckName.AOF_POLICY: ReadinessCheck(None, "y")}, ())[0] == 503


async def test_a_user_without_info_serves_and_says_what_it_does_not_know(service: Service) -> None:
    keys = service.worker.cell.keys
    name = f"blind-{service.worker.settings.cell}"
    admin: Any = service.redis
    await admin.execute_command("ACL", "SETUSER", name, "on", ">blind", f"~{keys.prefix}*", "+@all", "-info", "-config", "-acl")
    await service.redis.delete(keys.server)
    try:
        url = as_user(service.worker.settings.redis_url, name, "blind")
        async with connect(url, connections_max=1, timeout_s=2) as blind:
            checks = await check_server(blind, keys, Durability.REPLICAS, 1)
    finally:
        await admin.execute_command("ACL", "DELUSER", name)
    states = {check: found.state.value for check, found in checks.items()}
    assert states["redis"] == "ok", "it answers"
    assert states["replicas"] == "unknown"
    assert states["eviction_policy"] in {"ok", "unknown", "failed"}
