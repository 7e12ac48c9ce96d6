"""The faults of the suite. Add one here: a function that strikes, and a line in this list."""

from dataclasses import replace
from typing import Any, Final

from grab_service.embedded.valkey import AppendFsync
from grab_service.vocabulary.durability import Durability
from tests.faults.fault import Act, Fault
from tests.faults.kinds import disks, lives, networks, overload, planted, processes
from tests.harness.district import Site
from tests.harness.recipes import Recipe

WATCHED: Final = Site(watched=True)
FORGETFUL: Final = Site(watched=True, appendfsync=AppendFsync.EVERYSEC)
PROXIED: Final = Site(proxied=True)
MILLION: Final = Site(claims=990_000)
YEAR: Final = Site(claims=990_000, campaigns=500)
SMALL: Final = Site(small_disk_mb=64)
CAREFUL: Final = Site(proxied=True, replicated=True, replicas_min=1)
CARELESS: Final = Site(proxied=True, replicated=True)
SMALL_HOUSE: Final = Site(settings=(("GRAB_CONNECTIONS_MAX", "400"),))
SMALL_BATCHES: Final = Site(proxied=True, settings=(("GRAB_BATCH_MAX", "8"),))

SERVERS: Final = {
    "everysec": ("`appendfsync everysec`", Site(watched=True, appendfsync=AppendFsync.EVERYSEC)),
    "no_aof": ("`appendonly no`", Site(watched=True, appendonly=False)),
}
"""Servers that keep less than what they have acknowledged."""

KINDS: Final[dict[str, tuple[str, Act, dict[str, Any]]]] = {
    "power_cut": ("power cut", disks.power_cut_at_any_lag, {}),
    "kill_redis": ("kill -9 of Redis", processes.kill_redis, {}),
    "wiped": ("an empty Redis", lives.wiped, {"units_a_round": 900}),
    "older_copy": ("an older copy", lives.older_copy, {}),
    "kill_postgres": ("kill -9 of PostgreSQL", processes.kill_postgres, {"closes": False}),
    "kill_bouncer": ("kill -9 of PgBouncer", processes.kill_bouncer, {"closes": False}),
    "failover": ("failover, the old primary back", lives.failover_by_sentinel, {"units_a_round": 2_000}),
    "lagging_replica": ("a lagging replica promoted", lives.lagging_replica, {"units_a_round": 1200}),
}


def _told_by(promise: Durability, server: str, says: str, site: Site, *kinds: str, **more: Any) -> list[Fault]:
    """Faults of one kind of server where winners are told by that promise; what only RECORD keeps, the others may lose."""
    return [
        Fault(
            f"{promise}_{kind}_{server}",
            KINDS[kind][0],
            KINDS[kind][1],
            replace(site, durability=promise, proxied=kind == "lagging_replica"),
            server=says,
            **{"closes": True, **KINDS[kind][2], **more},
        )
        for kind in kinds
    ]


def _on_forgetful_servers(promise: Durability) -> list[Fault]:
    """With DISK they show what RECORD is for."""
    found = []
    for server, (says, site) in SERVERS.items():
        of_files = ("wiped", "older_copy", "lagging_replica") if site.appendonly else ("wiped", "lagging_replica")
        if promise is Durability.RECORD:
            found += _told_by(promise, server, says, site, "power_cut", "kill_redis", *of_files)
        else:
            found += _told_by(promise, server, says, site, "power_cut", must_lose=True)
            found += _told_by(promise, server, says, site, *of_files, may_lose=True)
    return found


_SENTINEL: Final = "Sentinel behind HAProxy"


def _with_recipes() -> list[Fault]:
    """The recipes of docs/OPERATIONS.md, with Debian's servers."""
    return [
        fault
        for recipe, says, kinds in (
            (Recipe.SENTINEL, _SENTINEL, ("failover",)),
            (Recipe.TLS, "TLS to Redis and PostgreSQL", ("kill_redis", "kill_postgres")),
            (Recipe.FEW_RIGHTS, "users without CONFIG, INFO and ACL", ("kill_redis", "wiped")),
            (Recipe.PGBOUNCER, "PgBouncer in session mode", ("kill_bouncer",)),
        )
        for fault in _told_by(Durability.RECORD, recipe.value, says, Site(recipe=recipe), *kinds)
    ] + _told_by(Durability.DISK, "sentinel", _SENTINEL, Site(recipe=Recipe.SENTINEL), "failover", may_lose=True)


