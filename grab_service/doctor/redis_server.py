"""Checks that Redis is reachable, new enough, and configured to lose nothing."""

import time
from collections.abc import AsyncIterator
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from grab_service.addresses import masked
from grab_service.cell.connect import connect
from grab_service.cell.nodes import Nodes
from grab_service.doctor.finding import DoctorFinding, fail, ok, unseen, warn
from grab_service.embedded.errors import ServerError
from grab_service.embedded.external import check_redis
from grab_service.health.redis_checks import SKEW_MAX_MS, Skew, aof_of, ask_server, replicas_of
from grab_service.vocabulary.keys import CellKeys

SKEW_OK_MS: Final = 250
MEMORY_SHARE_MAX: Final = 0.8
ON_REWRITE: Final = "no-appendfsync-on-rewrite"


async def look_at_redis(redis_url: str, timeout_s: float, cell: str, replicas_min: int = 0) -> AsyncIterator[DoctorFinding]:
    """Everything about the server itself; the first finding says whether it is there, and is the last if not."""
    try:
        await check_redis(redis_url, cell)
    except ServerError as error:
        yield fail("redis", error.message, error.hint)
        return
    try:
        async with connect(redis_url, connections_max=1, timeout_s=timeout_s, nodes=Nodes(cell)) as client:
            info = await _info(client)
            if info is None:
                hint = "Nothing, if that is on purpose; see in the environment of an admin that all is as docs/OPERATIONS says."
                yield warn("redis", f"it answers at {masked(redis_url)}; INFO is refused, so what it is is not known", hint)
                info = {}
            else:
                yield _server(info, redis_url)
            if replicas_min:
                yield await _replicas(client, CellKeys.of(cell), replicas_min)
            yield await _persistence(client, info, CellKeys.of(cell))
            yield await _memory(client, info)
            yield await _clock(client)
    except (RedisError, OSError) as error:
        yield fail("redis", f"it answered at first and then no more: {error}", "Look at its log.")


async def _info(client: Redis) -> dict[str, Any] | None:
    """Everything that Redis says of itself; None where this user may not ask."""
    try:
        return dict(await client.info("everything"))
    except ResponseError:
        return None


async def _replicas(client: Redis, keys: CellKeys, least: int) -> DoctorFinding:
    check = replicas_of(await ask_server(client, keys), least)
    if check.ok is None:
        return warn("replicas", check.detail, "See that so many follow: `INFO replication` on the primary.")
    hint = "Start replicas, or look why they do not follow; or lower GRAB_REPLICAS_MIN, and a failover may lose claims."
    return ok("replicas", check.detail) if check.ok else fail("replicas", check.detail, hint)


def _server(info: dict[str, Any], redis_url: str) -> DoctorFinding:
    kind = "Valkey" if "valkey_version" in info else "Redis"
    found = f"{kind} {info.get('valkey_version') or info['redis_version']} at {masked(redis_url)}"
    if info.get("role") == "slave":
        return fail("redis", f"{found} is a replica", "Point REDIS_URL at the primary: a replica takes no grabs.")
    return ok("redis", found)


async def _persistence(client: Redis, info: dict[str, Any], keys: CellKeys) -> DoctorFinding:
    hint = (
        "`CONFIG SET appendonly yes`, `CONFIG SET appendfsync always`, `CONFIG SET no-appendfsync-on-rewrite no`,"
        " and the same in its configuration."
    )
    settings = await _settings_of(client, "appendonly", "appendfsync")
    if settings is None:
        return await _as_noted(client, keys, hint)
    rewriting = (await _settings_of(client, ON_REWRITE) or {}).get(ON_REWRITE, "")
    found = f"appendonly {settings['appendonly']}, appendfsync {settings['appendfsync']}"
    if rewriting:
        found += f", {ON_REWRITE} {rewriting}"
    if info.get("aof_last_write_status", "ok") != "ok":
        return fail("persistence", f"{found}; the last write to its log failed", "Make room on its disk, and look at its log.")
    if settings["appendonly"] != "yes":
        return fail("persistence", f"{found}: a restart loses what was won", hint)
    if settings["appendfsync"] != "always":
        return warn("persistence", f"{found}: a power cut may lose what members were told they won", hint)
    if rewriting == "yes":
        return warn("persistence", f"{found}: nothing is synced while Redis rewrites its log", hint)
    return ok("persistence", found)


async def _as_noted(client: Redis, keys: CellKeys, hint: str) -> DoctorFinding:
    """A user who may not ask for settings reads the ledger's note of them; a Redis that tells nobody leaves no more."""
    try:
        facts = await ask_server(client, keys)
    except ResponseError:
        return warn("persistence", "Redis does not tell its settings", f"See to it that they are so: {hint}")
    if not facts.note:
        return unseen("persistence", "its settings are not for this user, and no ledger has noted them yet")
    if facts.noted("untold"):
        return warn(
            "persistence", "Redis does not tell its settings, not even the ledger", f"See to it that they are so: {hint}"
        )
    noted = aof_of(facts)
    found = f"{noted.detail}; by what the ledger noted {facts.note_age_ms // 1000} s ago"
    return ok("persistence", found) if noted.ok else warn("persistence", found, hint)


async def _memory(client: Redis, info: dict[str, Any]) -> DoctorFinding:
    used, most = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    settings = await _settings_of(client, "maxmemory-policy")
    policy = info.get("maxmemory_policy") or (settings or {}).get("maxmemory-policy")
    if policy is None:
        hint = "See that maxmemory-policy is noeviction, and that maxmemory is never reached."
        return warn("memory", "Redis does not tell its memory policy", hint)
    found = f"maxmemory-policy {policy}, {used / 1024**2:,.0f} MiB used" + (f" of {most / 1024**2:,.0f}" if most else "")
    if policy != "noeviction":
        hint = "`CONFIG SET maxmemory-policy noeviction`, and the same in its configuration."
        return fail("memory", f"{found}: it may throw claims away", hint)
    if most and used > most * MEMORY_SHARE_MAX:
        return warn("memory", found, "Raise maxmemory: when it is full, nobody can grab.")
    return ok("memory", found)


async def _clock(client: Redis) -> DoctorFinding:
    before_ns = time.time_ns()
    seconds, micros = await client.time()
    after_ns = time.time_ns()
    skew = Skew.between(before_ns / 1_000_000, (seconds * 1_000_000 + micros) / 1000, after_ns / 1_000_000)
    hint = "Let both machines follow the same time server (chrony, systemd-timesyncd)."
    if skew.exceeds(SKEW_MAX_MS):
        return fail("clock", str(skew), hint)
    return warn("clock", str(skew), hint) if skew.exceeds(SKEW_OK_MS) else ok("clock", str(skew))


async def _settings_of(client: Redis, *names: str) -> dict[str, str] | None:
    """The server's own settings, or None where it does not tell them (some hosted ones)."""
    try:
        found = {name: _told(await client.config_get(name)) for name in names}
    except ResponseError:
        return None
    return found if all(found.values()) else None


def _told(pairs: Any) -> str:
    """The one value of an answer to CONFIG GET; its bytes are not decoded for us."""
    value = next(iter(pairs.values()), "")
    return value.decode() if isinstance(value, bytes) else str(value)
