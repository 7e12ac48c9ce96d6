"""Preflight holds the servers against what was declared, as readiness and the doctor do, and says what it cannot know."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from grab_service.embedded.valkey import ValkeyServer
from grab_service.vocabulary.durability import Durability
from reconcile.guard.redis_settings import ServerSettings
from reconcile.maintenance.redis_watch import write_note
from reconcile.redis_link import RedisLink
from tests.harness.command_line import CommandLine
from tests.harness.service import Service, running_service

OF_SERVERS = {"redis-evicts", "redis-forgets", "too-few-replicas", "postgres-forgets", "not-known"}


@asynccontextmanager
async def declared(valkey: ValkeyServer, database_url: str, cell_name: str, durability: Durability) -> AsyncIterator[Service]:
    least = int(durability is Durability.REPLICAS)
    async with running_service(valkey.url, database_url, cell_name, durability=durability, replicas_min=least) as service:
        await service.enrol(*(f"m-{number}" for number in range(10)))
        yield service


async def noted(service: Service) -> None:
    """The ledger's note, as it is now."""
    link = await RedisLink.open(service.worker.settings.redis_url_of_guard, 5)
    await write_note(link, service.worker.cell.keys, await ServerSettings.read(link))
    await link.close()


async def found(service: Service) -> dict[str, str]:
    """The findings about servers: code, and the message in Chinese."""
    campaign_id = await service.create()
    answer = await service.http.get(f"/v1/ops/campaigns/{campaign_id}/preflight", headers=service.ops())
    assert answer.json()["ok"], "advice keeps nothing from being scheduled"
    return {one["code"]: one["message"] for one in answer.json()["findings"] if one["code"] in OF_SERVERS}


@pytest.mark.parametrize(
    ("durability", "change", "codes"),
    [
        (Durability.DISK, {}, set()),
        (Durability.DISK, {"appendfsync": "everysec"}, {"redis-forgets"}),
        (Durability.DISK, {"appendonly": "no"}, {"redis-forgets"}),
        (Durability.DISK, {"no-appendfsync-on-rewrite": "yes"}, {"redis-forgets"}),
        (Durability.DISK, {"maxmemory-policy": "allkeys-lru"}, {"redis-evicts"}),
        (Durability.REPLICAS, {}, {"too-few-replicas"}),
        (Durability.REPLICAS, {"appendfsync": "everysec"}, {"too-few-replicas", "redis-forgets"}),
        # PostgreSQL of the tests is set up for speed.
        (Durability.RECORD, {}, {"postgres-forgets"}),
        (Durability.RECORD, {"appendonly": "no"}, {"postgres-forgets"}),
        (Durability.RECORD, {"maxmemory-policy": "allkeys-lru"}, {"postgres-forgets", "redis-evicts"}),
    ],
)
async def test_servers_are_held_against_what_was_declared(
    valkey: ValkeyServer, database_url: str, cell_name: str, durability: Durability, change: dict[str, str], codes: set[str]
) -> None:
    async with declared(valkey, database_url, cell_name, durability) as service:
        for name, value in change.items():
            await service.redis.config_set(name, value)
        await noted(service)
        said = await found(service)
        assert set(said) == codes
        assert "fsync, " in said.get("postgres-forgets", "fsync, ")


async def test_what_redis_does_not_tell_is_not_known(valkey: ValkeyServer, database_url: str, cell_name: str) -> None:
    async with declared(valkey, database_url, cell_name, Durability.REPLICAS) as service:
        admin: Any = service.redis
        user = service.worker.settings.redis_url.split("://")[1].split(":")[0]
        await admin.execute_command("ACL", "SETUSER", user, "-info", "-config", "-acl")
        await service.redis.delete(service.worker.cell.keys.server)
        note: dict[Any, Any] = {"untold": "NOPERM", "replicas": "", "looked_at_ms": 0}
        await service.redis.hset(service.worker.cell.keys.server, mapping=note)
        campaign_id = await service.create()
        answer = await service.http.get(f"/v1/ops/campaigns/{campaign_id}/preflight", headers=service.ops())
        unknown = [one["message"] for one in answer.json()["findings"] if one["code"] in OF_SERVERS]
        assert {one["code"] for one in answer.json()["findings"]} & OF_SERVERS == {"not-known"}
        assert [word in " ".join(unknown) for word in ("noeviction", "appendfsync", "must follow")] == [True] * 3


async def test_the_command_line_judges_by_what_was_declared_too(service: Service, grab: CommandLine) -> None:
    campaign_id = await service.create()
    said = await grab.run("campaign", "preflight", campaign_id, "--json", env={"GRAB_DURABILITY": "record"})
    assert "postgres-forgets" in {one["code"] for one in said.json["findings"]}
