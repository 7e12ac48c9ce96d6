"""The check that Redis' settings lose nothing that was acknowledged."""

import re
from dataclasses import dataclass
from typing import Final, Self

from redis.exceptions import ResponseError

from reconcile.redis_link import RedisLink

NAMES: Final = ("maxmemory-policy", "appendonly", "appendfsync", "no-appendfsync-on-rewrite")
WHOLE_CLUSTER: Final = "cluster-require-full-coverage"
WANTED: Final = "appendonly yes, appendfsync always and no-appendfsync-on-rewrite no"


class UnfitServerError(Exception):
    """This Redis would throw away what it holds; the cell stays closed until it is set up otherwise."""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """The settings of Redis; an empty string where it does not tell (some hosted ones)."""

    maxmemory_policy: str
    appendonly: str
    appendfsync: str
    no_appendfsync_on_rewrite: str
    untold: str = ""
    replicas: int | None = None
    """Number of replicas that follow; None: Redis does not tell."""

    closes_others: bool = False
    """It is a node of a cluster that closes all cells when the node of one is gone."""

    @classmethod
    async def read(cls, link: RedisLink) -> Self:
        """Ask for them. Where Redis refuses to tell, `untold` says so and the rest is empty.

        Raises:
            LinkBrokenError: Redis did not answer.
        """
        replicas = await _replicas(link)
        try:
            found = await link.calls([["CONFIG", "GET", name] for name in (*NAMES, WHOLE_CLUSTER)])
        except ResponseError as error:
            return cls("", "", "", "", untold=str(error), replicas=replicas)
        policy, appendonly, appendfsync, on_rewrite, whole = (pair[1].decode() if pair else "" for pair in found)
        closes_others = whole == "yes" and await _is_a_node(link)
        return cls(policy, appendonly, appendfsync, on_rewrite, replicas=replicas, closes_others=closes_others)

    @property
    def may_evict(self) -> bool:
        """Whether claims may be thrown away when memory is short."""
        return self.maxmemory_policy not in {"noeviction", ""}

    @property
    def warning(self) -> str | None:
        """What to warn of, with its mend, or None.

        Weak durability is not refused: a trial on a laptop may have it, and only the operators know what stands behind the
        disk. Where Redis does not tell its settings, that is said and nothing is refused.
        """
        if self.untold:
            what = f"see that it has maxmemory-policy noeviction, {WANTED}"
            return f"Redis does not tell its settings ({self.untold}): {what}"
        if self.appendonly != "yes" or self.appendfsync != "always":
            is_now = f"appendonly is {self.appendonly}, appendfsync is {self.appendfsync}"
            return f"{is_now}: set {WANTED}"
        if self.no_appendfsync_on_rewrite == "yes":
            # Minutes at a time: for so long `always` is not true.
            return f"no-appendfsync-on-rewrite is yes, so nothing is synced while Redis rewrites its log: set {WANTED}"
        return None


async def _replicas(link: RedisLink) -> int | None:
    try:
        told = (await link.call("INFO", "replication")).decode(errors="replace")
    except ResponseError:
        return None
    found = re.search(r"^connected_slaves:(\d+)", told, re.MULTILINE)
    return int(found.group(1)) if found else None


async def _is_a_node(link: RedisLink) -> bool:
    try:
        told = (await link.call("INFO", "cluster")).decode(errors="replace")
    except ResponseError:
        return False
    return "cluster_enabled:1" in told


async def check_server_settings(link: RedisLink) -> str | None:
    """Refuse a Redis that may evict keys; what else to warn of, with its mend, or None.

    Raises:
        UnfitServerError: it evicts.
        LinkBrokenError: Redis did not answer.
    """
    settings = await ServerSettings.read(link)
    if settings.may_evict:
        policy = settings.maxmemory_policy
        raise UnfitServerError(f"maxmemory-policy is {policy}: set it to noeviction, or Redis may throw claims away")
    return settings.warning


async def was_replica(link: RedisLink) -> bool:
    """Whether this Redis followed another one before it was promoted: it may lack what the other one had acknowledged.

    Raises:
        LinkBrokenError: Redis did not answer.
    """
    try:
        told = (await link.call("INFO", "replication")).decode(errors="replace")
    except ResponseError:
        return True
    # The history that it took over when it was promoted; all zeros if there was none.
    found = re.search(r"^master_replid2:([0-9a-f]+)", told, re.MULTILINE)
    return found is None or set(found.group(1)) != {"0"}
