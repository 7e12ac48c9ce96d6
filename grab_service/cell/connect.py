"""Connections to Redis, and their bounds.

redis-py by default repeats a timed-out call up to ten times and lets a cancelled call leave its reply behind for the next
caller. Neither is acceptable where a call may take a unit, so retries are off and time-outs are set here, on purpose.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

from redis.asyncio import BlockingConnectionPool, Connection, ConnectionPool, Redis, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from grab_service.addresses import RedisAddress
from grab_service.cell.nodes import Nodes, follow

CONNECT_TIMEOUT_S: Final = 1.0
POOL_WAIT_S: Final = 1.0

Pool = TypeVar("Pool", bound=ConnectionPool)


class WatchedPool(BlockingConnectionPool):
    """A bounded pool that says how long each caller waited for a connection, in seconds."""

    on_wait: Callable[[float], object] = staticmethod(lambda _waited_s: None)

    async def get_connection(self, *args: Any, **kwargs: Any) -> Any:
        began_s = time.monotonic()
        try:
            return await super().get_connection(*args, **kwargs)  # type: ignore[no-untyped-call]  # of redis-py
        finally:
            self.on_wait(time.monotonic() - began_s)


def connect(redis_url: str | RedisAddress, *, connections_max: int, timeout_s: float, nodes: Nodes | None = None) -> Redis:
    """A client with a bounded pool, no retries, and bytes in its replies; opens nothing yet. Close it with `aclose`.

    With `nodes`, the address may be that of any node of a cluster, and the connections lead to the one that has the cell.

    Raises:
        AddressError: the address cannot be used.
    """
    return Redis.from_pool(
        pool_of(
            WatchedPool,
            redis_url,
            nodes,
            max_connections=connections_max,
            timeout=POOL_WAIT_S,
            socket_timeout=timeout_s,
        )
    )


def pool_of(kind: type[Pool], redis_url: str | RedisAddress, nodes: Nodes | None, **settings: Any) -> Pool:
    """A pool whose connections never repeat a call by themselves; `settings` are redis-py's.

    Raises:
        AddressError: the address cannot be used.
    """
    address = RedisAddress.parse(redis_url) if isinstance(redis_url, str) else redis_url
    connection: type = UnixDomainSocketConnection if address.socket else SSLConnection if address.tls else Connection
    pool = kind(
        connection_class=connection,
        retry=Retry(NoBackoff(), 0),
        decode_responses=False,
        protocol=2,
        driver_info=None,  # the user of the cell need not be allowed to describe itself
        **address.settings(CONNECT_TIMEOUT_S),
        **settings,
    )
    if nodes is not None:
        follow(pool, nodes, address.nodes)
    return pool


async def fill_pool(client: Redis, connections: int) -> None:
    """Open so many connections of the client's pool before they are needed, and leave them there.

    A user of its connections goes on while passwords are changed, and a rush does not begin with logging in.

    Raises:
        redis.exceptions.RedisError, OSError: not all of them could be had.
    """
    pool = client.connection_pool
    coming = (pool.get_connection() for _ in range(connections))  # type: ignore[no-untyped-call]  # of redis-py
    results = await asyncio.gather(*coming, return_exceptions=True)
    for result in results:
        if not isinstance(result, BaseException):
            await pool.release(result)
    for result in results:
        if isinstance(result, BaseException):
            raise result
