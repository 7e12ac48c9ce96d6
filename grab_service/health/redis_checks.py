"""Redis as a worker sees it: settings that protect against loss, and the difference of the clocks.

A worker may not ask Redis for its settings (`CONFIG` tells passwords, too): the ledger does, and leaves a note in the cell.
"""

import time
from dataclasses import dataclass
from typing import Any, Final, Self

from redis.asyncio import Redis
from redis.exceptions import RedisError

from grab_service.health.check import ReadinessCheck
from grab_service.vocabulary.keys import CellKeys

SKEW_MAX_MS: Final = 5_000
"""The window of a campaign is Redis' time, the expiry of a pass the worker's: beyond this they tell different stories."""
SERVER_CHECKS: Final = ("redis", "eviction_policy", "aof_policy", "replicas", "skew")
NOTE_AGE_MAX_MS: Final = 60_000
"""The ledger looks every few seconds; a note of this age may not hold any more."""


@dataclass(frozen=True, slots=True)
class Skew:
    """Lead of Redis' clock over this machine's, and its uncertainty."""

    ahead_ms: float
    margin_ms: float

    @classmethod
    def between(cls, before_ms: float, redis_ms: float, after_ms: float) -> Self:
        """From this machine's clock before and after Redis was asked for its own."""
        # Redis looked at its clock somewhere between: the middle is the best guess, and wrong by half the way at most.
        return cls(redis_ms - (before_ms + after_ms) / 2, (after_ms - before_ms) / 2)

    def exceeds(self, limit_ms: float) -> bool:
        """Whether it is surely more than that, either way."""
        return abs(self.ahead_ms) > limit_ms + self.margin_ms

    def __str__(self) -> str:
        where = "ahead of" if self.ahead_ms > 0 else "behind"
        return f"Redis is {abs(self.ahead_ms):,.0f} ms {where} this machine (±{self.margin_ms:.0f} ms)"


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What Redis said of itself in one round trip, and this machine's clock before and after it."""

    before_ms: float
    redis_ms: int
    after_ms: float
    info: dict[str, Any]
    note: dict[bytes, bytes]

    @property
    def note_age_ms(self) -> int:
        """Time since the ledger looked, by Redis' clock."""
        return max(0, self.redis_ms - int(self.note.get(b"looked_at_ms", b"0")))

    def noted(self, name: str) -> str:
        """One field of the ledger's note; empty if it is not there."""
        return self.note.get(name.encode(), b"").decode()


async def ask_server(redis: Redis, keys: CellKeys) -> ServerFacts:
    """Ask for everything at once.

    Raises:
        RedisError, OSError: it did not answer.
    """
    before_ms = time.time_ns() / 1_000_000
    async with redis.pipeline(transaction=False) as pipe:
        pipe.time()
        pipe.info("memory")
        pipe.info("persistence")
        pipe.info("replication")
        pipe.hgetall(keys.server)
        seconds_and_micros, *sections, note = await pipe.execute(raise_on_error=False)
    after_ms = time.time_ns() / 1_000_000
    for needed in (seconds_and_micros, note):
        if isinstance(needed, Exception):
            raise needed
    redis_ms = seconds_and_micros[0] * 1000 + seconds_and_micros[1] // 1000
    # A user that may not ask for INFO learns less, and the rest stays unknown.
    info = {name: value for section in sections if isinstance(section, dict) for name, value in section.items()}
    return ServerFacts(before_ms, redis_ms, after_ms, info, note)


async def check_server(redis: Redis, keys: CellKeys, replicas_min: int = 0) -> dict[str, ReadinessCheck]:
    """The checks of `SERVER_CHECKS`; if Redis does not answer, none of them is ok."""
    try:
        facts = await ask_server(redis, keys)
    except (RedisError, OSError) as error:
        return dict.fromkeys(SERVER_CHECKS, ReadinessCheck(ok=False, detail=f"Redis does not answer: {error}"))
    return {
        "redis": ReadinessCheck(ok=True, detail=f"answers within {facts.after_ms - facts.before_ms:.1f} ms"),
        "eviction_policy": eviction_of(facts),
        "aof_policy": aof_of(facts),
        "replicas": replicas_of(facts, replicas_min),
        "skew": skew_of(facts),
    }


def eviction_of(facts: ServerFacts) -> ReadinessCheck:
    """Redis throws nothing away when its memory is full."""
    policy = facts.info.get("maxmemory_policy") or facts.noted("maxmemory_policy")
    if not policy:
        return ReadinessCheck(ok=None, detail="Redis does not tell its policy: see that it is noeviction")
    if policy != "noeviction":
        return ReadinessCheck(ok=False, detail=f"maxmemory-policy is {policy}: claims may be thrown away; set it to noeviction")
    return ReadinessCheck(ok=True, detail="noeviction")


def aof_of(facts: ServerFacts) -> ReadinessCheck:
    """Writes that Redis has acknowledged are on its disk."""
    if facts.info.get("aof_enabled") == 0:
        return ReadinessCheck(ok=False, detail="appendonly is no: a restart loses what was won; set it to yes")
    if facts.info.get("aof_last_write_status", "ok") != "ok":
        return ReadinessCheck(ok=False, detail="the last write to Redis' log failed: look at its disk")
    if not facts.note:
        return ReadinessCheck(ok=False, detail="no ledger has looked at Redis' settings yet")
    if facts.noted("untold"):
        return ReadinessCheck(
            ok=None, detail="Redis does not tell its settings: see that appendfsync is always, no-appendfsync-on-rewrite no"
        )
    if facts.note_age_ms > NOTE_AGE_MAX_MS:
        return ReadinessCheck(ok=False, detail=f"no ledger has looked at Redis' settings for {facts.note_age_ms // 1000} s")
    is_now = f"appendonly {facts.noted('appendonly')}, appendfsync {facts.noted('appendfsync')}"
    if facts.noted("appendonly") != "yes" or facts.noted("appendfsync") != "always":
        return ReadinessCheck(ok=False, detail=f"{is_now}: a power cut may lose what members were told; set appendfsync always")
    if facts.noted("no_appendfsync_on_rewrite") == "yes":
        why = "nothing is synced while Redis rewrites its log, and a power cut may lose what members were told; set it to no"
        return ReadinessCheck(ok=False, detail=f"{is_now}, but no-appendfsync-on-rewrite yes: {why}")
    return ReadinessCheck(ok=True, detail=is_now)


def replicas_of(facts: ServerFacts, least: int) -> ReadinessCheck:
    """As many replicas follow as must have a claim before anybody is told of it."""
    if least == 0:
        return ReadinessCheck(ok=True, detail="none is demanded (GRAB_REPLICAS_MIN)")
    told = facts.info.get("connected_slaves")
    noted = facts.noted("replicas")
    if told is None and noted and facts.note_age_ms <= NOTE_AGE_MAX_MS:
        told = int(noted)
    if told is None:
        return ReadinessCheck(ok=None, detail=f"{least} must follow, and Redis does not tell how many do")
    if told < least:
        why = "nobody is told of a claim, and all who win hear outcome-unknown"
        return ReadinessCheck(ok=False, detail=f"{told} of {least} replicas follow: {why}")
    return ReadinessCheck(ok=True, detail=f"{told} follow, {least} must")


def skew_of(facts: ServerFacts) -> ReadinessCheck:
    """Redis' clock and this machine's tell about the same time."""
    skew = Skew.between(facts.before_ms, facts.redis_ms, facts.after_ms)
    return ReadinessCheck(ok=not skew.exceeds(SKEW_MAX_MS), detail=str(skew))
