"""Is this Redis set up so that nothing it has acknowledged is lost?"""

import re

from redis.exceptions import ResponseError

from reconcile.wire import Wire


class UnfitServerError(Exception):
    """This Redis would throw away what it holds; the cell stays closed until it is set up otherwise."""


async def check_server_settings(wire: Wire) -> str | None:
    """Refuse a Redis that may evict keys; what else to warn of, with its mend, or None.

    Weak durability is not refused: a trial on a laptop may have it, and only whoever runs the service knows what stands behind
    the disk. Where Redis does not tell its settings (some hosted ones), that is said and nothing is refused.

    Raises:
        UnfitServerError: it evicts.
        WireBrokenError: Redis did not answer.
    """
    try:
        found = await wire.calls([["CONFIG", "GET", name] for name in ("maxmemory-policy", "appendonly", "appendfsync")])
    except ResponseError as error:
        return f"Redis does not tell its settings ({error}): see that it has maxmemory-policy noeviction, appendfsync always"
    policy, appendonly, appendfsync = (pair[1].decode() if pair else "" for pair in found)
    if policy not in {"noeviction", ""}:
        raise UnfitServerError(f"maxmemory-policy is {policy}: set it to noeviction, or Redis may throw claims away")
    if appendonly != "yes" or appendfsync != "always":
        return f"appendonly is {appendonly}, appendfsync is {appendfsync}: set appendonly yes and appendfsync always"
    return None


async def was_replica(wire: Wire) -> bool:
    """Whether this Redis followed another one before it was promoted: it may lack what the other one had acknowledged.

    Raises:
        WireBrokenError: Redis did not answer.
    """
    try:
        told = (await wire.call("INFO", "replication")).decode(errors="replace")
    except ResponseError:
        return True
    # The history that it took over when it was promoted; all zeros if there was none.
    found = re.search(r"^master_replid2:([0-9a-f]+)", told, re.MULTILINE)
    return found is None or set(found.group(1)) != {"0"}