FAULTS: Final = [
    Fault("kill_redis", "kill -9 of Redis", processes.kill_redis, closes=True, short=True, resumes_s=2),
    Fault("power_cut", "power cut at Redis, `appendfsync always`", disks.power_cut, WATCHED, closes=True, resumes_s=2),
    Fault("power_cut_everysec", "power cut at Redis, `appendfsync everysec`", disks.power_cut, FORGETFUL, must_lose=True),
    Fault(
        "storm",
        "storm: everything is killed at random for 60 s",
        processes.storm,
        rounds_max=1,
        patience_s=60,
        units_a_round=18_000,
    ),
    Fault("kill_worker", "kill -9 of an API worker", processes.kill_worker, short=True),
    Fault("kill_api", "kill -9 of the whole API", processes.kill_api),
    Fault("kill_ledger", "kill -9 of the ledger", processes.kill_ledger, short=True),
    Fault("kill_postgres", "kill -9 of PostgreSQL", processes.kill_postgres, short=True),
    Fault("stop_redis", "Redis stands still (SIGSTOP)", processes.stop_redis),
    Fault("stop_worker", "an API worker stands still", processes.stop_worker),
    Fault("stop_ledger", "the ledger stands still", processes.stop_ledger),
    Fault("stop_postgres", "PostgreSQL stands still", processes.stop_postgres),
    Fault("two_ledgers", "two ledgers, one is killed", processes.two_ledgers),
    Fault("zombie_ledger", "a ledger wakes up behind its successor", processes.zombie_ledger),
    Fault(
        "postgres_away", "PostgreSQL away for the sale", processes.postgres_away_for_the_sale, rounds_max=5, units_a_round=4_000
    ),
    Fault(
        "suspended_recovery",
        "a ledger is suspended in the midst of a recovery and wakes up behind its successor",
        processes.suspended_recovery,
        closes=True,
        may_lose=True,
        units_a_round=900,
    ),
    Fault("redis_first", "Redis back, PostgreSQL not yet", processes.redis_back_before_postgres, closes=True),
    Fault("script_flush", "SCRIPT FLUSH", lives.script_flush, closes=True, short=True, resumes_s=2),
    Fault(
        "million_restarted",
        "kill -9 of Redis with 1,000,000 claims; from when it answers again",
        processes.kill_redis_until_it_answers,
        MILLION,
        closes=True,
        rounds_max=5,
        resumes_s=2,
    ),
    Fault(
        "million_flushed",
        "time travel: FLUSHALL with 1,000,000 claims",
        lives.flushed,
        MILLION,
        closes=True,
        may_lose=True,
        rounds_max=5,
        resumes_s=30,
        patience_s=90,
    ),
    Fault(
        "year_flushed",
        "time travel: FLUSHALL with 1,000,000 claims of 500 campaigns",
        lives.flushed,
        YEAR,
        closes=True,
        may_lose=True,
        rounds_max=5,
        resumes_s=30,
        patience_s=90,
    ),
    Fault("flushed", "time travel: FLUSHALL", lives.flushed, closes=True, may_lose=True, short=True),
    Fault("wiped", "time travel: an empty Redis", lives.wiped, closes=True, may_lose=True, units_a_round=900),
    Fault("older_copy", "time travel: an older copy", lives.older_copy, closes=True, may_lose=True, short=True),
    Fault(
        "lagging_replica",
        "time travel: a lagging replica",
        lives.lagging_replica,
        PROXIED,
        closes=True,
        may_lose=True,
        units_a_round=1200,
    ),
    Fault("failover", "failover to a replica, `GRAB_REPLICAS_MIN=1`", lives.failover, CAREFUL, closes=True, units_a_round=900),
    Fault(
        "failover_without_waiting",
        "failover to a replica, `GRAB_REPLICAS_MIN=0`",
        lives.failover,
        CARELESS,
        must_lose=True,
        units_a_round=900,
    ),
    Fault(
        "promoted_again",
        "time travel: a demoted primary again",
        lives.promoted_again,
        PROXIED,
        closes=True,
        may_lose=True,
        units_a_round=1200,
    ),
    Fault("slow_network", "a slow network to Redis", networks.slow_network, PROXIED),
    Fault("cut_connections", "all connections to the servers cut", networks.cut_connections, PROXIED),
    Fault("lost_replies", "Redis' replies are lost", networks.lost_replies, PROXIED),
    Fault("redis_refuses", "Redis refuses connections", networks.redis_refuses, PROXIED),
    Fault("service_cut_off", "silence between the service and Redis", networks.service_cut_off, PROXIED),
    Fault("ledger_cut_off", "silence between the ledger and Redis", networks.ledger_cut_off, PROXIED),
    Fault("postgres_cut_off", "silence around PostgreSQL", networks.postgres_cut_off, PROXIED),
    Fault("slow_fsync", "slow fsync", disks.slow_fsync, WATCHED),
    Fault("failing_fsync", "failing fsync", disks.failing_fsync, WATCHED, closes=True),
    Fault("full_disk", "full disk under Redis", disks.full_disk, SMALL, closes=True),
    Fault("torn_tail", "torn end of Redis' log", disks.torn_tail, closes=True, resumes_s=2),
    Fault("out_of_memory", "Redis' memory full", disks.out_of_memory, short=True),
    Fault("poison_entry", "unreadable entry in the log", planted.poison_entry),
    Fault("gap_in_the_log", "gap in the log", planted.gap_in_the_log),
    Fault("entry_said_twice", "entry twice in the log", planted.entry_said_twice),
    Fault("refresh_storm", "storm of refreshes", overload.refresh_storm, units_a_round=2_400),
    Fault("flood_of_connections", "flood of connections", overload.flood_of_connections, SMALL_HOUSE, units_a_round=2_400),
    Fault("slow_senders", "slow heads, bodies and chunks", overload.slow_senders, short=True, units_a_round=2_400),
    Fault("deaf_and_silent", "deaf and silent clients", overload.deaf_and_silent_clients, units_a_round=2_400),
    Fault("more_taps", "more taps than a slow Redis can take", overload.more_taps_than_it_can_take, SMALL_BATCHES),
    Fault("rolling_restart", "rolling restart of the workers", overload.rolling_restart, units_a_round=3_000),
    *_told_by(Durability.RECORD, "always", "`appendfsync always`", WATCHED, "power_cut", "kill_redis", "wiped"),
    *_on_forgetful_servers(Durability.RECORD),
    *_with_recipes(),
    *_on_forgetful_servers(Durability.DISK),
]
