"""A connection of the ledger to Redis that stays broken once it is broken.

A connection proves that two answers come from the same life of the same Redis. A client that reconnects by itself gives up that
proof; this one raises, and its user starts over.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Self

from hiredis import pack_command
from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError, ResponseError

from grab_service.cell.connect import CONNECT_TIMEOUT_S, pool_of
from grab_service.cell.nodes import NOT_HERE, Nodes

Command = Sequence[str | bytes | int | float]


class LinkBrokenError(Exception):
    """The connection to Redis is gone or was never there; the last command may have been carried out or not."""


class RedisLink:
    """One connection to one life of Redis; one call at a time. Build it with `open`, end it with `close`."""

    def __init__(self, connection: AbstractConnection, timeout_s: float) -> None:
        self._connection = connection
        self._timeout_s = timeout_s
        self._broken = False

    @classmethod
    async def open(cls, redis_url: str, timeout_s: float, nodes: Nodes | None = None) -> Self:
        """Connect; no call on it waits longer than `timeout_s` for its answers. With `nodes`, to the node that has the cell.

        Raises:
            LinkBrokenError: Redis cannot be reached, or does not answer questions yet.
        """
        # Sending with redis-py's own time-out goes through asyncio.wait_for, which on Python 3.11 can swallow a
        # cancellation: a cancelled task would go on for ever. The calls below have their own.
        pool: ConnectionPool = pool_of(ConnectionPool, redis_url, nodes, socket_timeout=None)
        link = cls(pool.make_connection(), timeout_s)  # type: ignore[no-untyped-call]
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S + timeout_s):
                await link._connection.connect()  # type: ignore[no-untyped-call]
        except (RedisError, OSError, TimeoutError) as error:
            await link.close()
            raise LinkBrokenError(f"no connection to Redis: {error}") from error
        except BaseException:
            await link.close()
            raise
        await link.call("PING")
        return link

    async def call(self, *command: str | bytes | float) -> Any:
        """Send one command, a word an argument, and read its answer as Redis gives it.

        Raises:
            LinkBrokenError: no answer came; the link is of no more use.
            ResponseError: Redis refused; the link lives.
        """
        return (await self.calls([command]))[0]

    async def calls(self, commands: Sequence[Command], timeout_s: float | None = None) -> list[Any]:
        """Send commands at once and read their answers, in their order; an error is raised after all were read.

        `timeout_s` is how long to wait for them, if not as long as this link waits otherwise.
        """
        # Nothing is awaited between this look and the one that redis-py takes before it would connect again.
        if self._broken or not self._connection.is_connected:
            self._broken = True
            raise LinkBrokenError("the connection to Redis broke before")
        answers: list[Any] = []
        refusal: ResponseError | None = None
        try:
            async with asyncio.timeout(self._timeout_s if timeout_s is None else timeout_s):
                # Faster than redis-py's own; its stub means a tuple of one.
                packed = [pack_command(tuple(command)) for command in commands]  # type: ignore[arg-type]
                await self._connection.send_packed_command(packed, check_health=False)
                for _ in commands:
                    try:
                        answers.append(await self._connection.read_response())
                    except ResponseError as error:
                        refusal = refusal or error
        except (RedisError, OSError, TimeoutError) as error:
            await self.close()
            raise LinkBrokenError(f"no answer from Redis: {error}") from error
        except BaseException:
            await self.close()
            raise
        if isinstance(refusal, NOT_HERE):
            # This is no life of the cell any more: the user of the link starts over, on a new one.
            await self.close()
            raise LinkBrokenError(f"the cell is not on this node: {type(refusal).__name__} {refusal}") from refusal
        if refusal is not None:
            raise refusal
        return answers

    async def transaction(self, commands: Sequence[Command]) -> list[Any]:
        """Have the commands carried out at one moment, all or none, and read their answers.

        Raises:
            LinkBrokenError: no answer came; they may have been carried out or not.
            ResponseError: Redis refused one of them.
        """
        answers: list[Any] = (await self.calls([["MULTI"], *commands, ["EXEC"]]))[-1]
        for answer in answers:
            if isinstance(answer, ResponseError):
                raise answer
        return answers

    async def close(self) -> None:
        """End it; does nothing if it is broken already."""
        self._broken = True
        await self._connection.disconnect(nowait=True)
