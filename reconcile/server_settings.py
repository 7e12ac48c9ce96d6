"""Is this Redis set up so that nothing it has acknowledged is lost?"""

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
